// What llama-quantize must be told to make the same types. How it reads its options:
// tools/quantize/quantize.cpp and src/llama-quant.cpp of llama.cpp.
#include <ggml.h>

#include <algorithm>
#include <array>

#include "isogloss/base/error.h"
#include "isogloss/write/gguf_impl.h"
#include "isogloss/write/write.h"

namespace isogloss {
namespace {

// tensor_allows_quantization, as far as it is about tensors that have a role here.
bool is_quantizable(const TensorView& tensor) {
  const TensorKind kind = get_role_info(tensor.role).kind;
  return tensor.rows > 1 && kind != TensorKind::kNorm && kind != TensorKind::kBias &&
         tensor.role != Role::kPositionEmbedding;
}

// tensor_requires_imatrix, and what ggml's encoders themselves demand.
bool requires_imatrix(TensorType type) {
  constexpr std::array kTypes = {GGML_TYPE_IQ3_XXS, GGML_TYPE_IQ2_XXS, GGML_TYPE_IQ2_XS,
                                 GGML_TYPE_IQ2_S,   GGML_TYPE_IQ1_M,   GGML_TYPE_IQ1_S};
  return std::ranges::find(kTypes, static_cast<ggml_type>(type)) != kTypes.end();
}

void check_source(const Model& model) {
  if (is_directory(model)) {
    fail(ErrorCode::kUnsupported,
         "{}: is a directory, and llama-quantize reads GGUF files; isogloss convert makes one of "
         "it",
         model.path().string());
  }
  const FamilyInfo& family = get_family_info(model.config().family);
  if (!family.in_llama_cpp) {
    fail(ErrorCode::kUnsupported, "{}: llama.cpp has no architecture '{}'", model.path().string(),
         family.gguf_name);
  }
}

TensorType target_type(const TensorView& tensor, const Scheme& scheme) {
  if (scheme.kind == SchemeKind::kNone) return tensor.type;
  if (scheme.kind != SchemeKind::kGgml) {
    fail(ErrorCode::kUnsupported,
         "tensor '{}': {} is no type of ggml, and llama-quantize makes only those", tensor.name,
         to_string(scheme));
  }
  if (scheme.type != tensor.type && !is_quantizable(tensor)) {
    fail(ErrorCode::kUnsupported,
         "tensor '{}': llama-quantize leaves it as it is, and the scheme is {}; protect it",
         tensor.name, to_string(scheme));
  }
  return scheme.type;
}

std::vector<TensorType> target_types(const Model& model, const Assignment& assignment) {
  ISOGLOSS_ASSERT(assignment.schemes.size() == model.tensors().size());
  check_source(model);
  std::vector<TensorType> types;
  for (size_t i = 0; i < model.tensors().size(); ++i) {
    types.push_back(target_type(model.tensors()[i], assignment.schemes[i]));
  }
  return types;
}

std::string escaped(std::string_view name) {
  std::string pattern;
  for (const char letter : name) {
    if (letter == '.') pattern += '\\';
    pattern += letter;
  }
  return pattern;
}

void check_imatrix(const Model& model, const std::vector<TensorType>& types) {
  for (size_t i = 0; i < types.size(); ++i) {
    const TensorView& tensor = model.tensors()[i];
    if (types[i] == tensor.type || !requires_imatrix(types[i])) continue;
    fail(ErrorCode::kBadArgument,
         "tensor '{}': llama-quantize makes {} only with an importance matrix (--imatrix)",
         tensor.name, get_tensor_type_info(types[i]).name);
  }
}

bool requantizes(const Model& model, const std::vector<TensorType>& types) {
  for (size_t i = 0; i < types.size(); ++i) {
    const TensorType stored = model.tensors()[i].type;
    if (types[i] != stored && get_tensor_type_info(stored).quantized) return true;
  }
  return false;
}

}  // namespace

std::vector<std::string> llama_quantize_arguments(const Model& model, const Assignment& assignment,
                                                  const std::string& tensor_type_file,
                                                  const std::string& output,
                                                  const std::string& imatrix) {
  const std::vector<TensorType> types = target_types(model, assignment);
  std::vector<std::string> arguments;
  const auto add = [&](auto... words) { (arguments.emplace_back(words), ...); };
  if (requantizes(model, types)) add("--allow-requantize");
  if (imatrix.empty()) {
    check_imatrix(model, types);
  } else {
    add("--imatrix", imatrix);
  }
  const GgufFileType file_type = get_gguf_file_type(nominal_type(model, types));
  std::string_view name = file_type.name;
  if (name.empty() || !get_tensor_type_info(file_type.type).quantized) {
    // It heeds types of single tensors only where the file's is a quantized one.
    name = "Q8_0";
    add("--override-kv", fmt::format("general.file_type=int:{}", file_type.id));
  }
  add("--tensor-type-file", tensor_type_file, model.path().string(), output, std::string(name));
  return arguments;
}

std::string tensor_type_file(const Model& model, const Assignment& assignment) {
  const std::vector<TensorType> types = target_types(model, assignment);
  std::string lines;
  for (size_t i = 0; i < types.size(); ++i) {
    const TensorView& tensor = model.tensors()[i];
    if (!is_quantizable(tensor)) continue;
    lines += fmt::format("^{}$={}\n", escaped(tensor.name), get_tensor_type_info(types[i]).name);
  }
  return lines;
}

}  // namespace isogloss
