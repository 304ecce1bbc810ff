// What the sources of schemes share.
#pragma once

#include <array>
#include <cstddef>

#include "isogloss/quantize/quantize.h"

namespace isogloss {

constexpr std::array<size_t, 3> kGroupSizes = {128, 64, 32};

inline Scheme ggml_scheme(TensorType type) {
  return {.kind = SchemeKind::kGgml, .type = type};
}

}  // namespace isogloss
