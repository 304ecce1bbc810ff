#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "isogloss/base/error.h"
#include "isogloss/base/suggest.h"
#include "isogloss/report/report_impl.h"

namespace isogloss {
namespace {

using Language = LanguageResult;

constexpr MetricColumn kColumns[] = {
    {"excess_nats_per_unit", "excess nats per parallel unit",
     [](const Language& l) { return l.excess_nats_per_unit; }},
    {"excess_bits_per_byte", "excess bits per UTF-8 byte",
     [](const Language& l) { return l.excess_bits_per_byte; }},
    {"kl_per_unit", "KL divergence in nats per parallel unit",
     [](const Language& l) { return l.kl_per_unit; }},
    {"kl_per_token", "mean KL divergence in nats per token",
     [](const Language& l) {
       return Measured{l.kl_per_token.mean, ""};
     }},
    {"kl_per_byte", "KL divergence in nats per UTF-8 byte",
     [](const Language& l) { return l.kl_per_byte; }},
    {"flip_rate", "share of positions whose most likely token changed",
     [](const Language& l) { return l.flip_rate; }},
    {"rho", "excess nats per unit, relative to the reference language",
     [](const Language& l) { return l.rho; }},
    {"ln_rho", "ln rho", [](const Language& l) { return l.ln_rho; }},
    {"seed_disparity", "ratio of perplexity degradations, as the published study computes it",
     [](const Language& l) { return l.seed_disparity; }},
};

struct SummaryNumber {
  std::string_view name;
  bool smallest;  // over the runs
  double (*of)(const RunResult&);
};

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// fmax and fmin pass over NaN.
double largest(const RunResult& run, double (*get)(const Language&)) {
  double most = kNaN;
  for (const auto& language : run.languages) most = std::fmax(most, get(language));
  return most;
}

double value_or_nan(const Measured& measured) {
  return measured.estimate ? measured.estimate->value : kNaN;
}

constexpr SummaryNumber kSummaryNumbers[] = {
    {"worst_kl", false,
     [](const RunResult& run) {
       return largest(run, [](const Language& l) { return l.kl_per_token.mean.value; });
     }},
    {"worst_flip_rate", false,
     [](const RunResult& run) {
       return largest(run, [](const Language& l) { return value_or_nan(l.flip_rate); });
     }},
    {"gap", false, [](const RunResult& run) { return value_or_nan(run.disparity.gap); }},
    {"gini", false, [](const RunResult& run) { return value_or_nan(run.disparity.gini); }},
    {"disparity_p", true, [](const RunResult& run) { return run.disparity.p_value; }},
};

}  // namespace

std::span<const MetricColumn> metric_columns() {
  return kColumns;
}

std::vector<std::string> table_metrics() {
  std::vector<std::string> names;
  for (const auto& column : kColumns) names.emplace_back(column.name);
  return names;
}

double summary_number(const AuditReport& report, std::string_view name) {
  const auto found = std::ranges::find(kSummaryNumbers, name, &SummaryNumber::name);
  if (found == std::end(kSummaryNumbers)) {
    std::vector<std::string> names;
    for (const auto& number : kSummaryNumbers) names.emplace_back(number.name);
    fail(ErrorCode::kBadArgument, "'{}' is no summary number{}; there are {}", name,
         did_you_mean(name, names), fmt::join(names, ", "));
  }
  double extreme = kNaN;
  for (const auto& run : report.result.runs) {
    const double value = found->of(run);
    extreme = found->smallest ? std::fmin(extreme, value) : std::fmax(extreme, value);
  }
  return extreme;
}

std::string short_number(double value, int digits) {
  const double size = std::abs(value);
  if (size == 0) return "0";
  if ((size < 1e-3 && digits > 1) || size >= 1e5) return fmt::format("{:.1e}", value);
  const int places = digits - 1 - static_cast<int>(std::floor(std::log10(size)));
  return fmt::format("{:.{}f}", value, std::clamp(places, 0, digits + 1));
}

size_t character_start(std::string_view text, size_t place) {
  while (place > 0 && (static_cast<unsigned char>(text[place]) & 0xC0) == 0x80) --place;
  return place;
}

std::string_view version() {
  return ISOGLOSS_VERSION;
}

}  // namespace isogloss
