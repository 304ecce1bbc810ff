#include <algorithm>
#include <cmath>
#include <numbers>

#include "isogloss/base/error.h"
#include "isogloss/measure/measure_impl.h"

namespace isogloss {
namespace {

// Shares of ln|V| and of flipped tokens at which a model counts as broken; science of the two
// regimes: arXiv 2604.19884 ("signal degradation" and "computation collapse").
constexpr double kCollapsedShare = 0.9;
constexpr double kDegradedFlips = 0.5;

Statistic ratio(Column numerator, Column denominator, double scale = 1) {
  return [=](std::span<const double> totals) -> std::optional<double> {
    if (totals[denominator] <= 0) return std::nullopt;
    return scale * totals[numerator] / totals[denominator];
  };
}

Statistic excess(Column denominator, double scale = 1) {
  return [=](std::span<const double> totals) -> std::optional<double> {
    if (totals[denominator] <= 0) return std::nullopt;
    return scale * (totals[kNll] - totals[kNllReference]) / totals[denominator];
  };
}

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
  const auto mean = [&](const Statistic& statistic) {
    return measured(percentile_interval(sample.sums, sample.bootstrap, statistic));
  };
  const auto ratio_of = [&](const Statistic& statistic) {
    return measured(bca_interval(sample.sums, sample.bootstrap, statistic));
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
  result.excess_nats_per_unit = mean(excess(kUnits));
  result.excess_bits_per_byte = ratio_of(excess(kBytes, std::numbers::log2e));
  const Measured kl_mean = ratio_of(ratio(kKl, kTokens));
  ISOGLOSS_ASSERT(kl_mean.estimate.has_value());  // every language scores tokens
  result.kl_per_token = kl_distribution(scores, *kl_mean.estimate);
  result.kl_per_unit = mean(ratio(kKl, kUnits));
  result.kl_per_byte = ratio_of(ratio(kKl, kBytes));
  result.flip_rate = ratio_of(ratio(kFlips, kTokens));
  return result;
}

Regime find_regime(const std::vector<LanguageResult>& languages, size_t vocab_size) {
  const double collapsed = kCollapsedShare * std::log(static_cast<double>(vocab_size));
  Regime regime = Regime::kNormal;
  for (const auto& language : languages) {
    if (language.nll_per_token >= collapsed) return Regime::kCollapsed;
    if (language.flip_rate.estimate->value > kDegradedFlips) regime = Regime::kDegraded;
  }
  return regime;
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

// What the arithmetic of a KL divergence over F32 logits can be wrong by, in nats (tested).
constexpr double kKlRounding = 5e-7;

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
  std::vector<LanguageSample> samples;
  for (size_t l = 0; l < corpus.languages.size(); ++l) {
    const uint64_t seed = corpus.parallel ? options.seed : options.seed + l;
    samples.push_back(sample_language(corpus.languages[l], scores[l], options, seed));
    result.languages.push_back(summarize_language(corpus.languages[l], scores[l], samples.back()));
  }
  result.regime = find_regime(result.languages, vocab_size);
  add_disparity(result, samples, options, corpus.parallel);
  return result;
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
  Meter meter(audit_work(reference, runs, corpus, options), progress);
  result.noise_floor = measure_noise_floor(engine, reference, corpus, options, meter);
  const auto scores = score_corpus(engine, reference, runs, corpus, options, meter);
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
