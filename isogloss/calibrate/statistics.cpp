// Sums of what matrices multiply, by language.
#include "isogloss/base/error.h"
#include "isogloss/calibrate/calibrate_impl.h"

namespace isogloss {
namespace {

void add_rows(const ProductInput& input, InputSums& sums) {
  const size_t tokens = input.rows.size() / input.cols;
  sums.tokens += tokens;
  sums.squares.resize(input.cols);
  sums.absolutes.resize(input.cols);
  for (size_t token = 0; token < tokens; ++token) {
    const float* row = input.rows.data() + token * input.cols;
    for (size_t i = 0; i < input.cols; ++i) {
      const double x = row[i];
      sums.squares[i] += x * x;
      sums.absolutes[i] += std::abs(x);
    }
  }
}

}  // namespace

ActivationStatistics collect_statistics(Engine& engine, const Variant& variant,
                                        const TokenizedCorpus& corpus,
                                        const CalibrationOptions& options,
                                        const Progress& progress) {
  const Model& model = *variant.model;
  ActivationStatistics statistics;
  auto batches = embed_corpus(engine, variant, corpus, options.batch_tokens);
  const size_t halves = Engine::halves(model);
  for (size_t half = 0; half < halves; ++half) {
    for (size_t b = 0; b < batches.size(); ++b) {
      CalibrationBatch& batch = batches[b];
      const auto add = [&](const ProductInput& input) {
        const auto tensor = model.find_tensor(input.role, half / 2);
        ISOGLOSS_ASSERT(tensor.has_value());
        check_inputs(model, *tensor, input);
        auto& by_language = statistics[*tensor];
        by_language.resize(corpus.languages.size());
        add_rows(input, by_language[batch.language]);
      };
      engine.run_half(variant, half, batch.batch, batch.hidden, add);
      if (progress) {
        progress("calibration text", static_cast<double>(half * batches.size() + b + 1) /
                                         static_cast<double>(halves * batches.size()));
      }
    }
  }
  return statistics;
}

Imatrix make_imatrix(const Model& model, const ActivationStatistics& statistics,
                     const TokenizedCorpus& corpus, const std::vector<double>& weights) {
  ISOGLOSS_ASSERT(weights.size() == corpus.languages.size());
  Imatrix result;
  uint64_t tokens = 0;
  size_t longest = 0;
  for (const TokenizedLanguage& language : corpus.languages) {
    result.datasets.push_back(corpus.name + ":" + language.code);
    for (const Sequence& sequence : language.sequences) {
      tokens += sequence.tokens.size();
      longest = std::max(longest, sequence.tokens.size());
      ++result.chunk_count;
    }
  }
  result.chunk_size = static_cast<uint32_t>(longest);
  for (const auto& [tensor, by_language] : statistics) {
    const size_t cols = model.tensors()[tensor].cols;
    std::vector<double> means(cols);
    for (size_t l = 0; l < by_language.size(); ++l) {
      if (weights[l] == 0 || by_language[l].tokens == 0) continue;
      const double scale = weights[l] / static_cast<double>(by_language[l].tokens);
      for (size_t i = 0; i < cols; ++i) means[i] += scale * by_language[l].squares[i];
    }
    // As many tokens as were read, so that files merge by what they have seen.
    ImatrixEntry entry{.squares = {}, .counts = {static_cast<float>(tokens)}};
    for (const double mean : means) {
      entry.squares.push_back(static_cast<float>(mean * static_cast<double>(tokens)));
    }
    result.entries.emplace(model.tensors()[tensor].name, std::move(entry));
  }
  return result;
}

}  // namespace isogloss
