// Sums by unit to numbers with intervals, and whether the runtime computes what the file says.
#include <algorithm>
#include <cmath>

#include "isogloss/base/error.h"
#include "isogloss/verify/verify_impl.h"

namespace isogloss {
namespace {

std::span<const double> columns_of(std::span<const double> totals, size_t computation) {
  return totals.subspan(computation * kColumns, kColumns);
}

std::optional<double> minus(std::optional<double> a, std::optional<double> b) {
  if (!a || !b) return std::nullopt;
  return *a - *b;
}

class LanguageSummary {
 public:
  LanguageSummary(const UnitSums& sums, size_t draws, uint64_t seed)
      : sums_(sums), bootstrap_(sums, draws, seed), totals_(sums.columns) {
    for (size_t u = 0; u < sums.units; ++u) {
      for (size_t c = 0; c < sums.columns; ++c) totals_[c] += sums.at(u, c);
    }
  }

  double total(size_t column) const { return totals_[column]; }

  double ppl(size_t computation, Column nll) const {
    const auto columns = columns_of(totals_, computation);
    return std::exp(columns[nll] / columns[kTokens]);
  }

  FileLoss loss(size_t computation) const {
    FileLoss loss;
    loss.ppl = ppl(computation, kNll);
    for (const RatioMetricInfo& info : ratio_metrics()) {
      loss.metrics[static_cast<size_t>(info.metric)] =
          measure(info.denominator == kUnits, [=](std::span<const double> totals) {
            return ratio(info.metric, columns_of(totals, computation));
          });
    }
    return loss;
  }

  RuntimeLoss runtime_loss(size_t computation) const {
    RuntimeLoss loss{this->loss(computation), {}, {}, {}};
    for (const RatioMetricInfo& info : ratio_metrics()) {
      loss.differences[static_cast<size_t>(info.metric)] =
          measure(info.denominator == kUnits, [=](std::span<const double> totals) {
            return minus(ratio(info.metric, columns_of(totals, computation)),
                         ratio(info.metric, columns_of(totals, kPredicted)));
          });
    }
    loss.kl_of_runtime = per_token(kKlOfRuntimes + computation);
    loss.kl_of_rounding = per_token(kKlOfRoundings + computation);
    return loss;
  }

 private:
  Measured per_token(size_t column) const {
    return measure(false, [=](std::span<const double> totals) {
      const double tokens = totals[kTokens];
      return tokens > 0 ? std::optional(totals[column] / tokens) : std::nullopt;
    });
  }

  // A mean over units is no ratio of sums that vary together.
  Measured measure(bool is_mean, const Statistic& statistic) const {
    const auto estimate = is_mean ? percentile_interval(sums_, bootstrap_, statistic)
                                  : bca_interval(sums_, bootstrap_, statistic);
    if (estimate) return {estimate, ""};
    return {std::nullopt, "UNDEFINED: nothing to divide by"};
  }

  const UnitSums& sums_;
  BootstrapTotals bootstrap_;
  std::vector<double> totals_;
};

double value_of(const Measured& measured) {
  ISOGLOSS_ASSERT(measured.estimate.has_value());  // every language scores tokens
  return measured.estimate->value;
}

// The runtime computes with the numbers that we read, and rounds no more than we do.
std::string find_strict_disagreement(const LanguageVerification& language, const RuntimeLoss& found,
                                     const VerifyResult& result) {
  const VerifyLimits& limits = result.limits;
  const double predicted = value_of(language.predicted.metric(RatioMetric::kKlPerToken));
  const double kl_of_runtime = value_of(found.kl_of_runtime);
  if (kl_of_runtime > most_kl(found, limits)) {
    return fmt::format(
        "without rounding, the runtime's distributions are {:.2g} nats per token from those "
        "predicted, where at most {:.2g} is to be expected: it computes another model",
        kl_of_runtime, most_kl(found, limits));
  }
  const double difference = value_of(found.difference(RatioMetric::kKlPerToken));
  const double allowed =
      limits.kl_tolerance * predicted + kl_of_runtime + rounding_floor(result.noise_floor);
  if (std::abs(difference) <= allowed) return "";
  return fmt::format("without rounding, KL per token is {:.4g} in the runtime and {:.4g} predicted",
                     predicted + difference, predicted);
}

}  // namespace

LanguageVerification summarize(const TokenizedLanguage& language, const UnitSums& sums,
                               bool has_exact, size_t draws, uint64_t seed) {
  const LanguageSummary summary(sums, draws, seed);
  LanguageVerification result;
  result.code = language.code;
  result.tokens = static_cast<size_t>(summary.total(kTokens));
  result.units = static_cast<size_t>(summary.total(kUnits));
  result.ppl_reference = summary.ppl(kPredicted, kNllReference);
  result.predicted = summary.loss(kPredicted);
  result.runtime = summary.runtime_loss(kRuntime);
  if (has_exact) result.exact = summary.runtime_loss(kExact);
  return result;
}

double rounding_floor(const NoiseFloor& floor) {
  return std::max(floor.kl_per_token_mean, kKlRounding);
}

double most_kl(const RuntimeLoss& found, const VerifyLimits& limits) {
  return std::max(limits.rounding_margin * value_of(found.kl_of_rounding), limits.order_kl);
}

std::string find_disagreement(const LanguageVerification& language, const VerifyResult& result,
                              bool strict) {
  if (language.retokenized_units > 0) {
    return fmt::format("the file's tokenizer splits {} of {} units otherwise",
                       language.retokenized_units, language.units);
  }
  const RuntimeLoss* exact = strict ? &language.runtime : nullptr;
  if (language.exact) exact = &*language.exact;
  if (exact) {
    const std::string found = find_strict_disagreement(language, *exact, result);
    if (!found.empty()) return found;
  }
  const double kl_of_runtime = value_of(language.runtime.kl_of_runtime);
  const double most = most_kl(language.runtime, result.limits);
  if (kl_of_runtime <= most) return "";
  return fmt::format(
      "the runtime's distributions are {:.2g} nats per token from those predicted, more than its "
      "rounding of activations explains ({:.2g})",
      kl_of_runtime, most);
}

}  // namespace isogloss
