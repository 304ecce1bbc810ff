// Functions of a number that a compiler can turn into vector code: no branches, no library calls.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace isogloss {

// e^x for x in [-87, 88], clamped outside of it; relative error below 2e-7 (tested). Reduction to
// |r| <= ln2 / 2 in two parts (Cody & Waite 1980), then the Taylor polynomial of degree 7.
inline float vector_exp(float x) {
  constexpr float kLog2E = 1.44269504088896341F;
  constexpr float kLn2High = 0.693359375F;
  constexpr float kLn2Low = -2.12194440e-4F;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  x = std::min(std::max(x, -87.0F), 88.0F);
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

// The nearest number of 8 significant bits, ties to even: BF16's, in F32. NaN stays NaN.
inline float round_to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) & 0xffff0000U;
  return x != x ? x : std::bit_cast<float>(rounded);
}

}  // namespace isogloss
