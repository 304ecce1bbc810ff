// Which type of ggml each tensor has in a GGUF file.
#include <llama.h>

#include <algorithm>
#include <array>

#include "isogloss/base/error.h"
#include "isogloss/write/gguf_impl.h"

namespace isogloss {
namespace {

constexpr auto kQ4_0 = static_cast<TensorType>(GGML_TYPE_Q4_0);
constexpr auto kQ4_1 = static_cast<TensorType>(GGML_TYPE_Q4_1);
constexpr auto kQ8_0 = static_cast<TensorType>(GGML_TYPE_Q8_0);

struct FileTypeRow {
  ggml_type type;
  llama_ftype id;
  std::string_view name;
};

// Where several file types are made of one tensor type, the one that llama.cpp's loader takes a
// file for that does not say (src/llama-model-loader.cpp).
constexpr std::array kFileTypes = std::to_array<FileTypeRow>({
    {GGML_TYPE_F32, LLAMA_FTYPE_ALL_F32, "F32"},
    {GGML_TYPE_F16, LLAMA_FTYPE_MOSTLY_F16, "F16"},
    {GGML_TYPE_BF16, LLAMA_FTYPE_MOSTLY_BF16, "BF16"},
    {GGML_TYPE_Q1_0, LLAMA_FTYPE_MOSTLY_Q1_0, "Q1_0"},
    {GGML_TYPE_Q2_0, LLAMA_FTYPE_MOSTLY_Q2_0, "Q2_0"},
    {GGML_TYPE_Q4_0, LLAMA_FTYPE_MOSTLY_Q4_0, "Q4_0"},
    {GGML_TYPE_Q4_1, LLAMA_FTYPE_MOSTLY_Q4_1, "Q4_1"},
    {GGML_TYPE_Q5_0, LLAMA_FTYPE_MOSTLY_Q5_0, "Q5_0"},
    {GGML_TYPE_Q5_1, LLAMA_FTYPE_MOSTLY_Q5_1, "Q5_1"},
    {GGML_TYPE_Q8_0, LLAMA_FTYPE_MOSTLY_Q8_0, "Q8_0"},
    {GGML_TYPE_Q2_K, LLAMA_FTYPE_MOSTLY_Q2_K, "Q2_K"},
    {GGML_TYPE_Q3_K, LLAMA_FTYPE_MOSTLY_Q3_K_M, "Q3_K_M"},
    {GGML_TYPE_Q4_K, LLAMA_FTYPE_MOSTLY_Q4_K_M, "Q4_K_M"},
    {GGML_TYPE_Q5_K, LLAMA_FTYPE_MOSTLY_Q5_K_M, "Q5_K_M"},
    {GGML_TYPE_Q6_K, LLAMA_FTYPE_MOSTLY_Q6_K, "Q6_K"},
    {GGML_TYPE_TQ1_0, LLAMA_FTYPE_MOSTLY_TQ1_0, "TQ1_0"},
    {GGML_TYPE_TQ2_0, LLAMA_FTYPE_MOSTLY_TQ2_0, "TQ2_0"},
    {GGML_TYPE_IQ2_XXS, LLAMA_FTYPE_MOSTLY_IQ2_XXS, "IQ2_XXS"},
    {GGML_TYPE_IQ2_XS, LLAMA_FTYPE_MOSTLY_IQ2_XS, "IQ2_XS"},
    {GGML_TYPE_IQ2_S, LLAMA_FTYPE_MOSTLY_IQ2_S, "IQ2_S"},
    {GGML_TYPE_IQ3_XXS, LLAMA_FTYPE_MOSTLY_IQ3_XXS, "IQ3_XXS"},
    {GGML_TYPE_IQ3_S, LLAMA_FTYPE_MOSTLY_IQ3_S, "IQ3_S"},
    {GGML_TYPE_IQ1_S, LLAMA_FTYPE_MOSTLY_IQ1_S, "IQ1_S"},
    {GGML_TYPE_IQ1_M, LLAMA_FTYPE_MOSTLY_IQ1_M, "IQ1_M"},
    {GGML_TYPE_IQ4_NL, LLAMA_FTYPE_MOSTLY_IQ4_NL, "IQ4_NL"},
    {GGML_TYPE_IQ4_XS, LLAMA_FTYPE_MOSTLY_IQ4_XS, "IQ4_XS"},
    {GGML_TYPE_MXFP4, LLAMA_FTYPE_MOSTLY_MXFP4_MOE, "MXFP4_MOE"},
    {GGML_TYPE_NVFP4, LLAMA_FTYPE_MOSTLY_NVFP4, ""},
});

[[noreturn]] void refuse(const TensorView& tensor, const Scheme& scheme, const std::string& why,
                         const std::string& instead) {
  fail(ErrorCode::kUnsupported, "tensor '{}': GGUF cannot hold {}: {}; use {}", tensor.name,
       to_string(scheme), why, instead);
}

// The type whose blocks hold the codes exactly.
TensorType carrier(const TensorView& tensor, const Scheme& scheme) {
  constexpr size_t kBlock = 32;
  constexpr int kNibble = 4;
  const bool nibbles = scheme.bits <= kNibble;
  if (scheme.scale_type != TensorType::kF16) {
    refuse(tensor, scheme, "its scales are BF16, and those of blocks are F16", "scales of F16");
  }
  if (tensor.cols % kBlock != 0) {
    refuse(tensor, scheme,
           fmt::format("rows of {} numbers are not whole blocks of {}", tensor.cols, kBlock),
           fmt::format("f16 for it (--protect {}=f16)", tensor.name));
  }
  if (scheme.method == Method::kHqq) {
    if (nibbles) return kQ4_1;
    refuse(tensor, scheme, "blocks with an offset have codes of 4 bits", "q8_0");
  }
  if (scheme.asymmetric) {
    refuse(tensor, scheme, "its blocks have no integer zero points",
           nibbles ? fmt::format("q4_1 or hqq-int{}-g32", scheme.bits) : "q8_0");
  }
  ISOGLOSS_ASSERT(nibbles || scheme.bits == 8);
  return nibbles ? kQ4_0 : kQ8_0;
}

TensorType assigned_type(const TensorView& tensor, const Scheme& scheme, TensorType stored) {
  const TensorKind kind = get_role_info(tensor.role).kind;
  const bool vector = kind == TensorKind::kNorm || kind == TensorKind::kBias;
  switch (scheme.kind) {
    case SchemeKind::kNone:
      return stored;
    case SchemeKind::kSeed:
      refuse(tensor, scheme, "its scale is F32, and those of blocks are F16",
             fmt::format("rtn-int{}-tensor, the same codes with a scale of F16", scheme.bits));
    case SchemeKind::kInteger:
    case SchemeKind::kGgml:
      break;
  }
  const bool plain = scheme.kind == SchemeKind::kGgml && scheme.type == TensorType::kF32;
  if (vector && !plain) {
    refuse(tensor, scheme, "llama.cpp wants norms and biases in F32", "f32, or leave it as it is");
  }
  return scheme.kind == SchemeKind::kGgml ? scheme.type : carrier(tensor, scheme);
}

}  // namespace

GgufFileType get_gguf_file_type(TensorType type) {
  const auto found =
      std::ranges::find(kFileTypes, static_cast<ggml_type>(type), &FileTypeRow::type);
  ISOGLOSS_ASSERT(found != kFileTypes.end());
  return {type, static_cast<uint32_t>(found->id), found->name};
}

bool is_directory(const Model& model) {
  std::error_code unreadable;
  return std::filesystem::is_directory(model.path(), unreadable);
}

bool keeps_f32(const TensorView& tensor) {
  const TensorKind kind = get_role_info(tensor.role).kind;
  return kind == TensorKind::kNorm || kind == TensorKind::kBias ||
         tensor.role == Role::kPositionEmbedding;
}

std::vector<TensorType> assigned_types(const Model& model, const Assignment& assignment) {
  ISOGLOSS_ASSERT(assignment.schemes.size() == model.tensors().size());
  const bool from_directory = is_directory(model);
  std::vector<TensorType> types;
  for (size_t i = 0; i < model.tensors().size(); ++i) {
    const TensorView& tensor = model.tensors()[i];
    // Products of codes and scales have more digits than scales.
    const bool as_f32 = from_directory && (keeps_f32(tensor) || tensor.packed);
    types.push_back(
        assigned_type(tensor, assignment.schemes[i], as_f32 ? TensorType::kF32 : tensor.type));
  }
  return types;
}

std::vector<TensorType> converted_types(const Model& model, TensorType type) {
  std::vector<TensorType> types;
  for (const TensorView& tensor : model.tensors()) {
    types.push_back(keeps_f32(tensor) ? TensorType::kF32 : type);
  }
  return types;
}

TensorType nominal_type(const Model& model, const std::vector<TensorType>& types) {
  std::map<TensorType, uint64_t> counts;
  for (size_t i = 0; i < types.size(); ++i) {
    const TensorView& tensor = model.tensors()[i];
    const RoleInfo& role = get_role_info(tensor.role);
    if (role.per_layer() && role.kind == TensorKind::kMatrix) counts[types[i]] += tensor.count();
  }
  ISOGLOSS_ASSERT(!counts.empty());
  return std::ranges::max_element(counts, {}, [](const auto& entry) { return entry.second; })
      ->first;
}

}  // namespace isogloss
