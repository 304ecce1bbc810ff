// Text on its way through a model, and what is done to one half-block at a time.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "isogloss/calibrate/calibrate.h"

namespace isogloss {

// Sequences of one language packed together, with their hidden states.
struct CalibrationBatch {
  size_t language = 0;
  Batch batch;
  HiddenStates hidden;
  HiddenStates last_input;  // of the half-block at hand, where it is known; else no tokens
};

// The whole corpus before the first block, language by language; a batch has at most
// `batch_tokens` tokens, or one sequence.
std::vector<CalibrationBatch> embed_corpus(Engine& engine, const Variant& variant,
                                           const TokenizedCorpus& corpus, size_t batch_tokens);

// Tokens of each language.
std::vector<uint64_t> count_tokens(const TokenizedCorpus& corpus);

// Throws Error(kNotFinite) for the first number that is not finite, naming what reads it.
void check_inputs(const Model& model, size_t tensor, const ProductInput& input);

// The half-block a tensor is part of; nullopt for embeddings, head and what is between.
std::optional<size_t> half_of(const TensorView& tensor);

// One half-block whose tensors are being finished.
struct HalfTask {
  Engine* engine = nullptr;
  const QuantizeRequest* request = nullptr;
  size_t half = 0;
  std::vector<size_t> tensors;                       // of the half, in the order of the model
  std::vector<CalibrationBatch>* batches = nullptr;  // before the half
  Variant variant;                                   // what batches are run with

  const Model& model() const { return *request->model; }
  const Scheme& scheme(size_t tensor) const { return request->assignment->schemes[tensor]; }
};

// The tensors of a half-block that take AWQ, with the norms and biases it changes. Notes are added
// to `notes`.
std::vector<FinishedTensor> awq_half(const HalfTask& task, std::vector<QuantizeNote>& notes);

// Those that take GPTQ, as they are finished: `keep` makes task.variant compute with them. Batches
// may have their last_input afterwards.
using KeepFinished = std::function<void(std::vector<FinishedTensor> finished)>;
void gptq_half(const HalfTask& task, std::vector<QuantizeNote>& notes, const KeepFinished& keep);

// Excess kurtosis of the blocks' matrices, layers weighed by the mean norm of what they write, as
// the two readings of the published study's "effective kurtosis" have it.
double effective_kurtosis(Engine& engine, const QuantizeRequest& request, Clip clip);

}  // namespace isogloss
