// GPTQ's layout, version 1: GPTQModel, nn_modules/qlinear/__init__.py and quantization/config.py.
// packed_impl.h has the tensors.
#include <algorithm>

#include "isogloss/base/error.h"
#include "isogloss/write/directory_impl.h"

namespace isogloss {
namespace {

using Json = nlohmann::ordered_json;

// "group_size" of one group for all inputs.
constexpr int64_t kNoGroups = -1;

int64_t group_size_of(const CodeFormat& format) {
  return format.group_size == 0 ? kNoGroups : static_cast<int64_t>(format.group_size);
}

Json rule_config(const CodeFormat& format) {
  return {
      {"bits", format.bits}, {"group_size", group_size_of(format)}, {"sym", !format.asymmetric}};
}

// What version 1 holds of a zero point. Readers add 1 and do not agree on what follows when that
// overflows (AutoGPTQ masks, exllama does not, GPTQModel carries into the neighbour): a zero point
// of 0 has no code.
uint32_t stored_zero(const ModuleCodes& codes, const TensorView& view, size_t row, size_t group) {
  const uint32_t zero = codes.zero(row, group);
  if (zero > 0) return zero - 1;
  if (codes.is_zero(row, group)) return 0;
  fail(ErrorCode::kUnsupported,
       "tensor '{}': the zero point of row {}, group {} is 0 (no weight of it is below 0), and "
       "version 1 of GPTQ's layout begins at 1; use a symmetric scheme, or compressed-tensors",
       view.hf_name, row, group);
}

std::vector<uint32_t> pack_zeros(const ModuleCodes& codes, const TensorView& view) {
  const size_t words = packed_words(codes.rows(), codes.bits());
  std::vector<uint32_t> zeros(codes.groups() * words);
  for (size_t group = 0; group < codes.groups(); ++group) {
    pack_line(
        codes.rows(), codes.bits(),
        [&](size_t row) { return stored_zero(codes, view, row, group); }, &zeros[group * words], 1);
  }
  return zeros;
}

}  // namespace

std::vector<SafetensorsEntry> gptq_entries(const TensorView& view, const CodeFormat& format) {
  const std::string module = module_of(view.hf_name);
  const size_t groups = format.group_size == 0 ? 1 : view.cols / format.group_size;
  return {
      {module + ".qweight", TensorType::kI32, {packed_words(view.cols, format.bits), view.rows}},
      {module + ".qzeros", TensorType::kI32, {groups, packed_words(view.rows, format.bits)}},
      {module + ".scales", TensorType::kF16, {groups, view.rows}},
      {module + ".g_idx", TensorType::kI32, {view.cols}}};
}

std::vector<Bytes> gptq_bytes(const ModuleCodes& codes, const TensorView& view) {
  std::vector<uint32_t> weight(packed_words(codes.cols(), codes.bits()) * codes.rows());
  std::vector<uint16_t> scales(codes.groups() * codes.rows());
#pragma omp parallel for schedule(static)
  for (size_t row = 0; row < codes.rows(); ++row) {
    const uint8_t* line = codes.codes(row);
    pack_line(
        codes.cols(), codes.bits(), [&](size_t i) { return line[i]; }, &weight[row], codes.rows());
    for (size_t group = 0; group < codes.groups(); ++group) {
      scales[group * codes.rows() + row] = codes.scale(row, group, TensorType::kF16);
    }
  }
  std::vector<int32_t> group_index;
  for (size_t col = 0; col < codes.cols(); ++col) {
    group_index.push_back(static_cast<int32_t>(col / codes.group_size()));
  }
  return {as_bytes_of(weight), as_bytes_of(pack_zeros(codes, view)), as_bytes_of(scales),
          as_bytes_of(group_index)};
}

Json gptq_config(const Model& model, const CodeFormats& formats) {
  const std::vector<FormatModules> groups = by_format(model, formats);
  // The rule for most modules; of several, the first.
  const auto base = std::ranges::max_element(groups, {}, [](const FormatModules& group) {
    return group.format ? group.tensors.size() : 0;
  });
  Json rules = Json::object();
  for (const auto& [format, tensors] : groups) {
    if (format == base->format) continue;
    for (const std::string& pattern : module_patterns(model, tensors)) {
      rules[(format ? "+:.*" : "-:.*") + pattern] = format ? rule_config(*format) : Json::object();
    }
  }
  for (const std::string& name : projection_modules(model)) {
    rules["-:.*" + escaped(name) + "$"] = Json::object();
  }
  Json config = rule_config(*base->format);
  config.update({{"desc_act", false},
                 {"lm_head", false},
                 {"quant_method", "gptq"},
                 {"checkpoint_format", "gptq"},
                 {"pack_dtype", "int32"},
                 {"dynamic", std::move(rules)},
                 {"meta", {{"quantizer", {"isogloss:" ISOGLOSS_VERSION}}}}});
  return config;
}

}  // namespace isogloss
