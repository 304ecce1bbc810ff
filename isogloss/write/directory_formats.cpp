// Which matrices of a model a directory can hold as codes.
#include <algorithm>
#include <array>

#include "isogloss/base/error.h"
#include "isogloss/write/directory_impl.h"
#include "isogloss/write/gguf_impl.h"

namespace isogloss {
namespace {

constexpr size_t kGptqMultiple = 32;  // of outputs and inputs: whole words of codes of any width

void check_source(const WriteRequest& request) {
  const Model& model = *request.model;
  const std::string_view format = to_string(request.format);
  if (!is_directory(model)) {
    fail(ErrorCode::kUnsupported,
         "{}: is a GGUF file; {} is written from a Hugging Face directory, whose configuration, "
         "tokenizer and names of tensors it repeats",
         model.path().string(), format);
  }
  for (const TensorView& view : model.tensors()) {
    if (!view.packed) continue;
    fail(ErrorCode::kUnsupported,
         "{}: tensor '{}' is quantized already ({}); {} is written from an unquantized model",
         model.path().string(), view.hf_name, view.type_name(), format);
  }
}

class FormatChooser {
 public:
  explicit FormatChooser(const WriteRequest& request)
      : format_(request.format),
        family_(request.model->config().family),
        scale_type_(scale_type(*request.model, request.format)) {}

  CodeFormat choose(const TensorView& view, const Scheme& scheme) const {
    check_tensor(view, scheme);
    check_scheme(view, scheme);
    if (format_ == FileFormat::kGptq) check_multiples(view, scheme);
    const bool grouped = scheme.granularity == Granularity::kGroup;
    return {scheme.bits, grouped ? scheme.group_size : 0, scheme.asymmetric};
  }

 private:
  [[noreturn]] void refuse(const TensorView& view, const Scheme& scheme,
                           const std::string& reason) const {
    fail(ErrorCode::kUnsupported, "tensor '{}': {} cannot be stored as {}: {}", view.hf_name,
         to_string(scheme), to_string(format_), reason);
  }

  void check_tensor(const TensorView& view, const Scheme& scheme) const {
    const RoleInfo& role = get_role_info(view.role);
    if (role.kind != TensorKind::kMatrix || !role.per_layer()) {
      refuse(view, scheme,
             "only the matrices of the blocks are stored as codes; embeddings, head, norms and "
             "biases stay as they are (GGUF can hold them quantized)");
    }
    if (family_ == Family::kGpt2 && format_ == FileFormat::kCompressedTensors) {
      refuse(view, scheme,
             "transformers computes GPT-2's matrices with Conv1D, and compressed-tensors knows "
             "Linear alone; the formats gptq and gguf hold them");
    }
  }

  void check_scheme(const TensorView& view, const Scheme& scheme) const {
    if (scheme.kind == SchemeKind::kGgml) {
      refuse(view, scheme,
             "it is a type of ggml, which GGUF files hold; use rtn-int4-g128 or such");
    }
    if (scheme.kind == SchemeKind::kSeed) {
      refuse(view, scheme, "its scale is a number of 32 bits; use rtn-int4-tensor or such");
    }
    if (scheme.method == Method::kHqq) {
      refuse(view, scheme,
             "its offsets are real numbers, and zero points are integers there; GGUF holds it as "
             "q4_1");
    }
    const bool wide = scheme.bits == 4 || scheme.bits == 8;
    if (!wide && format_ == FileFormat::kCompressedTensors) {
      refuse(view, scheme, "runtimes read codes of 4 and 8 bits; gptq holds 2 and 3 bits too");
    }
    if (scheme.scale_type != scale_type_) {
      refuse(view, scheme,
             fmt::format("its scales are {}, expected {}",
                         get_tensor_type_info(scheme.scale_type).name,
                         get_tensor_type_info(scale_type_).name));
    }
  }

  void check_multiples(const TensorView& view, const Scheme& scheme) const {
    if (view.rows % kGptqMultiple == 0 && view.cols % kGptqMultiple == 0) return;
    refuse(
        view, scheme,
        fmt::format("the matrix is {} x {}, and both must be multiples of {}; protect it, or use "
                    "compressed-tensors or gguf",
                    view.rows, view.cols, kGptqMultiple));
  }

  FileFormat format_;
  Family family_;
  TensorType scale_type_;
};

std::string format_text(const std::optional<CodeFormat>& format) {
  return format ? to_string(*format) : "unquantized";
}

// Matrices that vLLM multiplies by as one.
constexpr std::array<std::array<Role, 3>, 2> kJoined = {
    {{Role::kQuery, Role::kKey, Role::kValue}, {Role::kFfnGate, Role::kFfnUp, Role::kFfnUp}}};

void check_joined(const Model& model, const CodeFormats& formats) {
  for (size_t layer = 0; layer < model.config().layers; ++layer) {
    for (const auto& roles : kJoined) {
      const auto first = model.find_tensor(roles[0], layer);
      if (!first) continue;
      for (const Role role : roles) {
        const auto other = model.find_tensor(role, layer);
        if (!other || formats[*other] == formats[*first]) continue;
        fail(ErrorCode::kUnsupported,
             "tensors '{}' ({}) and '{}' ({}) differ: vLLM multiplies by q, k and v as one matrix, "
             "and by gate and up, and reads one format for it; give them one scheme, or use gguf",
             model.tensors()[*first].hf_name, format_text(formats[*first]),
             model.tensors()[*other].hf_name, format_text(formats[*other]));
      }
    }
  }
}

}  // namespace

std::string to_string(const CodeFormat& format) {
  const std::string shared =
      format.group_size == 0 ? "channel" : fmt::format("g{}", format.group_size);
  return fmt::format("int{} {}{}", format.bits, shared, format.asymmetric ? " asym" : "");
}

CodeFormats code_formats(const WriteRequest& request) {
  check_source(request);
  const Model& model = *request.model;
  const auto& schemes = request.assignment->schemes;
  ISOGLOSS_ASSERT(schemes.size() == model.tensors().size());
  const FormatChooser chooser(request);
  CodeFormats formats(schemes.size());
  for (size_t i = 0; i < schemes.size(); ++i) {
    if (schemes[i].kind == SchemeKind::kNone) continue;
    formats[i] = chooser.choose(model.tensors()[i], schemes[i]);
  }
  check_joined(model, formats);
  return formats;
}

}  // namespace isogloss
