// Encoders, each on one thread.
#pragma once

#include <cstddef>
#include <span>

#include "isogloss/base/half.h"
#include "isogloss/quantize/grid.h"

namespace isogloss {

// As the type of scales has it: F16 or BF16.
inline float round_to(TensorType scale_type, float x) {
  return scale_type == TensorType::kBf16 ? round_to_bf16(x) : round_to_f16(x);
}

// The scale and offset of numbers that share them, by half-quadratic quantization (Badri & Shaji
// 2023, "Half-Quadratic Quantization of Large Machine Learning Models"), such that the sum of
// |error|^0.7 is small, and none is smaller of: the grid from the least to the largest number, each
// that follows from it, and the grid of asymmetric rounding to nearest with its zero point times
// its scale, in scale_type, for an offset.
IntegerGrid fit_hqq(const Scheme& scheme, std::span<const float> numbers);

// Whole rows of `cols` numbers to the blocks of a type of ggml and back, as ggml's own functions
// make them, to the byte. `importance`: [cols], or empty.
void encode_rows(TensorType type, std::span<const float> values, size_t cols,
                 std::span<const float> importance, std::byte* blocks);
void decode_rows(TensorType type, const std::byte* blocks, size_t cols, std::span<float> out);

}  // namespace isogloss
