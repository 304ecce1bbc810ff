// Schemes: their names, what fits a row, and what a matrix weighs.
#include <ggml.h>

#include <algorithm>
#include <array>

#include "isogloss/base/error.h"
#include "isogloss/base/suggest.h"
#include "isogloss/quantize/quantize.h"

namespace isogloss {
namespace {

constexpr std::array kCodeBits = {8, 4, 3, 2};
constexpr std::array<size_t, 3> kGroupSizes = {128, 64, 32};
constexpr uint64_t kF16Bytes = 2;
constexpr uint64_t kF32Bytes = 4;

Scheme ggml_scheme(TensorType type) {
  return {.kind = SchemeKind::kGgml, .type = type};
}

// Every type with a decoder has an encoder too, in the ggml that is pinned; those that ggml only
// computes with (q8_1, q8_k) have no decoder.
bool is_encodable(TensorType type) {
  return find_tensor_type_info(type) &&
         !ggml_quantize_requires_imatrix(static_cast<ggml_type>(type));
}

// Plain types by id, then quantized ones from many bits to few.
std::vector<Scheme> ggml_schemes() {
  std::vector<Scheme> schemes;
  for (int32_t id = 0; id < GGML_TYPE_COUNT; ++id) {
    const auto type = static_cast<TensorType>(id);
    if (is_encodable(type)) schemes.push_back(ggml_scheme(type));
  }
  const auto negative_bits = [](const Scheme& scheme) {
    const TensorTypeInfo info = get_tensor_type_info(scheme.type);
    if (!info.quantized) return -1e3;
    return -static_cast<double>(info.block_bytes) / static_cast<double>(info.block_size);
  };
  std::ranges::stable_sort(schemes, {}, negative_bits);
  return schemes;
}

void append_rtn_schemes(std::vector<Scheme>& schemes) {
  for (const int bits : kCodeBits) {
    const auto append = [&](Granularity granularity, size_t group_size) {
      for (const bool asymmetric : {false, true}) {
        schemes.push_back({.kind = SchemeKind::kRtn,
                           .bits = bits,
                           .granularity = granularity,
                           .group_size = group_size,
                           .asymmetric = asymmetric});
      }
    };
    append(Granularity::kTensor, 0);
    append(Granularity::kChannel, 0);
    for (const size_t size : kGroupSizes) append(Granularity::kGroup, size);
  }
}

std::vector<Scheme> make_schemes() {
  std::vector<Scheme> schemes = {Scheme{}};
  const std::vector<Scheme> of_ggml = ggml_schemes();
  schemes.insert(schemes.end(), of_ggml.begin(), of_ggml.end());
  for (const int bits : kCodeBits) schemes.push_back({.kind = SchemeKind::kSeed, .bits = bits});
  append_rtn_schemes(schemes);
  return schemes;
}

const std::vector<Scheme>& all_schemes() {
  static const std::vector<Scheme> kSchemes = make_schemes();
  return kSchemes;
}

std::string granularity_name(const Scheme& scheme) {
  switch (scheme.granularity) {
    case Granularity::kTensor:
      return "tensor";
    case Granularity::kChannel:
      return "channel";
    case Granularity::kGroup:
      return fmt::format("g{}", scheme.group_size);
  }
  ISOGLOSS_ASSERT(false);
}

[[noreturn]] void no_such_scheme(std::string_view name) {
  const std::string near = did_you_mean(name, scheme_names());
  if (const auto type = find_tensor_type(name)) {
    fail(ErrorCode::kBadArgument,
         "scheme '{}': ggml encodes this type only with an importance matrix, which isogloss does "
         "not make{}",
         name, near);
  }
  std::vector<std::string> types;
  for (const Scheme& scheme : ggml_schemes()) types.push_back(to_string(scheme));
  fail(ErrorCode::kBadArgument,
       "unknown scheme '{}'{}; schemes are none, seed-intB, rtn-intB-GRANULARITY with or without "
       "-asym (B is 2, 3, 4 or 8, GRANULARITY is tensor, channel, g32, g64 or g128), and ggml's "
       "types {}",
       name, near, fmt::join(types, ", "));
}

bool fits(const Scheme& scheme, size_t cols) {
  if (scheme.kind == SchemeKind::kGgml) {
    return cols % get_tensor_type_info(scheme.type).block_size == 0;
  }
  if (scheme.kind == SchemeKind::kRtn && scheme.granularity == Granularity::kGroup) {
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
Scheme rtn_fallback(Scheme scheme, size_t cols) {
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

uint64_t rtn_bytes(const Scheme& scheme, uint64_t rows, uint64_t cols) {
  const bool per_tensor = scheme.granularity == Granularity::kTensor;
  const uint64_t scale_rows = per_tensor ? 1 : rows;
  const bool grouped = scheme.granularity == Granularity::kGroup;
  const uint64_t scales_per_row = grouped ? cols / scheme.group_size : 1;
  uint64_t bytes = rows * packed_bytes(cols, scheme.bits);
  bytes += scale_rows * scales_per_row * kF16Bytes;
  if (scheme.asymmetric) bytes += scale_rows * packed_bytes(scales_per_row, scheme.bits);
  return bytes;
}

}  // namespace

Scheme parse_scheme(std::string_view name) {
  const std::string wanted = lower_case(name);
  for (const Scheme& scheme : all_schemes()) {
    if (to_string(scheme) == wanted) return scheme;
  }
  no_such_scheme(name);
}

std::string to_string(const Scheme& scheme) {
  switch (scheme.kind) {
    case SchemeKind::kNone:
      return "none";
    case SchemeKind::kSeed:
      return fmt::format("seed-int{}", scheme.bits);
    case SchemeKind::kRtn:
      return fmt::format("rtn-int{}-{}{}", scheme.bits, granularity_name(scheme),
                         scheme.asymmetric ? "-asym" : "");
    case SchemeKind::kGgml:
      return get_tensor_type_info(scheme.type).name;
  }
  ISOGLOSS_ASSERT(false);
}

std::vector<std::string> scheme_names() {
  std::vector<std::string> names;
  for (const Scheme& scheme : all_schemes()) names.push_back(to_string(scheme));
  return names;
}

Scheme fitting_scheme(const Scheme& scheme, size_t cols) {
  if (fits(scheme, cols)) return scheme;
  if (scheme.kind == SchemeKind::kGgml) return ggml_fallback(scheme.type, cols);
  return rtn_fallback(scheme, cols);
}

bool rows_are_independent(const Scheme& scheme) {
  const bool rtn_of_tensor =
      scheme.kind == SchemeKind::kRtn && scheme.granularity == Granularity::kTensor;
  return scheme.kind != SchemeKind::kSeed && !rtn_of_tensor;
}

uint64_t stored_bytes(const Scheme& scheme, size_t rows, size_t cols) {
  ISOGLOSS_ASSERT(scheme.kind != SchemeKind::kNone && fits(scheme, cols));
  if (scheme.kind == SchemeKind::kSeed) return rows * packed_bytes(cols, scheme.bits) + kF32Bytes;
  if (scheme.kind == SchemeKind::kRtn) return rtn_bytes(scheme, rows, cols);
  const TensorTypeInfo type = get_tensor_type_info(scheme.type);
  return rows * (cols / type.block_size) * type.block_bytes;
}

}  // namespace isogloss
