// Calibration text as batches, and what languages weigh.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "isogloss/base/error.h"
#include "isogloss/base/suggest.h"
#include "isogloss/base/vector_math.h"
#include "isogloss/calibrate/calibrate_impl.h"

namespace isogloss {
namespace {

std::vector<double> given_weights(const TokenizedCorpus& corpus,
                                  const std::map<std::string, double>& given) {
  std::vector<std::string> codes;
  for (const TokenizedLanguage& language : corpus.languages) codes.push_back(language.code);
  for (const auto& [code, weight] : given) {
    if (std::ranges::find(codes, code) == codes.end()) {
      fail(ErrorCode::kBadArgument, "calibration weight of '{}': {} has no such language{}", code,
           corpus.name, did_you_mean(code, codes));
    }
    if (!(weight >= 0) || !std::isfinite(weight)) {
      fail(ErrorCode::kBadArgument, "calibration weight of '{}' is {}; expected a number from 0 on",
           code, weight);
    }
  }
  std::vector<double> weights;
  for (const std::string& code : codes) {
    const auto found = given.find(code);
    weights.push_back(found == given.end() ? 0 : found->second);
  }
  return weights;
}

}  // namespace

std::vector<uint64_t> count_tokens(const TokenizedCorpus& corpus) {
  std::vector<uint64_t> counts;
  for (const TokenizedLanguage& language : corpus.languages) {
    uint64_t count = 0;
    for (const Sequence& sequence : language.sequences) count += sequence.tokens.size();
    counts.push_back(count);
  }
  return counts;
}

std::vector<double> language_weights(const TokenizedCorpus& corpus, Weighting weighting,
                                     const std::map<std::string, double>& given) {
  std::vector<double> weights(corpus.languages.size(), 1);
  if (weighting == Weighting::kTokens) {
    const auto counts = count_tokens(corpus);
    weights.assign(counts.begin(), counts.end());
  } else if (weighting == Weighting::kGiven) {
    weights = given_weights(corpus, given);
  }
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (!(sum > 0) || !std::isfinite(sum)) {
    fail(ErrorCode::kBadArgument, "calibration weights sum to {}; at least one must be positive",
         sum);
  }
  for (double& weight : weights) weight /= sum;
  return weights;
}

std::vector<CalibrationBatch> embed_corpus(Engine& engine, const Variant& variant,
                                           const TokenizedCorpus& corpus, size_t batch_tokens) {
  std::vector<CalibrationBatch> batches;
  for (size_t l = 0; l < corpus.languages.size(); ++l) {
    bool full = true;
    for (const Sequence& sequence : corpus.languages[l].sequences) {
      full = full || batches.back().batch.size() + sequence.tokens.size() > batch_tokens;
      if (full) batches.push_back({.language = l, .batch = {}, .hidden = {}});
      full = false;
      batches.back().batch.append(sequence.tokens);
    }
  }
  for (CalibrationBatch& batch : batches) batch.hidden = engine.embed(variant, batch.batch);
  return batches;
}

void check_inputs(const Model& model, size_t tensor, const ProductInput& input) {
  if (input.rows.empty() || std::isfinite(vector_max_abs(input.rows))) return;
  const auto bad = std::ranges::find_if_not(input.rows, [](float x) { return std::isfinite(x); });
  const auto place = static_cast<size_t>(bad - input.rows.begin());
  fail(ErrorCode::kNotFinite,
       "{}: what '{}' multiplies holds {} at token {} of a batch, column {}; the model is damaged, "
       "or its numbers leave the range of the compute type",
       model.path().string(), model.tensors()[tensor].name, *bad, place / input.cols,
       place % input.cols);
}

}  // namespace isogloss
