// AWQ (Lin et al. 2024, "AWQ: Activation-aware Weight Quantization"): columns that meet large
// inputs are scaled up before rounding, and what makes the inputs scaled down to match.
#pragma once

#include <span>
#include <vector>

#include "isogloss/calibrate/calibrate_impl.h"
#include "isogloss/calibrate/solvers_impl.h"

namespace isogloss {

// A tensor that makes what is multiplied: its numbers (of a norm or bias), or its rows (of a
// matrix), `first` and on, stand for columns 0 and on of what follows.
struct FoldSource {
  size_t tensor = 0;
  size_t first = 0;
};

// Matrices that multiply the same numbers, and what takes the inverse of their columns' scales.
struct Fold {
  std::vector<size_t> targets;
  std::vector<FoldSource> sources;  // empty: nothing can; no scales then
};

// Of the half-block's matrices in AWQ. Notes say where a family leaves no source.
std::vector<Fold> find_folds(const HalfTask& task, std::vector<QuantizeNote>& notes);

// Text that scales are searched on, before the half-block: one batch a language.
struct SearchText {
  std::vector<CalibrationBatch*> batches;
  std::vector<double> weights;        // of the batches; they sum to 1
  std::vector<HiddenStates> outputs;  // of the half-block as it is
};

// Mean absolute inputs and second moments of what a fold's targets multiply, languages by their
// weights.
struct FoldInputs {
  std::vector<double> means;
  Hessian moments;
};

// Scales [cols] of the least mean squared error of the half-block's output, by a grid of powers of
// the mean inputs; all 1 is one of them.
std::vector<float> search_scales(const HalfTask& task, const SearchText& text, const Fold& fold,
                                 const FoldInputs& inputs);

// Bounds the numbers of each row's groups where that lowers the squared error of what they
// contribute. `weights` [rows][cols] are scaled; what they multiply is inputs / scales.
void clip_groups(const Scheme& scheme, const Hessian& moments, std::span<const float> scales,
                 std::span<float> weights, size_t rows);

}  // namespace isogloss
