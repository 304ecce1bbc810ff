// The steps of an audit: hidden states to token scores, token scores to numbers with intervals.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "isogloss/measure/measure.h"
#include "isogloss/measure/statistics_impl.h"

namespace isogloss {

// What one position says about one run.
struct TokenScore {
  double nll_reference = 0;
  double nll = 0;
  float kl = 0;  // KL(reference || run), at least 0
  bool flipped = false;
};

// A row of logits with what every comparison needs of it.
struct LogitRow {
  std::span<const float> logits;
  float most = 0;
  size_t argmax = 0;
  double log_sum = 0;  // of exponentials, so that log p = logit - log_sum
};
LogitRow summarize_logits(std::span<const float> logits);

// Compares one position; `target` is the token that follows. NaN in, NaN out.
TokenScore compare_logits(const LogitRow& reference, std::span<const float> logits, int32_t target);

// Scores of one language for one run.
struct LanguageScores {
  std::vector<std::vector<TokenScore>> units;  // [sequence][scored position]
};
using CorpusScores = std::vector<LanguageScores>;  // by language

// Scores every run against the reference. Result: [run][language].
std::vector<CorpusScores> score_corpus(Engine& engine, const Variant& reference,
                                       const std::vector<AuditRun>& runs,
                                       const TokenizedCorpus& corpus, const AuditOptions& options,
                                       const Progress& progress);

// The reference scored against itself in two packings, on a sample of the corpus.
NoiseFloor measure_noise_floor(Engine& engine, const Variant& reference,
                               const TokenizedCorpus& corpus, const AuditOptions& options);

// What a unit contributes to each sum over units.
enum Column : size_t { kUnits, kTokens, kBytes, kNllReference, kNll, kKl, kFlips, kColumns };

// The sums of one language with their bootstrap. Languages of a parallel corpus draw the same
// units.
struct LanguageSample {
  UnitSums sums;
  BootstrapTotals bootstrap;
  std::vector<double> totals;  // of the sample itself

  double total(Column column) const { return totals[column]; }
};
LanguageSample sample_language(const TokenizedLanguage& language, const LanguageScores& scores,
                               const AuditOptions& options, uint64_t seed);

// Statistics of one run.
RunResult summarize_run(const TokenizedCorpus& corpus, const CorpusScores& scores,
                        const AuditOptions& options, size_t vocab_size);

// Fills in what compares languages: rho, ln_rho, seed_disparity of each, the worst language, and
// result.disparity.
void add_disparity(RunResult& result, const std::vector<LanguageSample>& samples,
                   const AuditOptions& options, bool parallel);

}  // namespace isogloss
