// Numbers of 16 bits: F16 and BF16. Functions that a compiler can turn into vector code.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace isogloss {

constexpr float kLargestF16 = 65504;
constexpr float kLargestBf16 = 0x1.fep127F;

// The nearest F16, ties to even, by its bits (IEEE 754-2008, binary16). Not for NaN.
inline uint16_t f16_bits(float x) {
  constexpr uint32_t kSmallestNormal = 0x38800000;  // 2^-14
  constexpr uint32_t kFirstInfinite = 0x477ff000;   // 65520, halfway to 65536
  constexpr uint32_t kExponentShift = 112U << 23;   // the exponents' biases are 127 and 15
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t size = bits & 0x7fffffffU;
  const uint32_t normal = (size + 0xfffU + ((size >> 13) & 1U) - kExponentShift) >> 13;
  // Neighbours of 0.5 are as far apart as F16's subnormal numbers: adding it rounds to them.
  const uint32_t subnormal =
      std::bit_cast<uint32_t>(std::bit_cast<float>(size) + 0.5F) - std::bit_cast<uint32_t>(0.5F);
  const uint32_t finite = size < kSmallestNormal ? subnormal : normal;
  const uint32_t rounded = size >= kFirstInfinite ? 0x7c00U : finite;
  return static_cast<uint16_t>(rounded | ((bits >> 16) & 0x8000U));
}

// What an F16 stands for. NaN stays NaN.
inline float f16_value(uint16_t half) {
  constexpr uint32_t kExponentShift = 112U << 23;  // the exponents' biases are 127 and 15
  const uint32_t exponent = half & 0x7c00U;
  const uint32_t fraction = half & 0x3ffU;
  const uint32_t normal = ((exponent | fraction) << 13) + kExponentShift;
  const uint32_t infinite = 0x7f800000U | fraction << 13;
  const uint32_t subnormal =
      std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(fraction)) * 0x1p-24F);
  const uint32_t finite = exponent == 0 ? subnormal : normal;
  const uint32_t size = exponent == 0x7c00U ? infinite : finite;
  return std::bit_cast<float>(size | (half & 0x8000U) << 16);
}

// The nearest F16 as a float.
inline float round_to_f16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t normal = (bits + 0xfffU + ((bits >> 13) & 1U)) & ~0x1fffU;
  const float subnormal = (std::fabs(x) + 0.5F) - 0.5F;
  const float rounded =
      std::fabs(x) < 0x1p-14F ? std::copysign(subnormal, x) : std::bit_cast<float>(normal);
  return std::fabs(rounded) > kLargestF16 ? std::copysign(std::numeric_limits<float>::infinity(), x)
                                          : rounded;
}

// The nearest number of 8 significant bits, ties to even: BF16's, in F32. NaN stays NaN.
inline float round_to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) & 0xffff0000U;
  return x != x ? x : std::bit_cast<float>(rounded);
}

}  // namespace isogloss
