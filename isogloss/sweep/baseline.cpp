// What the quantized model loses, before anything is restored.
#include <algorithm>

#include "isogloss/sweep/cell_metrics_impl.h"

namespace isogloss {
namespace {

void add_disparity(const TokenizedCorpus& corpus, const ScoreTable& table, size_t quantized,
                   const SweepOptions& options, Baseline& baseline) {
  LossStream stream(corpus, table, std::span(&quantized, 1), options.seed);
  std::vector<double> gaps, ginis;
  stream.next(options.draws, [&](std::span<const double> losses) {
    gaps.push_back(gap_of(losses));
    ginis.push_back(gini(losses));
  });
  baseline.gap = measured_of(gap_of(stream.sample()), std::move(gaps));
  baseline.gini = measured_of(gini(stream.sample()), std::move(ginis));
}

}  // namespace

Baseline analyse_baseline(const TokenizedCorpus& corpus, const ScoreTable& table, size_t quantized,
                          size_t vocab_size, const SweepOptions& options) {
  Baseline baseline;
  RegimeFinder regime(vocab_size);
  const auto loss = static_cast<size_t>(loss_metric(corpus.parallel));
  const std::span configurations(&quantized, 1);
  const ReferenceLosses references(corpus, table, configurations, options);
  MeanSeedDisparity disparity(references, corpus.languages.size());
  double most = 0;
  for (size_t l = 0; l < corpus.languages.size(); ++l) {
    const LanguageMetrics language(corpus, table, l, configurations, references, options);
    regime.add(language.totals(0));
    auto& metrics = baseline.languages.emplace_back();
    for (const Effect& effect : language.effects({kNoConfiguration, 0})) {
      metrics.push_back(effect.value);
    }
    disparity.add(l, language, {kNoConfiguration, 0});
    baseline.ppl_reference.push_back(reference_perplexity(language.totals(0)));
    if (!table.kl_per_token.empty()) {
      baseline.kl_quantiles.push_back(table.kl_per_token[quantized][l].quantiles());
    }
    const Measured& own = metrics[loss];
    if (own.estimate && own.estimate->value > most) {
      most = own.estimate->value;
      baseline.worst_language = corpus.languages[l].code;
    }
  }
  baseline.regime = regime.regime();
  baseline.seed_disparity = disparity.effect(1).value;
  add_disparity(corpus, table, quantized, options, baseline);
  return baseline;
}

}  // namespace isogloss
