// Integer codes of numbers that share a scale.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <span>

#include "isogloss/quantize/quantize.h"

namespace isogloss {

// Codes are the integers 0 .. top; each is a float here. What is beyond them is cut.
struct IntegerGrid {
  float scale = 0;   // of 0: every code stands for `offset`
  float zero = 0;    // the code that stands for `offset`
  float top = 0;     // 2^bits - 1
  float offset = 0;  // 0 but for HQQ, where `zero` is 0 instead

  float code(float number) const {
    if (scale == 0) return zero;
    return std::min(std::max(std::nearbyint((number - offset) / scale) + zero, 0.0F), top);
  }
  float value(float code) const { return (code - zero) * scale + offset; }
};

// What `numbers`, all that share a scale, take in `scheme`: kSeed, or kInteger, where GPTQ and AWQ
// take what rounding to nearest does. Its clip decides how far codes reach; `kurtosis` is for clips
// that need it.
IntegerGrid fit_grid(const Scheme& scheme, std::span<const float> numbers,
                     std::optional<double> kurtosis = std::nullopt);

}  // namespace isogloss
