// The steps of an audit: hidden states to token scores, token scores to numbers with intervals.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "isogloss/measure/measure.h"
#include "isogloss/measure/statistics.h"

namespace isogloss {

// Sums over a row of logits. With p and q the distributions of the reference and of a run, a and b
// their logits, and w = e^(a - most a):
//   KL(p || q) = sum p (log p - log q) = (sum w a - sum w b) / sum w - log sum e^a + log sum e^b.
struct LogitSums {
  float most = 0;     // the largest logit
  float target = 0;   // the logit of the token that follows
  size_t argmax = 0;  // the first place of the largest
  double sum = 0;     // of e^(logit - most)
  double cross = 0;   // of w times logit
};

struct ReferenceSums : LogitSums {
  double rescale = 0;  // what the last slice multiplied the sums of w over earlier ones by
};

// Each adds the logits of tokens first .. first + logits.size() to the sums of one row; slices come
// in order from 0. The reference's come first, and leave w in `weights`; those of a run are
// overwritten. NaN in, NaN out.
void add_reference_logits(ReferenceSums& reference, std::span<const float> logits, size_t first,
                          size_t target, std::span<float> weights);
void add_logits(LogitSums& sums, const ReferenceSums& reference, std::span<const float> weights,
                std::span<float> logits, size_t first, size_t target);

// What the whole rows say.
TokenScore compare(const ReferenceSums& reference, const LogitSums& sums);

// Scores of one language for one run.
struct LanguageScores {
  std::vector<std::vector<TokenScore>> units;  // [sequence][scored position]
};
using CorpusScores = std::vector<LanguageScores>;  // by language

// Scores every run against the reference. Result: [run][language].
std::vector<CorpusScores> score_corpus(Engine& engine, const Variant& reference,
                                       std::span<const Configuration> runs,
                                       const TokenizedCorpus& corpus, const ScoringOptions& options,
                                       Meter& meter);

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
