#include <algorithm>
#include <cmath>
#include <numbers>

#include "isogloss/base/error.h"
#include "isogloss/measure/measure_impl.h"

namespace isogloss {
namespace {

Measured measured(std::optional<Estimate> estimate) {
  if (estimate) return {estimate, ""};
  return {std::nullopt, "UNDEFINED: nothing to divide by"};
}

KlPerToken kl_distribution(const LanguageScores& scores, const Estimate& mean) {
  std::vector<double> values;
  for (const auto& unit : scores.units) {
    for (const auto& score : unit) values.push_back(static_cast<double>(score.kl));
  }
  std::ranges::sort(values);
  return {mean, quantile(values, 0.5), quantile(values, 0.99), quantile(values, 0.999),
          values.back()};
}

LanguageResult summarize_language(const TokenizedLanguage& language, const LanguageScores& scores,
                                  const LanguageSample& sample) {
  const auto measure = [&](RatioMetric metric) {
    const Statistic value = [=](std::span<const double> totals) { return ratio(metric, totals); };
    // A mean over units is no ratio of sums that vary together.
    const bool mean = get_ratio_metric_info(metric).denominator == kUnits;
    return measured(mean ? percentile_interval(sample.sums, sample.bootstrap, value)
                         : bca_interval(sample.sums, sample.bootstrap, value));
  };
  LanguageResult result;
  result.code = language.code;
  result.units = static_cast<size_t>(sample.total(kUnits));
  result.tokens = static_cast<size_t>(sample.total(kTokens));
  result.bytes = static_cast<size_t>(sample.total(kBytes));
  result.nll_reference_per_token = sample.total(kNllReference) / sample.total(kTokens);
  result.nll_per_token = sample.total(kNll) / sample.total(kTokens);
  result.ppl_reference = std::exp(result.nll_reference_per_token);
  result.ppl = std::exp(result.nll_per_token);
  result.excess_nats_per_unit = measure(RatioMetric::kExcessNatsPerUnit);
  result.excess_bits_per_byte = measure(RatioMetric::kExcessBitsPerByte);
  const Measured kl_mean = measure(RatioMetric::kKlPerToken);
  ISOGLOSS_ASSERT(kl_mean.estimate.has_value());  // every language scores tokens
  result.kl_per_token = kl_distribution(scores, *kl_mean.estimate);
  result.kl_per_unit = measure(RatioMetric::kKlPerUnit);
  result.kl_per_byte = measure(RatioMetric::kKlPerByte);
  result.flip_rate = measure(RatioMetric::kFlipRate);
  return result;
}

// A loss that rounding alone produces is no loss.
void apply_noise_floor(RunResult& run, const NoiseFloor& floor) {
  const double least = std::max(floor.kl_per_token_mean, kKlRounding);
  const bool above = std::ranges::any_of(run.languages, [&](const LanguageResult& language) {
    return language.kl_per_token.mean.value > least;
  });
  if (above || run.worst_language.empty()) return;
  run.disparity.measurable = false;
  run.disparity.verdict = "no measurable disparity: no language loses more than the noise floor";
}

}  // namespace

LanguageSample sample_language(const TokenizedLanguage& language, const LanguageScores& scores,
                               const AuditOptions& options, uint64_t seed) {
  UnitSums sums{scores.units.size(), kColumns, {}};
  std::vector<double> totals(kColumns);
  for (size_t u = 0; u < scores.units.size(); ++u) {
    std::vector<double> row(kColumns);
    row[kUnits] = 1;
    row[kTokens] = static_cast<double>(scores.units[u].size());
    row[kBytes] = static_cast<double>(language.sequences[u].bytes);
    for (const TokenScore& score : scores.units[u]) {
      row[kNllReference] += score.nll_reference;
      row[kNll] += score.nll;
      row[kKl] += static_cast<double>(score.kl);
      row[kFlips] += score.flipped ? 1 : 0;
    }
    sums.values.insert(sums.values.end(), row.begin(), row.end());
    for (size_t c = 0; c < kColumns; ++c) totals[c] += row[c];
  }
  BootstrapTotals bootstrap(sums, options.draws, seed);
  return {std::move(sums), std::move(bootstrap), std::move(totals)};
}

RunResult summarize_run(const TokenizedCorpus& corpus, const CorpusScores& scores,
                        const AuditOptions& options, size_t vocab_size) {
  RunResult result;
  RegimeFinder regime(vocab_size);
  std::vector<LanguageSample> samples;
  for (size_t l = 0; l < corpus.languages.size(); ++l) {
    const uint64_t seed = corpus.parallel ? options.seed : options.seed + l;
    samples.push_back(sample_language(corpus.languages[l], scores[l], options, seed));
    result.languages.push_back(summarize_language(corpus.languages[l], scores[l], samples.back()));
    regime.add(samples.back().totals);
  }
  result.regime = regime.regime();
  add_disparity(result, samples, options, corpus.parallel);
  return result;
}

void check_reference_language(const TokenizedCorpus& corpus, const AuditOptions& options) {
  if (options.reference_language == "geomean") return;
  std::vector<std::string> codes;
  for (const auto& language : corpus.languages) codes.push_back(language.code);
  if (std::ranges::find(codes, options.reference_language) != codes.end()) return;
  fail(ErrorCode::kBadArgument,
       "the reference language '{}' is not among the languages measured ({}); choose one of them "
       "with --reference-lang, or geomean",
       options.reference_language, fmt::join(codes, ", "));
}

AuditResult audit(Engine& engine, const Variant& reference, const std::vector<AuditRun>& runs,
                  const TokenizedCorpus& corpus, const AuditOptions& options,
                  const Progress& progress) {
  check_reference_language(corpus, options);
  AuditResult result;
  result.reference_language = options.reference_language;
  result.parallel = corpus.parallel;
  result.seed = options.seed;
  result.draws = options.draws;
  std::vector<Configuration> configurations;
  for (const AuditRun& run : runs) configurations.push_back({run.name, run.variant});
  const ScoringPlan plan = plan_scoring(reference, configurations, options);
  Meter meter(noise_floor_work(reference, corpus) +
                  scoring_work(plan, corpus, all_sequences(corpus), options),
              progress);
  result.noise_floor = measure_noise_floor(engine, reference, corpus, options, meter);
  const auto scores = score_corpus(engine, reference, configurations, corpus, options, meter);
  result.multiply_adds = meter.done();
  for (size_t r = 0; r < runs.size(); ++r) {
    RunResult run = summarize_run(corpus, scores[r], options, reference.model->config().vocab_size);
    apply_noise_floor(run, result.noise_floor);
    run.name = runs[r].name;
    run.scheme = runs[r].scheme;
    run.protect = runs[r].protect;
    const ModelSize size = assigned_size(*runs[r].variant.model, *runs[r].variant.assignment);
    run.size_bytes = size.size_bytes;
    run.bits_per_weight = size.bits_per_weight;
    for (const Fallback& fallback : runs[r].variant.assignment->fallbacks) {
      run.fallbacks.push_back(fmt::format("{}: {} -> {}",
                                          runs[r].variant.model->tensors()[fallback.tensor].name,
                                          to_string(fallback.wanted), to_string(fallback.used)));
    }
    result.runs.push_back(std::move(run));
  }
  return result;
}

}  // namespace isogloss
