// Functions of a number that a compiler can turn into vector code: no branches, no library calls.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace isogloss {

// vector_exp() of x in [-87, 87], where nothing is to be clamped.
inline float vector_exp_in_range(float x) {
  constexpr float kLog2E = 1.44269504088896341F;
  constexpr float kLn2High = 0.693359375F;
  constexpr float kLn2Low = -2.12194440e-4F;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = x * kLog2E + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float p = 1.0F / 5040;
  p = p * r + 1.0F / 720;
  p = p * r + 1.0F / 120;
  p = p * r + 1.0F / 24;
  p = p * r + 1.0F / 6;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  const int32_t exponent = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound);
  return p * std::bit_cast<float>((exponent + 127) << 23);
}

// e^x for x in [-87, 87], clamped outside of it; NaN stays NaN; relative error below 2e-7 (tested).
// Reduction to |r| <= ln2 / 2 in two parts (Cody & Waite 1980), then the Taylor polynomial of
// degree 7.
//
// The clamp is one of integers: of a clamp by comparing floats, GCC makes paths of their own for
// the constants, and computes them for all lanes. What is divided by e^87 there is subnormal, which
// costs some processors 150 cycles.
inline float vector_exp(float x) {
  constexpr int32_t kMost = std::bit_cast<int32_t>(87.0F);
  const int32_t bits = std::bit_cast<int32_t>(x);
  const int32_t clamped = std::min(bits & INT32_MAX, kMost) | (bits & INT32_MIN);
  return x != x ? x : vector_exp_in_range(std::bit_cast<float>(clamped));
}

// Integers in the order of the floats whose bits they are, and back.
inline int32_t ordered_bits(int32_t bits) {
  return bits ^ (bits >> 31 & INT32_MAX);
}

// Extremes of some numbers, of which there is one; any number where there is a NaN. Compilers make
// vector code of the extremes of integers, but not of floats that may be NaN.
struct FloatRange {
  float low = 0, high = 0;
};
inline FloatRange vector_range(std::span<const float> values) {
  int32_t least = INT32_MAX, most = INT32_MIN;
  for (size_t i = 0; i < values.size(); ++i) {
    const int32_t place = ordered_bits(std::bit_cast<int32_t>(values[i]));
    least = std::min(least, place);
    most = std::max(most, place);
  }
  return {std::bit_cast<float>(ordered_bits(least)), std::bit_cast<float>(ordered_bits(most))};
}
inline float vector_max(std::span<const float> values) {
  int32_t most = INT32_MIN;
  for (size_t i = 0; i < values.size(); ++i) {
    most = std::max(most, ordered_bits(std::bit_cast<int32_t>(values[i])));
  }
  return std::bit_cast<float>(ordered_bits(most));
}
inline float vector_max_abs(std::span<const float> values) {
  int32_t most = 0;  // bits without the sign are in the order of sizes
  for (size_t i = 0; i < values.size(); ++i) {
    most = std::max(most, std::bit_cast<int32_t>(values[i]) & INT32_MAX);
  }
  return std::bit_cast<float>(most);
}

}  // namespace isogloss
