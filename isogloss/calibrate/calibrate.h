// Calibrate: what the matrices of a model multiply when it reads text in each language, and codes
// chosen by it.
//
// Statistics are kept by language and combined by weights, so that no language decides by the
// length of its text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "isogloss/base/progress.h"
#include "isogloss/calibrate/imatrix.h"
#include "isogloss/forward/forward.h"
#include "isogloss/tokens/tokens.h"

namespace isogloss {

// How languages weigh: as their tokens are many, all the same, or as given.
enum class Weighting { kTokens, kEqual, kGiven };

// A weight for each language of the corpus, in its order; they sum to 1. `given` is by code, any
// positive scale; languages that it leaves out weigh nothing. Throws Error(kBadArgument) for a
// language the corpus lacks, for a weight that is negative or not finite, or if nothing weighs.
std::vector<double> language_weights(const TokenizedCorpus& corpus, Weighting weighting,
                                     const std::map<std::string, double>& given = {});

// Weights after one round of group DRO: each times e^(step * (its loss / the mean loss - 1)), and
// scaled to sum to 1; `weights` where no language loses anything.
std::vector<double> follow_losses(const std::vector<double>& weights,
                                  const std::vector<double>& losses, double step);

// What the columns of one matrix multiply, summed over the tokens of a language.
struct InputSums {
  uint64_t tokens = 0;
  std::vector<double> squares;    // [cols]
  std::vector<double> absolutes;  // [cols]
};

// Of every matrix that multiplies, by its index in the model, then by language in the corpus's
// order. The head and embeddings are not among them.
using ActivationStatistics = std::map<size_t, std::vector<InputSums>>;

struct CalibrationOptions {
  size_t batch_tokens = 2048;  // packed together
};

// Reads the whole corpus. Throws Error(kNotFinite) that names the tensor where what it multiplies
// is not finite.
ActivationStatistics collect_statistics(Engine& engine, const Variant& variant,
                                        const TokenizedCorpus& corpus,
                                        const CalibrationOptions& options,
                                        const Progress& progress);

// Mean squares by matrix, languages combined by their weights.
Imatrix make_imatrix(const Model& model, const ActivationStatistics& statistics,
                     const TokenizedCorpus& corpus, const std::vector<double>& weights);

// Text to calibrate on. Does not own.
struct Calibration {
  const TokenizedCorpus* corpus = nullptr;
  std::vector<double> weights;  // of its languages
  double damping = 0.01;        // GPTQ: share of the mean of the Hessian's diagonal added to it
  bool act_order = false;       // GPTQ: columns by falling diagonal; groups stay where they are
  bool allow_short = false;     // GPTQ: go on with fewer tokens than a matrix has columns
  size_t search_tokens = 4096;  // AWQ: tokens that scales are searched on, shared by the languages
};

struct QuantizeRequest {
  const Model* model = nullptr;
  const Assignment* assignment = nullptr;
  const Imatrix* imatrix = nullptr;          // for ggml types; may be null
  const Calibration* calibration = nullptr;  // for schemes that need it
};

// What happened to one tensor that a user should know: damping that had to be raised, columns that
// nothing multiplies, a fold that a family does not allow.
struct QuantizeNote {
  size_t tensor = 0;
  std::string text;
};

// Finishes every tensor of the model, in its order, each given to `sink` once; one half-block is in
// memory at a time, or one tensor where no scheme needs calibration. `engine` may be null then.
// Same request, same bytes (with the same number of threads, where it is calibrated).
// Throws Error: kBadArgument for a scheme that needs an importance matrix or calibration text and
// has none, or too little text for a Hessian (unless allow_short); kMismatch for an importance
// matrix of another model; kUnsupported for a tensor outside of the blocks that would need text;
// kNotFinite for weights or activations that are not finite.
std::vector<QuantizeNote> quantize_model(Engine* engine, const QuantizeRequest& request,
                                         const std::function<void(FinishedTensor&&)>& sink,
                                         const Progress& progress);

}  // namespace isogloss
