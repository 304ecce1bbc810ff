// AWQ over one half-block.
#include <ggml.h>

#include <algorithm>
#include <cmath>

#include "isogloss/base/error.h"
#include "isogloss/calibrate/awq_impl.h"

namespace isogloss {
namespace {

// The first batch of each language that weighs.
SearchText search_text(const HalfTask& task) {
  const Calibration& calibration = *task.request->calibration;
  SearchText text;
  for (CalibrationBatch& batch : *task.batches) {
    const bool first = text.batches.empty() || text.batches.back()->language != batch.language;
    if (!first || calibration.weights[batch.language] == 0) continue;
    text.batches.push_back(&batch);
    text.weights.push_back(calibration.weights[batch.language]);
  }
  for (const CalibrationBatch* batch : text.batches) {
    text.outputs.push_back(batch->hidden);
    task.engine->run_half(task.variant, task.half, batch->batch, text.outputs.back());
  }
  return text;
}

// By each fold's first target.
std::map<size_t, FoldInputs> collect_inputs(const HalfTask& task, const SearchText& text,
                                            const std::vector<Fold>& folds) {
  std::map<size_t, FoldInputs> inputs;
  for (size_t b = 0; b < text.batches.size(); ++b) {
    const auto add = [&](const ProductInput& input) {
      const auto tensor = task.model().find_tensor(input.role, task.half / 2);
      ISOGLOSS_ASSERT(tensor.has_value());
      const bool wanted = std::ranges::any_of(
          folds, [&](const Fold& fold) { return fold.targets.front() == *tensor; });
      if (!wanted) return;
      check_inputs(task.model(), *tensor, input);
      auto& sums = inputs.try_emplace(*tensor, FoldInputs{{}, Hessian(input.cols)}).first->second;
      sums.means.resize(input.cols);
      const double share = text.weights[b] * static_cast<double>(input.cols) /
                           static_cast<double>(input.rows.size());
      for (size_t i = 0; i < input.rows.size(); ++i) {
        sums.means[i % input.cols] += share * std::abs(static_cast<double>(input.rows[i]));
      }
      sums.moments.add(input.rows, share);
    };
    task.engine->observe_half(task.variant, task.half, text.batches[b]->batch,
                              text.batches[b]->hidden, add);
  }
  return inputs;
}

// The nearest number that the tensor's file can hold, in the type it has there.
float round_as_stored(const TensorView& view, float number) {
  const float stored = number - view.offset;
  if (view.type == TensorType::kBf16) {
    return ggml_bf16_to_fp32(ggml_fp32_to_bf16(stored)) + view.offset;
  }
  if (view.type == TensorType::kF16) {
    return ggml_fp16_to_fp32(ggml_fp32_to_fp16(stored)) + view.offset;
  }
  return number;
}

// The half-block's tensors while scales are folded into them.
class Folding {
 public:
  explicit Folding(const HalfTask& task) : task_(task) {}

  // Divides what makes the inputs of a fold. Scales become what they are exactly once a norm's
  // numbers are rounded to the type they are stored in.
  void divide(const Fold& fold, std::vector<float>& scales) {
    for (const FoldSource& source : fold.sources) {
      const TensorView& view = task_.model().tensors()[source.tensor];
      auto& numbers = of(source.tensor);
      const TensorKind kind = get_role_info(view.role).kind;
      const size_t size = kind == TensorKind::kMatrix ? view.cols : 1;
      for (size_t i = 0; i < scales.size(); ++i) {
        const std::span<float> part(&numbers[(source.first + i) * size], size);
        if (kind == TensorKind::kNorm) fit_scale(view, part.front(), scales[i]);
        for (float& number : part) number /= scales[i];
      }
      if (kind == TensorKind::kMatrix) continue;
      for (float& number : numbers) number = round_as_stored(view, number);
    }
  }
  void multiply(size_t tensor, std::span<const float> scales) {
    auto& numbers = of(tensor);
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] *= scales[i % scales.size()];
  }

  std::vector<float>& of(size_t tensor) {
    const auto [place, is_new] = numbers_.try_emplace(tensor);
    if (is_new) {
      const TensorView& view = task_.model().tensors()[tensor];
      place->second.resize(view.count());
      decode(view, place->second);
    }
    return place->second;
  }
  std::map<size_t, std::vector<float>>& all() { return numbers_; }

 private:
  static void fit_scale(const TensorView& view, float number, float& scale) {
    const float rounded = round_as_stored(view, number / scale);
    scale = number == 0 || rounded == 0 ? 1 : number / rounded;
  }

  const HalfTask& task_;
  std::map<size_t, std::vector<float>> numbers_;
};

// Queries and keys are not clipped: their products are more easily upset (as in llm-awq).
bool is_clipped(Role role) {
  return role != Role::kQuery && role != Role::kKey && role != Role::kQkv;
}

}  // namespace

std::vector<FinishedTensor> awq_half(const HalfTask& task, std::vector<QuantizeNote>& notes) {
  const auto folds = find_folds(task, notes);
  const SearchText text = search_text(task);
  const auto inputs = collect_inputs(task, text, folds);
  Folding folding(task);
  std::map<size_t, std::vector<float>> scales;  // by each fold's first target
  for (const Fold& fold : folds) {
    const FoldInputs& input = inputs.at(fold.targets.front());
    auto& found = scales[fold.targets.front()];
    found.assign(input.means.size(), 1);
    if (!fold.sources.empty()) found = search_scales(task, text, fold, input);
    folding.divide(fold, found);
  }
  for (const Fold& fold : folds) {
    const auto& found = scales.at(fold.targets.front());
    for (const size_t tensor : fold.targets) {
      const TensorView& view = task.model().tensors()[tensor];
      folding.multiply(tensor, found);
      if (!is_clipped(view.role)) continue;
      clip_groups(task.scheme(tensor), inputs.at(fold.targets.front()).moments, found,
                  folding.of(tensor), view.rows);
    }
  }
  std::vector<FinishedTensor> finished;
  for (auto& [tensor, numbers] : folding.all()) {
    const TensorView& view = task.model().tensors()[tensor];
    if (get_role_info(view.role).kind != TensorKind::kMatrix) {
      finished.push_back({tensor, std::nullopt, std::move(numbers)});
      continue;
    }
    Scheme nearest = task.scheme(tensor);
    nearest.method = Method::kRtn;
    EncodedMatrix matrix = encode(nearest, numbers, view.rows, view.cols);
    matrix.scheme = task.scheme(tensor);
    finished.push_back({tensor, std::move(matrix), {}});
  }
  return finished;
}

}  // namespace isogloss
