// What compares languages within a run.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "isogloss/base/error.h"
#include "isogloss/measure/measure_impl.h"

namespace isogloss {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// KL per unit where units mean the same in every language, per byte where they do not.
double loss(std::span<const double> totals, bool parallel) {
  return *ratio(loss_metric(parallel), totals);
}

// Percentile interval of values already drawn; draws that are not finite are left out. `status`
// says what it means that nothing is finite.
Measured from_draws(double value, std::vector<double> draws, const std::string& status) {
  std::erase_if(draws, [](double draw) { return !std::isfinite(draw); });
  if (!std::isfinite(value) || draws.empty()) return {std::nullopt, status};
  std::ranges::sort(draws);
  const double tail = (1 - kConfidence) / 2;
  return {Estimate{value, quantile(draws, tail), quantile(draws, 1 - tail)}, ""};
}

// Losses of all languages: of the sample, and of each draw.
struct Losses {
  std::vector<double> point;               // [language]
  std::vector<std::vector<double>> draws;  // [draw][language]
};

Losses collect_losses(const std::vector<LanguageSample>& samples, size_t draws, bool parallel) {
  Losses losses;
  for (const auto& sample : samples) losses.point.push_back(loss(sample.totals, parallel));
  losses.draws.assign(draws, std::vector<double>(samples.size()));
  for (size_t d = 0; d < draws; ++d) {
    for (size_t l = 0; l < samples.size(); ++l) {
      losses.draws[d][l] = loss(samples[l].bootstrap.row(d), parallel);
    }
  }
  return losses;
}

template <typename Function>
Measured across_languages(const Losses& losses, Function function) {
  std::vector<double> draws;
  for (const auto& draw : losses.draws) draws.push_back(function(draw));
  return from_draws(function(losses.point), std::move(draws), "UNDEFINED: no losses to compare");
}

void add_worst_language(RunResult& result, const Losses& losses) {
  const auto worst = [](const std::vector<double>& values) {
    return static_cast<size_t>(std::ranges::max_element(values) - values.begin());
  };
  const size_t language = worst(losses.point);
  if (losses.point[language] <= 0) return;
  const auto times = std::ranges::count_if(
      losses.draws, [&](const auto& draw) { return worst(draw) == language; });
  result.worst_language = result.languages[language].code;
  result.worst_language_frequency =
      static_cast<double>(times) / static_cast<double>(losses.draws.size());
}

// Excess nats per unit of every language, units in rows: the sums behind rho.
UnitSums excess_by_language(const std::vector<LanguageSample>& samples) {
  UnitSums sums{samples.front().sums.units, samples.size(), {}};
  for (size_t u = 0; u < sums.units; ++u) {
    for (const auto& sample : samples) {
      sums.values.push_back(sample.sums.at(u, kNll) - sample.sums.at(u, kNllReference));
    }
  }
  return sums;
}

// ln of what every language is compared with; nullopt unless it is positive.
using LogReference = std::function<std::optional<double>(std::span<const double>)>;

LogReference log_reference(const RunResult& result, const AuditOptions& options) {
  if (options.reference_language == "geomean") {
    return [](std::span<const double> totals) -> std::optional<double> {
      double sum = 0;
      for (const double total : totals) {
        if (total <= 0) return std::nullopt;
        sum += std::log(total);
      }
      return sum / static_cast<double>(totals.size());
    };
  }
  const auto place =
      std::ranges::find(result.languages, options.reference_language, &LanguageResult::code);
  const auto column = static_cast<size_t>(place - result.languages.begin());
  return [column](std::span<const double> totals) -> std::optional<double> {
    if (totals[column] <= 0) return std::nullopt;
    return std::log(totals[column]);
  };
}

// rho and ln rho; DEGENERATE where the reference's loss is not surely above 0, for a ratio over it
// would be a ratio of noise.
void add_rho(RunResult& result, const std::vector<LanguageSample>& samples,
             const AuditOptions& options) {
  const UnitSums sums = excess_by_language(samples);
  const BootstrapTotals bootstrap(sums, options.draws, options.seed);
  const LogReference reference = log_reference(result, options);
  const auto reference_interval = percentile_interval(sums, bootstrap, reference);
  for (size_t l = 0; l < samples.size(); ++l) {
    LanguageResult& language = result.languages[l];
    if (!reference_interval) {
      language.rho.status = "DEGENERATE: the loss of the reference (" + options.reference_language +
                            ") is not above 0 in 99 % of the draws";
      language.ln_rho.status = language.rho.status;
      continue;
    }
    const Statistic ln_rho = [&](std::span<const double> totals) -> std::optional<double> {
      const auto base = reference(totals);
      if (!base || totals[l] <= 0) return std::nullopt;
      return std::log(totals[l]) - *base;
    };
    const Statistic rho = [&](std::span<const double> totals) -> std::optional<double> {
      const auto base = reference(totals);
      if (!base) return std::nullopt;
      return totals[l] / std::exp(*base);
    };
    language.rho = {bca_interval(sums, bootstrap, rho), ""};
    language.ln_rho = {bca_interval(sums, bootstrap, ln_rho), ""};
    const std::string gained =
        "DEGENERATE: the language's own loss is not above 0 in 99 % of the draws";
    if (!language.rho.estimate) language.rho.status = gained;
    if (!language.ln_rho.estimate) language.ln_rho.status = gained;
  }
}

void add_seed_disparity(RunResult& result, const std::vector<LanguageSample>& samples,
                        const AuditOptions& options) {
  const auto place =
      std::ranges::find(result.languages, options.reference_language, &LanguageResult::code);
  if (place == result.languages.end()) {
    for (auto& language : result.languages) {
      language.seed_disparity.status = "UNDEFINED: it needs one reference language";
    }
    result.disparity.seed_disparity_mean.status = "UNDEFINED: it needs one reference language";
    return;
  }
  const LanguageSample& reference = samples[static_cast<size_t>(place - result.languages.begin())];
  const auto disparity = [](std::span<const double> language, std::span<const double> base) {
    return seed_disparity(language, base).value_or(kNaN);
  };
  const std::string degenerate =
      "DEGENERATE: the reference language's perplexity did not grow, so there is no ratio";
  std::vector<double> mean_draws(options.draws);
  double mean = 0;
  const auto others = static_cast<double>(samples.size() - 1);
  for (size_t l = 0; l < samples.size(); ++l) {
    const double value = disparity(samples[l].totals, reference.totals);
    std::vector<double> draws(options.draws);
    for (size_t d = 0; d < options.draws; ++d) {
      draws[d] = disparity(samples[l].bootstrap.row(d), reference.bootstrap.row(d));
      if (&samples[l] != &reference) mean_draws[d] += draws[d] / others;
    }
    if (&samples[l] != &reference) mean += value / others;
    result.languages[l].seed_disparity = from_draws(value, std::move(draws), degenerate);
  }
  auto& summary = result.disparity.seed_disparity_mean;
  if (samples.size() < 2) {
    summary.status = "UNDEFINED: there is one language";
  } else {
    summary = from_draws(mean, std::move(mean_draws), degenerate);
  }
}

bool all_positive(const std::vector<double>& losses) {
  return std::ranges::all_of(losses, [](double loss) { return loss > 0; });
}

// Languages whose loss has no logarithm: it is 0 in the sample, or in too many draws.
std::vector<std::string> languages_without_loss(const RunResult& result, const Losses& losses) {
  std::vector<std::string> codes;
  for (size_t l = 0; l < losses.point.size(); ++l) {
    const auto lossless = std::ranges::count_if(
        losses.draws, [l](const std::vector<double>& draw) { return draw[l] <= 0; });
    const double share = static_cast<double>(lossless) / static_cast<double>(losses.draws.size());
    if (losses.point[l] > 0 && share <= kUndefinedShare) continue;
    codes.push_back(result.languages[l].code);
  }
  return codes;
}

std::string verdict(const RunResult& result, const std::vector<std::string>& without_loss) {
  const Disparity& disparity = result.disparity;
  if (result.languages.size() < 2) return "one language: nothing to compare";
  if (result.worst_language.empty()) return "no measurable disparity: no language loses anything";
  if (!without_loss.empty()) {
    return fmt::format("disparity not tested: no loss in {}, or none in some draws of its units",
                       fmt::join(without_loss, " "));
  }
  if (!disparity.measurable) {
    return fmt::format("no measurable disparity between the {} languages (p = {:.3g})",
                       result.languages.size(), disparity.p_value);
  }
  std::vector<std::string> more, less;
  for (size_t l = 0; l < result.languages.size(); ++l) {
    if (disparity.deviation_lo[l] > 0) more.push_back(result.languages[l].code);
    if (disparity.deviation_hi[l] < 0) less.push_back(result.languages[l].code);
  }
  const auto list = [](const std::vector<std::string>& codes) {
    return codes.empty() ? std::string("none") : fmt::format("{}", fmt::join(codes, " "));
  };
  return fmt::format("languages lose unequally (p = {:.3g}); more than the mean: {}; less: {}",
                     disparity.p_value, list(more), list(less));
}

// On the logarithm, so that a language that loses twice the mean and one that loses half of it are
// equally far.
void add_test(RunResult& result, const Losses& losses) {
  const auto without_loss = languages_without_loss(result, losses);
  Disparity& disparity = result.disparity;
  if (result.languages.size() >= 2 && without_loss.empty()) {
    const auto logarithms = [](std::vector<double> values) {
      for (double& value : values) value = std::log(value);
      return values;
    };
    std::vector<std::vector<double>> draws;
    for (const auto& draw : losses.draws) {
      if (all_positive(draw)) draws.push_back(logarithms(draw));
    }
    const MaxTResult test = max_t_test(logarithms(losses.point), draws);
    disparity.p_value = test.p_value;
    disparity.measurable = test.p_value < 1 - kConfidence;
    disparity.deviation = test.deviation;
    disparity.deviation_lo = test.lo;
    disparity.deviation_hi = test.hi;
  }
  disparity.verdict = verdict(result, without_loss);
}

}  // namespace

void add_disparity(RunResult& result, const std::vector<LanguageSample>& samples,
                   const AuditOptions& options, bool parallel) {
  const Losses losses = collect_losses(samples, options.draws, parallel);
  add_worst_language(result, losses);
  result.disparity.gap = across_languages(losses, [](const std::vector<double>& values) {
    const auto [least, most] = std::ranges::minmax(values);
    return most - least;
  });
  result.disparity.gini =
      across_languages(losses, [](const std::vector<double>& values) { return gini(values); });
  add_seed_disparity(result, samples, options);
  add_test(result, losses);
  if (parallel) {
    add_rho(result, samples, options);
    return;
  }
  for (auto& language : result.languages) {
    language.rho.status = "UNDEFINED: the corpus is not parallel";
    language.ln_rho.status = language.rho.status;
  }
}

}  // namespace isogloss
