#include "isogloss/sweep/cell_metrics_impl.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "isogloss/base/error.h"

namespace isogloss {
namespace {

using Columns = std::array<double, kColumns>;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

std::vector<CellMetric> make_cell_metrics() {
  std::vector<CellMetric> metrics;
  for (const RatioMetricInfo& info : ratio_metrics()) metrics.push_back({info.name, 0});
  metrics.insert(metrics.end(),
                 {{"excess_ppl", 0}, {"rho", 1}, {"ln_rho", 0}, {"seed_disparity", 1}});
  return metrics;
}

// A mean over units is no ratio of sums that vary together.
bool is_mean(RatioMetric metric) {
  return get_ratio_metric_info(metric).denominator == kUnits;
}

double excess_ppl(const Columns& totals) {
  return reference_perplexity(totals) * seed_degradation(totals) / 100;  // from percent
}

// NaN where there is no loss.
double log_of_excess(const Columns& totals) {
  const double excess = totals[kNll] - totals[kNllReference];
  return excess > 0 ? std::log(excess) : kNaN;
}

size_t place_of_language(const TokenizedCorpus& corpus, const std::string& code) {
  const auto found = std::ranges::find(corpus.languages, code, &TokenizedLanguage::code);
  return static_cast<size_t>(found - corpus.languages.begin());
}

Effect effect_of_series(const Series& series, double value_under_null, const std::string& status) {
  return effect_of(series.front(), {series.begin() + 1, series.end()}, value_under_null, status);
}

}  // namespace

std::span<const CellMetric> cell_metrics() {
  static const std::vector<CellMetric> metrics = make_cell_metrics();
  return metrics;
}

ReferenceLosses::ReferenceLosses(const TokenizedCorpus& corpus, const ScoreTable& table,
                                 std::span<const size_t> configurations,
                                 const SweepOptions& options)
    : log_excess_(configurations.size(), Series(1 + options.draws)),
      degradation_(configurations.size(), Series(1 + options.draws, kNaN)) {
  const std::string& code = options.reference_language;
  rho_status_ = seed_status_ = "DEGENERATE: the loss of " + code +
                               ", or the language's own, is not above 0 in 99 % of the draws";
  const size_t languages = corpus.languages.size();
  place_ = place_of_language(corpus, code);
  const bool is_mean = place_ == languages;
  for (size_t l = is_mean ? 0 : place_; l < (is_mean ? languages : place_ + 1); ++l) {
    const LanguageSums language(corpus, table, l, configurations);
    const auto sample = column_totals(language.sums());
    const BootstrapTotals bootstrap(language.sums(), options.draws,
                                    draw_seed(corpus, options.seed, l));
    for (size_t c = 0; c < configurations.size(); ++c) {
      for (size_t d = 0; d <= options.draws; ++d) {
        const auto totals = language.of(d == 0 ? sample : bootstrap.row(d - 1), c);
        log_excess_[c][d] += log_of_excess(totals) / (is_mean ? static_cast<double>(languages) : 1);
        if (!is_mean) degradation_[c][d] = seed_degradation(totals);
      }
    }
  }
  if (is_mean) seed_status_ = "UNDEFINED: it needs one reference language";
  if (corpus.parallel) return;
  rho_status_ = "UNDEFINED: the corpus is not parallel";
  for (Series& series : log_excess_) std::ranges::fill(series, kNaN);
}

LanguageMetrics::LanguageMetrics(const TokenizedCorpus& corpus, const ScoreTable& table,
                                 size_t language, std::span<const size_t> configurations,
                                 const ReferenceLosses& references, const SweepOptions& options)
    : language_(corpus, table, language, configurations),
      bootstrap_(language_.sums(), options.draws, draw_seed(corpus, options.seed, language)),
      sample_(column_totals(language_.sums())),
      references_(references) {}

std::array<double, kColumns> LanguageMetrics::totals(size_t place) const {
  return language_.of(sample_, place);
}

// `value` takes a configuration's place, its totals, and the number's place in a series.
template <typename Value>
Series LanguageMetrics::change_of(Change change, const Value& value) const {
  Series series;
  for (size_t d = 0; d <= bootstrap_.draws(); ++d) {
    const std::span<const double> row = d == 0 ? std::span(sample_) : bootstrap_.row(d - 1);
    const double to = value(change.to, language_.of(row, change.to), d);
    const bool alone = change.from == kNoConfiguration;
    series.push_back(alone ? to : value(change.from, language_.of(row, change.from), d) - to);
  }
  return series;
}

Effect LanguageMetrics::ratio_effect(RatioMetric metric, Change change) const {
  const Statistic statistic = [&](std::span<const double> row) -> std::optional<double> {
    const auto to = ratio(metric, language_.of(row, change.to));
    if (change.from == kNoConfiguration || !to) return to;
    return *ratio(metric, language_.of(row, change.from)) - *to;
  };
  const Series series = change_of(change, [metric](size_t, const Columns& totals, size_t) {
    return ratio(metric, totals).value_or(kNaN);
  });
  Effect effect = effect_of_series(series, 0, kNothingToDivideBy);
  if (effect.value.estimate && !is_mean(metric)) {
    effect.value.estimate = bca_interval(language_.sums(), bootstrap_, statistic);
    if (!effect.value.estimate) effect.value.status = kNothingToDivideBy;
  }
  return effect;
}

Series LanguageMetrics::seed_disparity_change(Change change) const {
  return change_of(change, [this](size_t place, const Columns& totals, size_t d) {
    const double reference = references_.degradation(place)[d];
    return reference > 0 ? seed_degradation(totals) / reference : kNaN;
  });
}

MetricEffects LanguageMetrics::effects(Change change) const {
  MetricEffects effects;
  for (const RatioMetricInfo& info : ratio_metrics()) {
    effects.push_back(ratio_effect(info.metric, change));
  }
  const auto add = [&](const Series& series, const std::string& status) {
    const bool is_difference = change.from != kNoConfiguration;
    const double under_null = is_difference ? 0 : cell_metrics()[effects.size()].equal;
    effects.push_back(effect_of_series(series, under_null, status));
  };
  const auto log_rho = [this](size_t place, const Columns& totals, size_t d) {
    return log_of_excess(totals) - references_.log_excess(place)[d];
  };
  add(change_of(change, [](size_t, const Columns& totals, size_t) { return excess_ppl(totals); }),
      kNothingToDivideBy);
  add(change_of(change,
                [this](size_t place, const Columns& totals, size_t d) {
                  return (totals[kNll] - totals[kNllReference]) /
                         std::exp(references_.log_excess(place)[d]);
                }),
      references_.rho_status());
  add(change_of(change, log_rho), references_.rho_status());
  add(seed_disparity_change(change), references_.seed_status());
  return effects;
}

MeanSeedDisparity::MeanSeedDisparity(const ReferenceLosses& references, size_t languages)
    : references_(&references), others_(languages - 1) {}

void MeanSeedDisparity::add(size_t language, const LanguageMetrics& metrics, Change change) {
  if (language == references_->place()) return;
  const Series series = metrics.seed_disparity_change(change);
  sum_.resize(series.size());
  for (size_t d = 0; d < sum_.size(); ++d) sum_[d] += series[d] / static_cast<double>(others_);
}

Effect MeanSeedDisparity::effect(double value_under_null) const {
  if (others_ == 0) return {{std::nullopt, "UNDEFINED: there is one language"}};
  return effect_of_series(sum_, value_under_null, references_->seed_status());
}

double reference_perplexity(std::span<const double> totals) {
  return std::exp(totals[kNllReference] / totals[kTokens]);
}

}  // namespace isogloss
