// Intervals from bootstrap draws, quantiles, the Gini coefficient and the max-T test.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

#include "isogloss/base/error.h"
#include "isogloss/measure/statistics.h"

namespace isogloss {
namespace {

// Two results closer than this share of their size differ by rounding only: wider than the error of
// a sum over any corpus (units * 1.1e-16), far below any digit that is reported.
constexpr double kRounding = 1e-12;

std::vector<double> sample_totals(const UnitSums& sums) {
  std::vector<double> totals(sums.columns, 0.0);
  for (size_t unit = 0; unit < sums.units; ++unit) {
    for (size_t column = 0; column < sums.columns; ++column)
      totals[column] += sums.at(unit, column);
  }
  return totals;
}

double mean_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

std::optional<double> finite_value(const Statistic& statistic, std::span<const double> totals) {
  const std::optional<double> value = statistic(totals);
  return value && std::isfinite(*value) ? value : std::nullopt;
}

bool too_many_undefined(size_t defined, size_t asked) {
  return static_cast<double>(asked - defined) > kUndefinedShare * static_cast<double>(asked);
}

struct Replicates {
  double value;                // on the sample itself
  std::vector<double> sorted;  // on the draws where it is defined, ascending
};

std::optional<Replicates> evaluate(const UnitSums& sums, const BootstrapTotals& bootstrap,
                                   const Statistic& statistic) {
  ISOGLOSS_ASSERT(bootstrap.columns() == sums.columns);
  const std::optional<double> value = finite_value(statistic, sample_totals(sums));
  if (!value) return std::nullopt;
  Replicates replicates{*value, {}};
  replicates.sorted.reserve(bootstrap.draws());
  for (size_t draw = 0; draw < bootstrap.draws(); ++draw) {
    const std::optional<double> drawn = finite_value(statistic, bootstrap.row(draw));
    if (drawn) replicates.sorted.push_back(*drawn);
  }
  if (too_many_undefined(replicates.sorted.size(), bootstrap.draws())) return std::nullopt;
  std::sort(replicates.sorted.begin(), replicates.sorted.end());
  return replicates;
}

double normal_cdf(double z) {
  return 0.5 * std::erfc(-z / std::numbers::sqrt2);
}

// Inverse of normal_cdf for p in (0, 1): Abramowitz & Stegun 1964, formula 26.2.23 (error below
// 4.5e-4), then two of Halley's steps, which leave rounding error.
double normal_quantile(double p) {
  const double t = std::sqrt(-2 * std::log(std::min(p, 1 - p)));
  const double above = 2.515517 + t * (0.802853 + t * 0.010328);
  const double below = 1 + t * (1.432788 + t * (0.189269 + t * 0.001308));
  double z = t - above / below;
  if (p < 0.5) z = -z;
  for (int step = 0; step < 2; ++step) {
    const double error = normal_cdf(z) - p;
    const double newton = error * std::sqrt(2 * std::numbers::pi) * std::exp(0.5 * z * z);
    z -= newton / (1 + 0.5 * z * newton);
  }
  return z;
}

// z0 of the book: how far the sample's value lies from the median of the draws, in normal units.
double bias_correction(const Replicates& replicates) {
  const std::vector<double>& sorted = replicates.sorted;
  const double slack = kRounding * std::abs(replicates.value);
  const auto first_tie = std::lower_bound(sorted.begin(), sorted.end(), replicates.value - slack);
  const auto after_ties = std::upper_bound(first_tie, sorted.end(), replicates.value + slack);
  const double draws = static_cast<double>(sorted.size());
  const double below = static_cast<double>(first_tie - sorted.begin()) +
                       0.5 * static_cast<double>(after_ties - first_tie);
  // Half a draw from either end, where the normal quantile is still finite.
  return normal_quantile(std::clamp(below, 0.5, draws - 0.5) / draws);
}

// Skewness of the statistic's influence, from its values with one unit left out. nullopt when more
// than kUndefinedShare of them are undefined.
std::optional<double> acceleration(const UnitSums& sums, const Statistic& statistic) {
  const std::vector<double> totals = sample_totals(sums);
  std::vector<double> without(sums.columns);
  std::vector<double> values;
  values.reserve(sums.units);
  for (size_t unit = 0; unit < sums.units; ++unit) {
    for (size_t column = 0; column < sums.columns; ++column) {
      without[column] = totals[column] - sums.at(unit, column);
    }
    const std::optional<double> value = finite_value(statistic, without);
    if (value) values.push_back(*value);
  }
  if (too_many_undefined(values.size(), sums.units)) return std::nullopt;
  const double mean = mean_of(values);
  double squares = 0;
  double cubes = 0;
  for (const double value : values) {
    const double deviation = mean - value;
    squares += deviation * deviation;
    cubes += deviation * deviation * deviation;
  }
  const double scale = std::pow(squares, 1.5);
  return scale > 0 ? cubes / (6 * scale) : 0.0;
}

// Share of draws at which a BCa interval ends, for the nominal normal quantile z.
double corrected_share(double z, double z0, double acceleration) {
  const double shift = z0 + z;
  const double scale = 1 - acceleration * shift;
  // Past the pole of the transformation, whose near side tends to the outermost draw.
  if (scale <= 0) return shift > 0 ? 1.0 : 0.0;
  return normal_cdf(z0 + shift / scale);
}

std::vector<double> deviations_from_mean(std::span<const double> values) {
  const double mean = mean_of(values);
  std::vector<double> deviations(values.begin(), values.end());
  for (double& deviation : deviations) deviation -= mean;
  return deviations;
}

double largest_size(std::span<const double> values) {
  double largest = 0;
  for (const double value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

void check_max_t_input(std::span<const double> point,
                       const std::vector<std::vector<double>>& draws) {
  ISOGLOSS_ASSERT(!point.empty());
  if (draws.size() < 2) {
    fail(ErrorCode::kBadArgument,
         "max-T test of {} items: {} bootstrap draws, expected at least 2 for a standard error",
         point.size(), draws.size());
  }
  const auto check = [](double value, size_t item) {
    if (!std::isfinite(value)) {
      fail(ErrorCode::kNotFinite, "max-T test: item {} is {}, expected a finite value", item,
           value);
    }
  };
  for (size_t item = 0; item < point.size(); ++item) check(point[item], item);
  for (const std::vector<double>& draw : draws) {
    ISOGLOSS_ASSERT(draw.size() == point.size());
    for (size_t item = 0; item < draw.size(); ++item) check(draw[item], item);
  }
}

// Standard deviation over draws of each item, summed about the first draw; 0 where it is within
// `rounding`.
std::vector<double> standard_errors(const std::vector<std::vector<double>>& draws,
                                    double rounding) {
  const std::vector<double>& origin = draws.front();
  const double count = static_cast<double>(draws.size());
  std::vector<double> errors(origin.size());
  for (size_t item = 0; item < origin.size(); ++item) {
    double sum = 0;
    for (const std::vector<double>& draw : draws) sum += draw[item] - origin[item];
    const double mean = sum / count;
    double squares = 0;
    for (const std::vector<double>& draw : draws) {
      const double deviation = draw[item] - origin[item] - mean;
      squares += deviation * deviation;
    }
    const double error = std::sqrt(squares / (count - 1));
    errors[item] = error > rounding ? error : 0.0;
  }
  return errors;
}

// Infinite when an item that never varies differs from the mean by more than `rounding`.
double observed_statistic(std::span<const double> deviation, std::span<const double> errors,
                          double rounding) {
  double largest = 0;
  for (size_t item = 0; item < deviation.size(); ++item) {
    const double size = std::abs(deviation[item]);
    if (errors[item] > 0) {
      largest = std::max(largest, size / errors[item]);
    } else if (size > rounding) {
      return std::numeric_limits<double>::infinity();
    }
  }
  return largest;
}

// The same statistic of each draw about the sample's deviations, ascending; items that never vary
// have no part in it.
std::vector<double> null_distribution(const std::vector<std::vector<double>>& drawn,
                                      std::span<const double> deviation,
                                      std::span<const double> errors) {
  std::vector<double> statistics;
  statistics.reserve(drawn.size());
  for (const std::vector<double>& draw : drawn) {
    double largest = 0;
    for (size_t item = 0; item < deviation.size(); ++item) {
      if (errors[item] == 0) continue;
      largest = std::max(largest, std::abs(draw[item] - deviation[item]) / errors[item]);
    }
    statistics.push_back(largest);
  }
  std::sort(statistics.begin(), statistics.end());
  return statistics;
}

}  // namespace

std::optional<Estimate> percentile_interval(const UnitSums& sums, const BootstrapTotals& bootstrap,
                                            const Statistic& statistic) {
  const std::optional<Replicates> replicates = evaluate(sums, bootstrap, statistic);
  if (!replicates) return std::nullopt;
  return Estimate{replicates->value, quantile(replicates->sorted, (1 - kConfidence) / 2),
                  quantile(replicates->sorted, (1 + kConfidence) / 2)};
}

std::optional<Estimate> bca_interval(const UnitSums& sums, const BootstrapTotals& bootstrap,
                                     const Statistic& statistic) {
  const std::optional<Replicates> replicates = evaluate(sums, bootstrap, statistic);
  if (!replicates) return std::nullopt;
  const double value = replicates->value;
  const std::vector<double>& sorted = replicates->sorted;
  const double slack = kRounding * std::abs(value);
  if (std::max(sorted.back() - value, value - sorted.front()) <= slack) {
    return Estimate{value, value, value};
  }
  const std::optional<double> skewness = acceleration(sums, statistic);
  if (!skewness) return std::nullopt;
  const double z0 = bias_correction(*replicates);
  const double z = normal_quantile((1 + kConfidence) / 2);
  return Estimate{value, quantile(sorted, corrected_share(-z, z0, *skewness)),
                  quantile(sorted, corrected_share(z, z0, *skewness))};
}

double quantile(std::span<const double> sorted, double p) {
  ISOGLOSS_ASSERT(!sorted.empty());
  ISOGLOSS_ASSERT(p >= 0 && p <= 1);
  const double position = p * static_cast<double>(sorted.size() - 1);
  const size_t index = static_cast<size_t>(position);
  if (index + 1 >= sorted.size()) return sorted.back();
  const double fraction = position - static_cast<double>(index);
  return sorted[index] + fraction * (sorted[index + 1] - sorted[index]);
}

double gini(std::span<const double> values) {
  for (const double value : values) {
    if (!std::isfinite(value)) {
      fail(ErrorCode::kNotFinite, "Gini coefficient: found {}, expected finite values", value);
    }
    if (value < 0) {
      fail(ErrorCode::kBadArgument, "Gini coefficient: found {}, expected no negative value",
           value);
    }
  }
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const size_t n = sorted.size();
  const double total = std::accumulate(sorted.begin(), sorted.end(), 0.0);
  if (total == 0) return 0;
  // Rank-weighted sum, taken in mirrored pairs: no term is negative, and equal values give 0.
  double differences = 0;
  for (size_t low = 0; low < n / 2; ++low) {
    const size_t high = n - 1 - low;
    differences += static_cast<double>(high - low) * (sorted[high] - sorted[low]);
  }
  return differences / (static_cast<double>(n) * total);
}

MaxTResult max_t_test(std::span<const double> point,
                      const std::vector<std::vector<double>>& draws) {
  check_max_t_input(point, draws);
  std::vector<std::vector<double>> drawn;
  drawn.reserve(draws.size());
  for (const std::vector<double>& draw : draws) drawn.push_back(deviations_from_mean(draw));

  MaxTResult result;
  result.deviation = deviations_from_mean(point);
  const double rounding = kRounding * largest_size(point);
  const std::vector<double> errors = standard_errors(drawn, rounding);
  const std::vector<double> null_statistics = null_distribution(drawn, result.deviation, errors);
  result.statistic = observed_statistic(result.deviation, errors, rounding);
  const auto at_least =
      null_statistics.end() -
      std::lower_bound(null_statistics.begin(), null_statistics.end(), result.statistic);
  result.p_value = static_cast<double>(at_least + 1) / static_cast<double>(drawn.size() + 1);
  const double reach = quantile(null_statistics, kConfidence);
  for (size_t item = 0; item < errors.size(); ++item) {
    result.lo.push_back(result.deviation[item] - reach * errors[item]);
    result.hi.push_back(result.deviation[item] + reach * errors[item]);
  }
  return result;
}

}  // namespace isogloss
