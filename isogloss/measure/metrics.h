// Metrics: the formulas of docs/metrics.md over sums. Everything that is said of a language follows
// from what its units contribute to a few sums.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

#include "isogloss/measure/statistics.h"

namespace isogloss {

// What a unit contributes to each sum over units: 1, scored tokens, their UTF-8 bytes; nats of the
// reference and of a configuration, KL divergence in nats, positions whose most likely token
// changed.
enum Column : size_t { kUnits, kTokens, kBytes, kNllReference, kNll, kKl, kFlips, kColumns };

enum class RatioMetric : size_t {
  kExcessNatsPerUnit,
  kExcessBitsPerByte,
  kKlPerUnit,
  kKlPerToken,
  kKlPerByte,
  kFlipRate,
};

// A sum over another; of nll, what it exceeds the reference's by.
struct RatioMetricInfo {
  RatioMetric metric;
  std::string_view name;   // in JSON and CSV
  std::string_view title;  // above a table
  Column numerator = kKl;
  Column denominator = kUnits;
  double scale = 1;
};

// In the order of RatioMetric.
std::span<const RatioMetricInfo> ratio_metrics();
const RatioMetricInfo& get_ratio_metric_info(RatioMetric metric);

// nullopt where there is nothing to divide by. `totals` has kColumns sums.
std::optional<double> ratio(RatioMetric metric, std::span<const double> totals);

// KL per unit where units mean the same in every language, per byte where they do not: what the
// worst language is judged by.
RatioMetric loss_metric(bool parallel);

// Percent growth of perplexity (mean NLL over predicted tokens), as the published study computes
// it, and its ratio to that of the study's reference language; nullopt where that one did not grow,
// which the study's scripts met with infinity, 0 or 1.
double seed_degradation(std::span<const double> totals);
std::optional<double> seed_disparity(std::span<const double> language,
                                     std::span<const double> reference);

// How far a quantized model is from working. Only kNormal supports claims about localisation.
enum class Regime {
  kNormal,
  kDegraded,   // more than half of the predicted tokens changed in some language
  kCollapsed,  // some language costs at least 0.9 ln|V| nats a token: no better than guessing
};
std::string_view to_string(Regime regime);

// From the totals of every language.
class RegimeFinder {
 public:
  explicit RegimeFinder(size_t vocab_size);
  void add(std::span<const double> totals);
  Regime regime() const { return regime_; }

 private:
  double collapsed_nats_;
  Regime regime_ = Regime::kNormal;
};

}  // namespace isogloss
