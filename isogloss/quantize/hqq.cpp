// Half-quadratic quantization of numbers that share a scale and an offset.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "isogloss/base/vector_math.h"
#include "isogloss/quantize/encode_impl.h"

namespace isogloss {
namespace {

// As published, for numbers as they are: shrinking leaves nothing of errors below
// beta^(-1 / (2 - p)) = 0.17, which most weights' are, and offsets follow the mean of errors then.
constexpr float kNorm = 0.7F;
constexpr float kFirstBeta = 10;
constexpr float kBetaGrowth = 1.01F;
constexpr int kSteps = 20;

// Natural logarithm of a positive, normal number; relative error below 1e-6. The mantissa lies in
// [sqrt(1/2), sqrt(2)), and ln m = 2 artanh((m - 1) / (m + 1)), whose series ends at the 9th power.
inline float vector_log(float x) {
  constexpr uint32_t kRootHalf = 0x3f3504f3;
  constexpr float kLn2 = 0.693147181F;
  const uint32_t shifted = std::bit_cast<uint32_t>(x) - kRootHalf;
  const auto exponent = static_cast<float>(std::bit_cast<int32_t>(shifted) >> 23);
  const float mantissa = std::bit_cast<float>((shifted & 0x7fffffU) + kRootHalf);
  const float f = (mantissa - 1) / (mantissa + 1);
  const float square = f * f;
  float series = 2.0F / 9;
  series = series * square + 2.0F / 7;
  series = series * square + 2.0F / 5;
  series = series * square + 2.0F / 3;
  series = series * square + 2.0F;
  return exponent * kLn2 + f * series;
}

// Of the numbers in one grid.
struct Step {
  double norm = 0;   // sum of |error|^p
  float offset = 0;  // that fits them best with their large errors set apart
};

// The proximal step leaves sign(e) max(|e| - |e|^(p - 1) / beta, 0) of an error e.
Step step_from(const IntegerGrid& grid, std::span<const float> numbers, float beta) {
  const float divisor = grid.scale == 0 ? 1 : grid.scale;
  double norm = 0;
  double sum = 0;
#pragma omp simd reduction(+ : norm, sum)
  for (size_t i = 0; i < numbers.size(); ++i) {
    const float rounded = std::nearbyint((numbers[i] - grid.offset) / divisor);
    const float part = std::min(std::max(rounded, 0.0F), grid.top) * grid.scale;
    const float error = numbers[i] - (part + grid.offset);
    const float size = std::fabs(error);
    const float smallest = std::numeric_limits<float>::min();
    const float power = vector_exp((kNorm - 1) * vector_log(std::max(size, smallest)));
    const float shrunk = std::max(size - power / beta, 0.0F);
    norm += static_cast<double>(size * power);
    sum += static_cast<double>(numbers[i] - std::copysign(shrunk, error) - part);
  }
  return {norm, static_cast<float>(sum / static_cast<double>(numbers.size()))};
}

float as_offset(TensorType scale_type, float offset) {
  if (scale_type == TensorType::kF16) offset = std::clamp(offset, -kLargestF16, kLargestF16);
  return round_to(scale_type, offset);
}

IntegerGrid nearest_grid(Scheme scheme, std::span<const float> numbers) {
  scheme.method = Method::kRtn;
  scheme.asymmetric = true;
  IntegerGrid grid = fit_grid(scheme, numbers);
  grid.offset = as_offset(scheme.scale_type, -grid.zero * grid.scale);
  grid.zero = 0;
  return grid;
}

}  // namespace

IntegerGrid fit_hqq(const Scheme& scheme, std::span<const float> numbers) {
  const auto [least, most] = std::ranges::minmax(numbers);
  IntegerGrid grid;
  grid.top = static_cast<float>((1 << scheme.bits) - 1);
  grid.scale = round_to(scheme.scale_type, (most - least) / grid.top);
  grid.offset = as_offset(scheme.scale_type, grid.scale == 0 ? (least + most) / 2 : least);
  IntegerGrid best = nearest_grid(scheme, numbers);
  double least_norm = step_from(best, numbers, kFirstBeta).norm;
  double last_norm = std::numeric_limits<double>::infinity();
  float beta = kFirstBeta;
  for (int i = 0; i <= kSteps; ++i) {
    const Step step = step_from(grid, numbers, beta);
    if (step.norm < least_norm) {
      least_norm = step.norm;
      best = grid;
    }
    if (step.norm >= last_norm) break;
    last_norm = step.norm;
    grid.offset = as_offset(scheme.scale_type, step.offset);
    beta *= kBetaGrowth;
  }
  return best;
}

}  // namespace isogloss
