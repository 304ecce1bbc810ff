#include "isogloss/measure/metrics.h"

#include <cmath>
#include <numbers>

#include "isogloss/base/error.h"

namespace isogloss {
namespace {

// Shares of ln|V| and of flipped tokens at which a model counts as broken; science of the two
// regimes: arXiv 2604.19884 ("signal degradation" and "computation collapse").
constexpr double kCollapsedShare = 0.9;
constexpr double kDegradedFlips = 0.5;

constexpr RatioMetricInfo kRatioMetrics[] = {
    {RatioMetric::kExcessNatsPerUnit, "excess_nats_per_unit", "excess nats per parallel unit", kNll,
     kUnits, 1},
    {RatioMetric::kExcessBitsPerByte, "excess_bits_per_byte", "excess bits per UTF-8 byte", kNll,
     kBytes, std::numbers::log2e},
    {RatioMetric::kKlPerUnit, "kl_per_unit", "KL divergence in nats per parallel unit", kKl, kUnits,
     1},
    {RatioMetric::kKlPerToken, "kl_per_token", "mean KL divergence in nats per token", kKl, kTokens,
     1},
    {RatioMetric::kKlPerByte, "kl_per_byte", "KL divergence in nats per UTF-8 byte", kKl, kBytes,
     1},
    {RatioMetric::kFlipRate, "flip_rate", "share of positions whose most likely token changed",
     kFlips, kTokens, 1},
};

}  // namespace

std::span<const RatioMetricInfo> ratio_metrics() {
  return kRatioMetrics;
}

const RatioMetricInfo& get_ratio_metric_info(RatioMetric metric) {
  return kRatioMetrics[static_cast<size_t>(metric)];
}

std::optional<double> ratio(RatioMetric metric, std::span<const double> totals) {
  const RatioMetricInfo& info = get_ratio_metric_info(metric);
  if (totals[info.denominator] <= 0) return std::nullopt;
  const double baseline = info.numerator == kNll ? totals[kNllReference] : 0;
  return info.scale * (totals[info.numerator] - baseline) / totals[info.denominator];
}

RatioMetric loss_metric(bool parallel) {
  return parallel ? RatioMetric::kKlPerUnit : RatioMetric::kKlPerByte;
}

double seed_degradation(std::span<const double> totals) {
  return 100 * std::expm1((totals[kNll] - totals[kNllReference]) / totals[kTokens]);
}

std::optional<double> seed_disparity(std::span<const double> language,
                                     std::span<const double> reference) {
  const double degradation = seed_degradation(reference);
  if (!(degradation > 0)) return std::nullopt;
  return seed_degradation(language) / degradation;
}

std::string_view to_string(Regime regime) {
  switch (regime) {
    case Regime::kNormal:
      return "NORMAL";
    case Regime::kDegraded:
      return "DEGRADED";
    case Regime::kCollapsed:
      return "COLLAPSED";
  }
  ISOGLOSS_ASSERT(false);
}

RegimeFinder::RegimeFinder(size_t vocab_size)
    : collapsed_nats_(kCollapsedShare * std::log(static_cast<double>(vocab_size))) {}

void RegimeFinder::add(std::span<const double> totals) {
  Regime found = Regime::kNormal;
  if (totals[kFlips] > kDegradedFlips * totals[kTokens]) found = Regime::kDegraded;
  if (totals[kNll] >= collapsed_nats_ * totals[kTokens]) found = Regime::kCollapsed;
  regime_ = std::max(regime_, found);
}

}  // namespace isogloss
