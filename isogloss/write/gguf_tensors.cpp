// Tensors as llama.cpp's converter writes them.
#include <algorithm>

#include "isogloss/base/error.h"
#include "isogloss/write/gguf_impl.h"

namespace isogloss {
namespace {

// Rows of each head from two halves to neighbours: the first of one half, the first of the other
// ...
std::vector<float> halves_to_neighbours(const std::vector<float>& rows, size_t head_dim,
                                        size_t cols) {
  std::vector<float> result(rows.size());
  const size_t half = head_dim / 2;
  for (size_t row = 0; row < rows.size() / cols; ++row) {
    const size_t place = row % head_dim;
    const size_t from = row - place + place % 2 * half + place / 2;
    std::copy_n(&rows[from * cols], cols, &result[row * cols]);
  }
  return result;
}

bool rotates(Role role) {
  return role == Role::kQuery || role == Role::kQueryBias || role == Role::kKey ||
         role == Role::kKeyBias;
}

GgufTensor converted(const Model& model, const TensorView& view, TensorType type) {
  const RoleInfo& role = get_role_info(view.role);
  const ModelConfig& config = model.config();
  const bool keeps_f32 = role.kind == TensorKind::kNorm || role.kind == TensorKind::kBias ||
                         view.role == Role::kPositionEmbedding;
  const bool per_head =
      config.norm_per_head && (view.role == Role::kQueryNorm || view.role == Role::kKeyNorm);
  GgufTensor tensor;
  tensor.name = view.name;
  if (view.rows != 1 || per_head) tensor.shape.push_back(view.rows);
  tensor.shape.push_back(view.cols);
  tensor.type = keeps_f32 ? TensorType::kF32 : type;
  const bool permuted = rotates(view.role) && config.rope.pairs == RopePairs::kHalves &&
                        get_family_info(config.family).gguf_neighbours;
  const size_t cols = role.kind == TensorKind::kBias ? 1 : view.cols;
  tensor.numbers = [&view, permuted, cols, head_dim = config.head_dim] {
    std::vector<float> numbers(view.count());
    decode(view, numbers);
    return permuted ? halves_to_neighbours(numbers, head_dim, cols) : numbers;
  };
  return tensor;
}

GgufTensor list_of(const char* name, const std::vector<float>& numbers) {
  return {name, {numbers.size()}, TensorType::kF32, [&numbers] { return numbers; }};
}

}  // namespace

std::vector<GgufTensor> gguf_tensors(const Model& model, TensorType type) {
  std::vector<GgufTensor> tensors;
  const RopeConfig& rope = model.config().rope;
  if (rope.scaling == RopeScaling::kFactors) {
    tensors.push_back(list_of("rope_freqs.weight", rope.factors));
  }
  if (rope.scaling == RopeScaling::kLongRope) {
    tensors.push_back(list_of("rope_factors_long.weight", rope.long_factors));
    tensors.push_back(list_of("rope_factors_short.weight", rope.factors));
  }
  for (const TensorView& view : model.tensors()) tensors.push_back(converted(model, view, type));
  return tensors;
}

}  // namespace isogloss
