// Integer codes of a model's matrices, rounded to nearest, and what they stand for: by the formulas
// of isogloss/quantize/quantize.h, written a second time.
#pragma once

#include <ggml.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "isogloss/quantize/quantize.h"

namespace isogloss {

inline float as_scale(float value, TensorType type) {
  if (type == TensorType::kBf16) return ggml_bf16_to_fp32(ggml_fp32_to_bf16(value));
  return ggml_fp16_to_fp32(ggml_fp32_to_fp16(value));
}

inline size_t numbers_sharing(const Scheme& scheme, size_t rows, size_t cols) {
  if (scheme.granularity == Granularity::kTensor) return rows * cols;
  return scheme.granularity == Granularity::kChannel ? cols : scheme.group_size;
}

inline EncodedMatrix nearest_codes(const Scheme& scheme, std::span<const float> values, size_t rows,
                                   size_t cols) {
  EncodedMatrix matrix{scheme, rows, cols, {}, std::vector<uint8_t>(values.size()), {}, {}};
  const size_t sharing = numbers_sharing(scheme, rows, cols);
  const float top = static_cast<float>((1 << scheme.bits) - 1);
  const float middle = static_cast<float>(1 << (scheme.bits - 1));
  for (size_t start = 0; start < values.size(); start += sharing) {
    const auto part = values.subspan(start, sharing);
    const float least = std::min(0.0F, *std::ranges::min_element(part));
    const float most = std::max(0.0F, *std::ranges::max_element(part));
    const float range =
        scheme.asymmetric ? (most - least) / top : std::max(most, -least) / (middle - 1);
    const float scale = as_scale(range, scheme.scale_type);
    const float zero = scheme.asymmetric ? std::nearbyint(-least / scale) : middle;
    matrix.scales.push_back(scale);
    if (scheme.asymmetric) matrix.offsets.push_back(zero);
    for (size_t i = 0; i < sharing; ++i) {
      const float code = std::clamp(std::nearbyint(part[i] / scale) + zero, 0.0F, top);
      matrix.codes[start + i] = static_cast<uint8_t>(code);
    }
  }
  return matrix;
}

inline std::vector<float> numbers_of(const EncodedMatrix& matrix) {
  const size_t sharing = numbers_sharing(matrix.scheme, matrix.rows, matrix.cols);
  std::vector<float> numbers(matrix.codes.size());
  for (size_t i = 0; i < numbers.size(); ++i) {
    const size_t place = i / sharing;
    const float zero = matrix.scheme.asymmetric ? matrix.offsets[place]
                                                : static_cast<float>(1 << (matrix.scheme.bits - 1));
    numbers[i] = (static_cast<float>(matrix.codes[i]) - zero) * matrix.scales[place];
  }
  return numbers;
}

}  // namespace isogloss
