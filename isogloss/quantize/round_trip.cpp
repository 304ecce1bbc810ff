// Encodes numbers and decodes them again, as a runtime would compute with them.
#include <ggml.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "isogloss/base/error.h"
#include "isogloss/quantize/quantize.h"

namespace isogloss {
namespace {

constexpr float kLargestF16 = 65504;
constexpr float kLargestBf16 = 0x1.fep127F;

// Beyond it a scale overflows; some of ggml's encoders stop the process then.
float largest_value(const Scheme& scheme) {
  if (scheme.kind == SchemeKind::kSeed) return kLargestBf16;  // in reach of a float scale
  if (scheme.kind != SchemeKind::kGgml) return kLargestF16;
  if (scheme.type == TensorType::kF32) return std::numeric_limits<float>::max();
  return scheme.type == TensorType::kBf16 ? kLargestBf16 : kLargestF16;
}

void check_range(const Scheme& scheme, std::span<const float> values, size_t cols) {
  const float largest = largest_value(scheme);
  const auto bad = std::ranges::find_if_not(
      values, [=](float value) { return std::fabs(value) <= largest; });  // false for NaN
  if (bad == values.end()) return;
  const auto place = static_cast<size_t>(bad - values.begin());
  fail(ErrorCode::kNotFinite,
       "{} at row {}, column {} cannot be stored as {}, which ends at {}; the model is damaged (a "
       "bad conversion?)",
       *bad, place / cols, place % cols, to_string(scheme), largest);
}

float absolute_maximum(std::span<const float> values) {
  float maximum = 0;
  for (const float value : values) maximum = std::max(maximum, std::fabs(value));
  return maximum;
}

float largest_code(int bits) {
  return static_cast<float>((1 << (bits - 1)) - 1);
}

// w <- clamp(rint(w / s), -m-1, m) * s, each step rounded to float.
void round_symmetric(std::span<float> values, float scale, float m) {
  if (scale == 0) {
    std::ranges::fill(values, 0.0F);
    return;
  }
  for (float& value : values) {
    value = std::clamp(std::nearbyint(value / scale), -m - 1, m) * scale;
  }
}

// w <- (clamp(rint(w / s) + z, 0, top) - z) * s
void round_asymmetric(std::span<float> values, float scale, float lowest, float top) {
  if (scale == 0) {
    std::ranges::fill(values, 0.0F);
    return;
  }
  const float zero_point = std::clamp(std::nearbyint(-lowest / scale), 0.0F, top);
  for (float& value : values) {
    const float code = std::clamp(std::nearbyint(value / scale) + zero_point, 0.0F, top);
    value = (code - zero_point) * scale;
  }
}

float as_f16(float value) {
  return ggml_fp16_to_fp32(ggml_fp32_to_fp16(value));
}

// `values` are the numbers that share a scale.
void round_trip_rtn(std::span<float> values, int bits, bool asymmetric) {
  if (!asymmetric) {
    const float m = largest_code(bits);
    round_symmetric(values, as_f16(absolute_maximum(values) / m), m);
    return;
  }
  float lowest = 0;
  float most = 0;
#pragma omp simd reduction(min : lowest) reduction(max : most)
  for (size_t i = 0; i < values.size(); ++i) {
    lowest = std::min(lowest, values[i]);
    most = std::max(most, values[i]);
  }
  const float top = static_cast<float>((1 << bits) - 1);
  round_asymmetric(values, as_f16((most - lowest) / top), lowest, top);
}

size_t numbers_per_scale(const Scheme& scheme, size_t rows, size_t cols) {
  switch (scheme.granularity) {
    case Granularity::kTensor:
      return rows * cols;
    case Granularity::kChannel:
      return cols;
    case Granularity::kGroup:
      return scheme.group_size;
  }
  ISOGLOSS_ASSERT(false);
}

void round_trip_seed(std::span<float> values, int bits) {
  const float m = largest_code(bits);
  round_symmetric(values, absolute_maximum(values) / m, m);
}

void round_trip_ggml(TensorType tensor_type, std::span<float> values, size_t cols) {
  if (tensor_type == TensorType::kF32) return;
  const auto type = static_cast<ggml_type>(tensor_type);
  const auto row_numbers = static_cast<int64_t>(cols);
  const ggml_to_float_t to_float = ggml_get_type_traits(type)->to_float;
  std::vector<std::byte> encoded(ggml_row_size(type, row_numbers));
  for (size_t start = 0; start < values.size(); start += cols) {
    float* row = &values[start];
    ggml_quantize_chunk(type, row, encoded.data(), 0, 1, row_numbers, nullptr);
    to_float(encoded.data(), row, row_numbers);
  }
}

}  // namespace

void round_trip(const Scheme& scheme, std::span<float> values, size_t rows, size_t cols) {
  ISOGLOSS_ASSERT(values.size() == rows * cols);
  ISOGLOSS_ASSERT(fitting_scheme(scheme, cols) == scheme);
  if (scheme.kind == SchemeKind::kNone) return;
  check_range(scheme, values, cols);
  if (scheme.kind == SchemeKind::kSeed) {
    round_trip_seed(values, scheme.bits);
  } else if (scheme.kind == SchemeKind::kGgml) {
    round_trip_ggml(scheme.type, values, cols);
  } else {
    const size_t shared = numbers_per_scale(scheme, rows, cols);
    for (size_t start = 0; start < values.size(); start += shared) {
      round_trip_rtn(values.subspan(start, shared), scheme.bits, scheme.asymmetric);
    }
  }
}

}  // namespace isogloss
