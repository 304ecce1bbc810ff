// compressed-tensors' "pack-quantized": compressors/pack_quantized/helpers.py and
// quantization/quant_config.py of that project. packed_impl.h has the tensors.
#include "isogloss/write/directory_impl.h"

namespace isogloss {
namespace {

using Json = nlohmann::ordered_json;

size_t groups_of(const TensorView& view, const CodeFormat& format) {
  return format.group_size == 0 ? 1 : view.cols / format.group_size;
}

Json weights_config(const CodeFormat& format) {
  const bool grouped = format.group_size != 0;
  return {{"num_bits", format.bits},
          {"type", "int"},
          {"symmetric", !format.asymmetric},
          {"strategy", grouped ? "group" : "channel"},
          {"group_size", grouped ? Json(format.group_size) : Json(nullptr)},
          {"dynamic", false},
          {"actorder", nullptr},
          {"block_structure", nullptr},
          {"observer", "minmax"},
          {"observer_kwargs", Json::object()}};
}

constexpr const char* kFormatName = "pack-quantized";
constexpr const char* kHead = "lm_head";

Json group_config(const CodeFormat& format, const std::vector<std::string>& patterns) {
  Json targets = Json::array();
  for (const std::string& pattern : patterns) targets.push_back("re:.*" + pattern);
  return {{"format", kFormatName},
          {"targets", std::move(targets)},
          {"weights", weights_config(format)},
          {"input_activations", nullptr},
          {"output_activations", nullptr}};
}

}  // namespace

std::vector<SafetensorsEntry> compressed_tensors_entries(const TensorView& view,
                                                         const CodeFormat& format,
                                                         TensorType scales) {
  const std::string module = module_of(view.hf_name);
  const size_t groups = groups_of(view, format);
  std::vector<SafetensorsEntry> entries = {{module + ".weight_packed",
                                            TensorType::kI32,
                                            {view.rows, packed_words(view.cols, format.bits)}},
                                           {module + ".weight_scale", scales, {view.rows, groups}},
                                           {module + ".weight_shape", TensorType::kI64, {2}}};
  if (format.asymmetric) {
    entries.push_back({module + ".weight_zero_point",
                       TensorType::kI32,
                       {packed_words(view.rows, format.bits), groups}});
  }
  return entries;
}

std::vector<Bytes> compressed_tensors_bytes(const ModuleCodes& codes, const CodeFormat& format,
                                            TensorType scales) {
  const size_t words = packed_words(codes.cols(), codes.bits());
  std::vector<uint32_t> packed(codes.rows() * words);
  std::vector<uint16_t> scale(codes.rows() * codes.groups());
#pragma omp parallel for schedule(static)
  for (size_t row = 0; row < codes.rows(); ++row) {
    const uint8_t* line = codes.codes(row);
    pack_line(
        codes.cols(), codes.bits(), [&](size_t i) { return line[i]; }, &packed[row * words], 1);
    for (size_t group = 0; group < codes.groups(); ++group) {
      scale[row * codes.groups() + group] = codes.scale(row, group, scales);
    }
  }
  const std::vector<int64_t> shape = {static_cast<int64_t>(codes.rows()),
                                      static_cast<int64_t>(codes.cols())};
  std::vector<Bytes> bytes = {as_bytes_of(packed), as_bytes_of(scale), as_bytes_of(shape)};
  if (!format.asymmetric) return bytes;
  std::vector<uint32_t> zeros(packed_words(codes.rows(), codes.bits()) * codes.groups());
  for (size_t group = 0; group < codes.groups(); ++group) {
    pack_line(
        codes.rows(), codes.bits(), [&](size_t row) { return codes.zero(row, group); },
        &zeros[group], codes.groups());
  }
  bytes.push_back(as_bytes_of(zeros));
  return bytes;
}

Json compressed_tensors_config(const Model& model, const CodeFormats& formats) {
  Json groups = Json::object();
  for (const auto& [format, tensors] : by_format(model, formats)) {
    if (!format) continue;
    groups[fmt::format("group_{}", groups.size())] =
        group_config(*format, module_patterns(model, tensors));
  }
  Json ignore = Json::array();
  for (const auto& [tensor, name] : block_modules(model)) {
    if (!formats[tensor]) ignore.push_back(name);
  }
  for (const std::string& name : projection_modules(model)) ignore.push_back(name);
  // transformers gives GPT-NeoX's head, which files name embed_out, the name of the others.
  const std::string head = head_module(model);
  if (head != kHead) ignore.push_back(head);
  ignore.push_back(kHead);
  return {{"quant_method", "compressed-tensors"}, {"format", kFormatName},
          {"quantization_status", "compressed"},  {"global_compression_ratio", nullptr},
          {"kv_cache_scheme", nullptr},           {"config_groups", std::move(groups)},
          {"ignore", std::move(ignore)}};
}

}  // namespace isogloss
