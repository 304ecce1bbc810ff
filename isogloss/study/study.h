// Study: what a model's weights look like, by layer and by tensor; and the same as the published
// study took it, so that its numbers can be checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "isogloss/base/progress.h"
#include "isogloss/model/model.h"

namespace isogloss {

// How the numbers of a group are summed up. kSound: moments of a population; a weight is sparse
// where it is exactly 0. kSeed: the standard deviation of a sample (n - 1 in the denominator) under
// population sums; a weight is sparse where |w| < 0.01.
enum class StatisticsWay { kSound, kSeed };

// What is wide of the middle: a number beyond so many standard deviations from 0 (not from the
// mean) is an outlier.
inline constexpr double kOutlierDeviations = 3;

// Below this a weight is near zero to the published study.
inline constexpr float kSeedNearZero = 0.01F;

// Statistics of a set of weights w, all without unit but mean, sd and max_abs, which have w's.
struct WeightStatistics {
  uint64_t count = 0;
  double mean = 0;
  double sd = 0;        // standard deviation, as the way says; 0 for a single number
  double max_abs = 0;   // largest |w|
  double sparsity = 0;  // share of weights that are (nearly, as the way says) 0

  // Relative to the standard deviation; there is none where that is 0.
  struct Shape {
    double skewness = 0;         // mean((w - mean)^3) / sd^3
    double excess_kurtosis = 0;  // mean((w - mean)^4) / sd^4 - 3; 0 for a normal distribution
    double outlier_ratio = 0;    // share of weights with |w| > 3 sd
    double max_over_sd = 0;      // max_abs / sd
  };
  std::optional<Shape> shape;
  std::string status;  // why there is no shape: "CONSTANT: ..."; else ""
};

// Tensors whose numbers are taken together.
struct WeightGroup {
  std::string name;                // a unit of select_tensors ("L3", "blk.3.ffn_down"), or "L0-11"
  std::optional<TensorKind> kind;  // of all its tensors; absent where kinds are mixed
  size_t layer = kNoLayer;
  std::vector<size_t> tensors;  // of model.tensors(), ascending
  StatisticsWay way = StatisticsWay::kSound;
  WeightStatistics statistics{};
};

struct WeightStudyOptions {
  bool by_layer = true;
  bool by_tensor = false;
  bool seed_way = false;
};

// What was asked for; the rest is empty.
struct WeightStudy {
  // Matrices, embeddings, norms, biases, in this order. Of each kind a group a layer; for matrices
  // one of all layers, where there are several; then each tensor outside of the layers alone.
  std::vector<WeightGroup> layers;
  // Each tensor alone, in the model's order.
  std::vector<WeightGroup> tensors;
  // A group a layer, of every tensor of it whose Hugging Face name contains "weight": matrices and
  // norms together. StatisticsWay::kSeed.
  std::vector<WeightGroup> seed;
};

// Reads every weight that is asked about twice, in pieces of some 64 KB a thread. Weights are as
// decode() gives them: quantized ones as they are computed with, and Gemma's norms with the 1 that
// its directories leave out. Sums are in double: about the mean in each piece, pieces merged by the
// formulas of Pebay 2008 ("Formulas for robust, one-pass parallel computation of covariances and
// arbitrary-order statistical moments", SAND2008-6212) in the order in which they lie, so that the
// result does not depend on the number of threads. Throws Error(kNotFinite) as decode() does.
WeightStudy study_weights(const Model& model, const WeightStudyOptions& options,
                          const Progress& progress = {});

}  // namespace isogloss
