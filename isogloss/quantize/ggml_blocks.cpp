// The blocks of ggml's types. Those of q4_0 and q8_0 without importance are made here, several
// times as fast; a test holds them to ggml's bytes.
#include <ggml.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "isogloss/base/vector_math.h"
#include "isogloss/quantize/encode_impl.h"

namespace isogloss {
namespace {

constexpr size_t kBlock = 32;  // numbers

// 1 / scale, and 0 where that is 0 or so small that its inverse is infinite: ggml's codes are those
// of a product with infinity, which x86 converts to an integer whose low byte is 0.
float inverse_of(float scale) {
  const float inverse = 1 / scale;
  return std::isfinite(inverse) ? inverse : 0;
}

// block_q8_0: the scale in F16, then the codes. ggml-quants.c, quantize_row_q8_0_ref.
void encode_q8_0(const float* numbers, std::byte* block) {
  const float scale = vector_max_abs({numbers, kBlock}) / 127;
  const float inverse = inverse_of(scale);
  std::array<int8_t, kBlock> codes;
#pragma omp simd
  for (size_t i = 0; i < kBlock; ++i) {
    codes[i] = static_cast<int8_t>(static_cast<int>(std::round(numbers[i] * inverse)));
  }
  const uint16_t bits = f16_bits(scale);
  std::memcpy(block, &bits, sizeof(bits));
  std::memcpy(block + sizeof(bits), codes.data(), codes.size());
}

// The first of the numbers that are largest in size; 0 of zeros.
float extreme_of(const float* numbers) {
  const auto [least, most] = vector_range({numbers, kBlock});
  const float low = std::min(least, 0.0F);
  const float high = std::max(most, 0.0F);
  if (high != -low) return high > -low ? high : low;
  if (high == 0) return 0;
  return *std::find_if(numbers, numbers + kBlock, [=](float x) { return std::fabs(x) == high; });
}

// block_q4_0: the scale in F16, then codes of the first half in the low nibbles and of the second
// in the high ones. ggml-quants.c, quantize_row_q4_0_ref.
void encode_q4_0(const float* numbers, std::byte* block) {
  const float scale = extreme_of(numbers) / -8;
  const float inverse = inverse_of(scale);
  const float zero = scale == 0 || inverse != 0 ? 8.5F : 0;
  std::array<uint8_t, kBlock> codes;
#pragma omp simd
  for (size_t i = 0; i < kBlock; ++i) {
    const float code = std::min(numbers[i] * inverse + zero, 15.0F);
    codes[i] = static_cast<uint8_t>(static_cast<int>(code));
  }
  std::array<uint8_t, kBlock / 2> nibbles;
#pragma omp simd
  for (size_t i = 0; i < kBlock / 2; ++i) {
    nibbles[i] = static_cast<uint8_t>(codes[i] | codes[i + kBlock / 2] << 4);
  }
  const uint16_t bits = f16_bits(scale);
  std::memcpy(block, &bits, sizeof(bits));
  std::memcpy(block + sizeof(bits), nibbles.data(), nibbles.size());
}

}  // namespace

void encode_rows(TensorType tensor_type, std::span<const float> values, size_t cols,
                 std::span<const float> importance, std::byte* blocks) {
  const auto type = static_cast<ggml_type>(tensor_type);
  if (type == GGML_TYPE_Q8_0) {
    const size_t block_bytes = ggml_type_size(type);
    for (size_t i = 0; i < values.size() / kBlock; ++i) {
      encode_q8_0(&values[i * kBlock], blocks + i * block_bytes);
    }
  } else if (type == GGML_TYPE_Q4_0 && importance.empty()) {
    const size_t block_bytes = ggml_type_size(type);
    for (size_t i = 0; i < values.size() / kBlock; ++i) {
      encode_q4_0(&values[i * kBlock], blocks + i * block_bytes);
    }
  } else {
    ggml_quantize_chunk(type, values.data(), blocks, 0, static_cast<int64_t>(values.size() / cols),
                        static_cast<int64_t>(cols),
                        importance.empty() ? nullptr : importance.data());
  }
}

void decode_rows(TensorType tensor_type, const std::byte* blocks, size_t cols,
                 std::span<float> out) {
  const auto type = static_cast<ggml_type>(tensor_type);
  if (type == GGML_TYPE_F32) {
    std::memcpy(out.data(), blocks, out.size_bytes());
    return;
  }
  const ggml_to_float_t to_float = ggml_get_type_traits(type)->to_float;
  const size_t row_bytes = ggml_row_size(type, static_cast<int64_t>(cols));
  for (size_t row = 0; row < out.size() / cols; ++row) {
    to_float(blocks + row * row_bytes, &out[row * cols], static_cast<int64_t>(cols));
  }
}

}  // namespace isogloss
