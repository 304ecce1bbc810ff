// "quantization_config" of a config.json, of the quantizers whose codes are read.
#include "isogloss/base/error.h"
#include "isogloss/base/file.h"
#include "isogloss/base/json.h"
#include "isogloss/model/packed_impl.h"

namespace isogloss {
namespace {

[[noreturn]] void not_read(const JsonObject& config, std::string_view what,
                           const std::string& found, std::string_view expected) {
  fail(ErrorCode::kUnsupported,
       "{}: {} is {}; read is {}. Another quantizer's directory can be read after a conversion to "
       "GGUF, or use the unquantized model",
       config.path(), what, found, expected);
}

void add_bits(const JsonObject& config, const char* key, const std::set<size_t>& read,
              std::set<int>& bits) {
  const size_t found = config.get_size(key);
  if (!read.contains(found)) {
    not_read(config, fmt::format("\"{}\"", key), fmt::format("{}", found),
             fmt::format("{}", fmt::join(read, ", ")));
  }
  bits.insert(static_cast<int>(found));
}

void expect(const JsonObject& config, const char* key, const std::string& expected) {
  const std::string found = config.get_string_or(key, expected);
  if (found != expected) not_read(config, fmt::format("\"{}\"", key), found, expected);
}

Packing read_compressed_tensors(const JsonObject& config) {
  Packing packing;
  expect(config, "format", "pack-quantized");
  const JsonObject groups = config.get_object("config_groups");
  for (const auto& [name, unused] : groups.value().items()) {
    const JsonObject group = groups.get_object(name.c_str());
    expect(group, "format", "pack-quantized");
    for (const char* key : {"input_activations", "output_activations"}) {
      if (!group.has(key)) continue;
      not_read(group, fmt::format("\"{}\"", key), "set", "a model whose weights alone are codes");
    }
    const JsonObject weights = group.get_object("weights");
    expect(weights, "type", "int");
    add_bits(weights, "num_bits", {4, 8}, packing.bits);
  }
  return packing;
}

// "dynamic": rules by pattern; what they say of bits is all that is needed.
void add_rules(const JsonObject& config, const std::set<size_t>& read, Packing& packing) {
  const auto rules = config.find_object("dynamic");
  if (!rules) return;
  for (const auto& [pattern, unused] : rules->value().items()) {
    const JsonObject rule = rules->get_object(pattern.c_str());
    if (rule.has("bits")) add_bits(rule, "bits", read, packing.bits);
  }
}

Packing read_gptq(const JsonObject& config) {
  Packing packing{PackedLayout::kGptq, {}, 0};
  const std::string format = config.get_string_or("checkpoint_format", "gptq");
  if (format != "gptq" && format != "gptq_v2") {
    not_read(config, "\"checkpoint_format\"", format, "gptq or gptq_v2");
  }
  packing.zero_shift = format == "gptq" ? 1 : 0;
  const std::set<size_t> read = {2, 3, 4, 8};
  add_bits(config, "bits", read, packing.bits);
  add_rules(config, read, packing);
  return packing;
}

}  // namespace

std::optional<Packing> read_packing(const std::filesystem::path& config_json) {
  const auto file = JsonObject::parse(read_text_file(config_json), config_json.string());
  const auto config = file.find_object("quantization_config");
  if (!config) return std::nullopt;
  const std::string method = config->get_string("quant_method");
  if (method == "compressed-tensors") return read_compressed_tensors(*config);
  if (method == "gptq") return read_gptq(*config);
  not_read(*config, "\"quant_method\"", method, "compressed-tensors or gptq");
}

}  // namespace isogloss
