// Schemes: what fits a row, and what a matrix weighs.
#include <ggml.h>

#include "isogloss/base/error.h"
#include "isogloss/quantize/scheme_impl.h"

namespace isogloss {
namespace {

constexpr uint64_t kHalfBytes = 2;  // F16, BF16
constexpr uint64_t kF32Bytes = 4;

bool fits(const Scheme& scheme, size_t cols) {
  if (scheme.kind == SchemeKind::kGgml) {
    return cols % get_tensor_type_info(scheme.type).block_size == 0;
  }
  if (scheme.kind == SchemeKind::kInteger && scheme.granularity == Granularity::kGroup) {
    return cols % scheme.group_size == 0;
  }
  return true;
}

// llama.cpp, src/llama-quant.cpp, tensor_type_fallback; where that has no type to offer, F16.
ggml_type type_of_smaller_blocks(ggml_type type) {
  switch (type) {
    case GGML_TYPE_IQ1_S:
    case GGML_TYPE_IQ1_M:
    case GGML_TYPE_IQ2_XXS:
    case GGML_TYPE_IQ2_XS:
    case GGML_TYPE_IQ2_S:
    case GGML_TYPE_IQ3_XXS:
    case GGML_TYPE_IQ3_S:
    case GGML_TYPE_IQ4_XS:
      return GGML_TYPE_IQ4_NL;
    case GGML_TYPE_Q2_0:
    case GGML_TYPE_Q2_K:
    case GGML_TYPE_Q3_K:
    case GGML_TYPE_TQ1_0:
    case GGML_TYPE_TQ2_0:
      return GGML_TYPE_Q4_0;
    case GGML_TYPE_Q4_K:
      return GGML_TYPE_Q5_0;
    case GGML_TYPE_Q5_K:
      return GGML_TYPE_Q5_1;
    case GGML_TYPE_Q6_K:
      return GGML_TYPE_Q8_0;
    default:
      return GGML_TYPE_F16;
  }
}

Scheme ggml_fallback(TensorType type, size_t cols) {
  const ggml_type smaller = type_of_smaller_blocks(static_cast<ggml_type>(type));
  const Scheme fallback = ggml_scheme(static_cast<TensorType>(smaller));
  return fits(fallback, cols) ? fallback : ggml_scheme(TensorType::kF16);
}

// Groups that fit are smaller: each size divides the ones above it.
Scheme integer_fallback(Scheme scheme, size_t cols) {
  for (const size_t size : kGroupSizes) {
    if (cols % size != 0) continue;
    scheme.group_size = size;
    return scheme;
  }
  scheme.granularity = Granularity::kChannel;
  scheme.group_size = 0;
  return scheme;
}

// Codes of `bits` bits, in whole 32-bit words.
uint64_t packed_bytes(uint64_t count, int bits) {
  constexpr uint64_t kWordBits = 32;
  return (count * static_cast<uint64_t>(bits) + kWordBits - 1) / kWordBits * sizeof(uint32_t);
}

uint64_t integer_bytes(const Scheme& scheme, uint64_t rows, uint64_t cols) {
  const bool per_tensor = scheme.granularity == Granularity::kTensor;
  const uint64_t scale_rows = per_tensor ? 1 : rows;
  const bool grouped = scheme.granularity == Granularity::kGroup;
  const uint64_t scales_per_row = grouped ? cols / scheme.group_size : 1;
  uint64_t bytes = rows * packed_bytes(cols, scheme.bits);
  bytes += scale_rows * scales_per_row * kHalfBytes;
  if (scheme.asymmetric) bytes += scale_rows * packed_bytes(scales_per_row, scheme.bits);
  if (scheme.method == Method::kHqq) bytes += scale_rows * scales_per_row * kHalfBytes;
  return bytes;
}

}  // namespace

Scheme fitting_scheme(const Scheme& scheme, size_t cols) {
  if (fits(scheme, cols)) return scheme;
  if (scheme.kind == SchemeKind::kGgml) return ggml_fallback(scheme.type, cols);
  return integer_fallback(scheme, cols);
}

uint64_t stored_bytes(const Scheme& scheme, size_t rows, size_t cols) {
  ISOGLOSS_ASSERT(scheme.kind != SchemeKind::kNone && fits(scheme, cols));
  if (scheme.kind == SchemeKind::kSeed) return rows * packed_bytes(cols, scheme.bits) + kF32Bytes;
  if (scheme.kind == SchemeKind::kInteger) return integer_bytes(scheme, rows, cols);
  const TensorTypeInfo type = get_tensor_type_info(scheme.type);
  return rows * (cols / type.block_size) * type.block_bytes;
}

}  // namespace isogloss
