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

MetricColumn ratio_column(RatioMetric metric, Measured (*get)(const Language&)) {
  const RatioMetricInfo& info = get_ratio_metric_info(metric);
  return {info.name, info.title, get};
}

const MetricColumn kMetricColumns[] = {
    ratio_column(RatioMetric::kExcessNatsPerUnit,
                 [](const Language& l) { return l.excess_nats_per_unit; }),
    ratio_column(RatioMetric::kExcessBitsPerByte,
                 [](const Language& l) { return l.excess_bits_per_byte; }),
    ratio_column(RatioMetric::kKlPerUnit, [](const Language& l) { return l.kl_per_unit; }),
    ratio_column(RatioMetric::kKlPerToken,
                 [](const Language& l) {
                   return Measured{l.kl_per_token.mean, ""};
                 }),
    ratio_column(RatioMetric::kKlPerByte, [](const Language& l) { return l.kl_per_byte; }),
    ratio_column(RatioMetric::kFlipRate, [](const Language& l) { return l.flip_rate; }),
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
  return kMetricColumns;
}

std::vector<std::string> table_metrics() {
  std::vector<std::string> names;
  for (const auto& column : kMetricColumns) names.emplace_back(column.name);
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

std::string_view version() {
  return ISOGLOSS_VERSION;
}

}  // namespace isogloss
