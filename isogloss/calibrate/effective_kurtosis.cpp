// The published study's "effective kurtosis" of a model: its layers weighed by what they write.
#include <cmath>

#include "isogloss/base/error.h"
#include "isogloss/calibrate/calibrate_impl.h"
#include "isogloss/quantize/kurtosis.h"

namespace isogloss {
namespace {

// Of the matrices of one layer taken together, as if they were one list of numbers.
MixturePart layer_part(const Model& model, size_t layer) {
  std::vector<float> all;
  for (const TensorView& tensor : model.tensors()) {
    if (tensor.layer != layer || get_role_info(tensor.role).kind != TensorKind::kMatrix) continue;
    const size_t start = all.size();
    all.resize(start + tensor.count());
    decode(tensor, std::span(all).subspan(start));
  }
  const NumberMoments moments = number_moments(all);
  return {0, moments.mean, moments.variance, moments.kurtosis};
}

// Mean norm of the hidden states of a batch.
double mean_norm(const HiddenStates& hidden) {
  double sum = 0;
  for (size_t token = 0; token < hidden.tokens(); ++token) {
    double squares = 0;
    for (const float x : hidden.row(token)) squares += static_cast<double>(x) * x;
    sum += std::sqrt(squares);
  }
  return sum / static_cast<double>(hidden.tokens());
}

}  // namespace

double effective_kurtosis(Engine& engine, const QuantizeRequest& request, Clip clip) {
  ISOGLOSS_ASSERT(clip == Clip::kLaAciqMean || clip == Clip::kLaAciqMixture);
  const Model& model = *request.model;
  const Assignment stored = unchanged(model);
  const Variant variant{&model, &stored};
  const Calibration& calibration = *request.calibration;
  const auto tokens = count_tokens(*calibration.corpus);
  auto batches =
      embed_corpus(engine, variant, *calibration.corpus, CalibrationOptions{}.batch_tokens);
  std::vector<MixturePart> layers;
  for (size_t layer = 0; layer < model.config().layers; ++layer) {
    MixturePart& part = layers.emplace_back(layer_part(model, layer));
    for (CalibrationBatch& batch : batches) {
      engine.run_half(variant, 2 * layer, batch.batch, batch.hidden);
      engine.run_half(variant, 2 * layer + 1, batch.batch, batch.hidden);
      const double share =
          static_cast<double>(batch.batch.size()) / static_cast<double>(tokens[batch.language]);
      part.weight += calibration.weights[batch.language] * share * mean_norm(batch.hidden);
    }
  }
  return clip == Clip::kLaAciqMean ? mean_kurtosis(layers) : mixture_kurtosis(layers);
}

}  // namespace isogloss
