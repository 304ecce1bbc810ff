// Resampling statistics behind measure.h: the paired cluster bootstrap and its intervals. Pure
// functions of numbers; everything in double.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "isogloss/measure/measure.h"

namespace isogloss {

// A matrix of sums over units: row u, column c holds what unit u contributes to quantity c (nats,
// tokens, bytes ...). Columns that are resampled together share their units.
struct UnitSums {
  size_t units = 0;
  size_t columns = 0;
  std::vector<double> values;  // row-major [units][columns]

  double at(size_t unit, size_t column) const { return values[unit * columns + column]; }
};

// Bootstrap totals: draw d, column c is the sum of column c over `units` unit ids drawn with
// replacement. Draw d uses the same unit ids for every column, which is what pairs languages and
// runs. Deterministic in (sums, draws, seed) on every machine: own generator, no std::distribution.
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

}  // namespace isogloss
