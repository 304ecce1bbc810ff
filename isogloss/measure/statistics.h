// Resampling statistics: the paired cluster bootstrap and its intervals, tests of many hypotheses,
// ranks. Pure functions of numbers, which know of no model and no corpus; everything in double.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace isogloss {

// A point estimate with the ends of its two-sided interval.
struct Estimate {
  double value = 0;
  double lo = 0;
  double hi = 0;
};

// Level of every interval that is reported.
inline constexpr double kConfidence = 0.95;

// A number with its interval, or the reason why there is none. `status` is "" when `estimate` is
// set.
struct Measured {
  std::optional<Estimate> estimate;
  std::string status;
};

// A matrix of sums over units: row u, column c holds what unit u contributes to quantity c (nats,
// tokens, bytes ...). Columns that are resampled together share their units.
struct UnitSums {
  size_t units = 0;
  size_t columns = 0;
  std::vector<double> values;  // row-major [units][columns]

  double at(size_t unit, size_t column) const { return values[unit * columns + column]; }
};

// Bootstrap totals without end: draw d, column c is the sum of column c over `units` unit ids drawn
// with replacement. Draw d uses the same unit ids for every column and for every stream of the same
// seed and number of units, which is what pairs languages and runs. Deterministic in (sums, seed)
// on every machine: own generator, no std::distribution.
class BootstrapStream {
 public:
  // Keeps a copy of the sums. Throws Error(kBadArgument) when there are no units to draw from.
  BootstrapStream(const UnitSums& sums, uint64_t seed);
  ~BootstrapStream();
  BootstrapStream(BootstrapStream&&) noexcept;
  BootstrapStream& operator=(BootstrapStream&&) noexcept;

  size_t columns() const;

  // Totals of the next `draws` draws, row-major [draws][columns], valid until the next call. The
  // draws do not depend on how they are cut into calls; 64 or more at once take the least time.
  std::span<const double> next(size_t draws);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The first `draws` draws of a BootstrapStream, held together.
class BootstrapTotals {
 public:
  BootstrapTotals(const UnitSums& sums, size_t draws, uint64_t seed);

  size_t draws() const { return draws_; }
  size_t columns() const { return columns_; }
  double at(size_t draw, size_t column) const { return totals_[draw * columns_ + column]; }
  std::span<const double> row(size_t draw) const {
    return {totals_.data() + draw * columns_, columns_};
  }

 private:
  size_t draws_;
  size_t columns_;
  std::vector<double> totals_;
};

// Value of a statistic computed from one row of column totals; nullopt where it is undefined (a
// ratio over nothing, a logarithm of a negative). A value that is not finite counts as undefined.
using Statistic = std::function<std::optional<double>(std::span<const double> totals)>;

// Percentile interval of `statistic` (Efron & Tibshirani 1993, section 13.3): for means. nullopt
// when the statistic is undefined on the sample itself or on more than kUndefinedShare of the
// draws.
std::optional<Estimate> percentile_interval(const UnitSums& sums, const BootstrapTotals& bootstrap,
                                            const Statistic& statistic);

// Bias-corrected and accelerated interval (Efron 1987; same book, section 14.3), acceleration from
// the jackknife over units: for ratios. nullopt as above. A statistic that is constant over the
// draws returns lo = hi = value.
std::optional<Estimate> bca_interval(const UnitSums& sums, const BootstrapTotals& bootstrap,
                                     const Statistic& statistic);

// Share of draws on which a statistic may be undefined before its interval is refused.
inline constexpr double kUndefinedShare = 0.01;

// Quantile of `sorted` (ascending, not empty) at p in [0, 1], linear interpolation between order
// statistics (Hyndman & Fan 1996, type 7: the default of NumPy and R).
double quantile(std::span<const double> sorted, double p);

// Gini coefficient of non-negative values (0: all equal; (n-1)/n: one has everything); 0 when the
// values sum to 0.
double gini(std::span<const double> values);

// Do several paired quantities differ from their common mean? `point` holds one value for each of k
// items, `draws` its bootstrap replicates [draw][item]. The statistic is the largest studentised
// deviation from the mean over items; its null distribution comes from the centred replicates
// (max-T; Westfall & Young 1993), so that it controls the family of k comparisons.
struct MaxTResult {
  double statistic = 0;
  double p_value = 1;             // share of centred draws at least as large, (r + 1) / (B + 1)
  std::vector<double> deviation;  // item minus mean over items
  std::vector<double> lo, hi;     // simultaneous kConfidence band of each deviation
};
MaxTResult max_t_test(std::span<const double> point, const std::vector<std::vector<double>>& draws);

// Two-sided p-value of the hypothesis that a quantity is `value_under_null`, from B bootstrap
// replicates of it: min(1, 2 (1 + the smaller of #{draw <= value}, #{draw >= value}) / (B + 1)).
// It is the level at which the percentile interval just reaches the value (Efron & Tibshirani 1993,
// section 15.4), with the observation counted as a draw (Davison & Hinkley 1997, section 4.2). No
// p-value is below 2 / (B + 1): that has to be smaller than what a correction for many hypotheses
// asks of the smallest. Throws Error(kBadArgument) without draws and Error(kNotFinite) for NaN.
double bootstrap_p_value(double value_under_null, std::span<const double> draws);

// Adjusted p-values of a family of hypotheses, in the order of `p_values`. To reject those that are
// at most q bounds by q, for benjamini_hochberg, the expected share of false rejections among all
// (Benjamini & Hochberg 1995; tests independent or positively dependent), and for holm the chance
// of any false rejection (Holm 1979; any dependence). NaN marks a hypothesis that was not tested:
// it stays NaN and does not count. Throws Error(kBadArgument) for what lies outside of [0, 1].
std::vector<double> benjamini_hochberg(std::span<const double> p_values);
std::vector<double> holm(std::span<const double> p_values);

// Rank of each value: 1 is the largest, equal values share the mean of their ranks. Throws
// Error(kNotFinite) for NaN; so does everything below that takes values.
std::vector<double> ranks(std::span<const double> values);

// How items rank over bootstrap draws. Takes 8 items^2 bytes.
class RankCounter {
 public:
  explicit RankCounter(size_t items);

  // One draw's value of each item; ranks are those of ranks().
  void add(std::span<const double> values);

  size_t draws() const { return draws_; }
  // Share of the draws, of which there is at least one, in which the item ranks first; items that
  // tie for it share the draw equally.
  double first_share(size_t item) const;
  // quantile() of the item's ranks over the draws, of which there is at least one.
  double rank_quantile(size_t item, double p) const;
  // Percentile interval of the rank at kConfidence: lowest number, highest number.
  std::pair<double, double> interval(size_t item) const;

 private:
  double rank_at(size_t item, size_t place) const;

  size_t items_;
  size_t draws_ = 0;
  std::vector<double> first_;     // draws that the item ranks first in
  std::vector<uint32_t> counts_;  // [item][twice the rank, less 2]
  std::vector<size_t> order_;     // items by descending value, kept for its memory
};

// Rank correlations of paired values, in [-1, 1]; NaN where either side is constant. Spearman's is
// Pearson's of ranks(). Kendall's tau-b (Kendall 1945) is the excess of pairs ordered alike over
// pairs ordered otherwise, over the geometric mean of the numbers of pairs that are not tied in `a`
// and in `b`; its time grows with the square of the count.
double spearman(std::span<const double> a, std::span<const double> b);
double kendall_tau_b(std::span<const double> a, std::span<const double> b);

}  // namespace isogloss
