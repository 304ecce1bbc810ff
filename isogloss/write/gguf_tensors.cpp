// What a GGUF file holds, and in which order.
#include <algorithm>

#include "isogloss/base/error.h"
#include "isogloss/write/gguf_impl.h"

namespace isogloss {
namespace {

constexpr const char* kFileTypeKey = "general.file_type";
constexpr const char* kVersionKey = "general.quantization_version";
constexpr uint32_t kQuantizationVersion = 2;  // GGML_QNT_VERSION of ggml.h

std::vector<GgufList> rotary_lists(const RopeConfig& rope) {
  if (rope.scaling == RopeScaling::kFactors) return {{"rope_freqs.weight", &rope.factors}};
  if (rope.scaling != RopeScaling::kLongRope) return {};
  return {{"rope_factors_long.weight", &rope.long_factors},
          {"rope_factors_short.weight", &rope.factors}};
}

GgufEntry entry_of(const Model& model, const TensorView& tensor, TensorType type) {
  const bool norms_of_heads = model.config().norm_per_head &&
                              (tensor.role == Role::kQueryNorm || tensor.role == Role::kKeyNorm);
  GgufEntry entry{tensor.name, {}, type};
  if (tensor.rows != 1 || norms_of_heads) entry.shape.push_back(tensor.rows);
  entry.shape.push_back(tensor.cols);
  return entry;
}

// What says how the source's numbers are stored or came to be, or how its bytes lie.
bool is_of_source(std::string_view key) {
  constexpr std::string_view kKeys[] = {kFileTypeKey, kVersionKey, "general.alignment"};
  constexpr std::string_view kPrefixes[] = {"split.", "quantize.imatrix.", "isogloss."};
  return std::ranges::find(kKeys, key) != std::end(kKeys) ||
         std::ranges::any_of(kPrefixes, [&](auto prefix) { return key.starts_with(prefix); });
}

std::vector<GgufPair> pairs_of_directory(const Model& model, uint32_t file_type) {
  std::vector<GgufPair> pairs;
  for (const auto& [key, value] : gguf_fields(model, file_type)) {
    pairs.push_back(gguf_pair(key, value));
  }
  return pairs;
}

std::vector<GgufPair> pairs_of_file(const Model& model, uint32_t file_type) {
  std::vector<GgufPair> pairs = read_gguf_pairs(model.path());
  std::erase_if(pairs, [](const GgufPair& pair) { return is_of_source(pair.key); });
  pairs.push_back(gguf_pair(kFileTypeKey, file_type));
  pairs.push_back(gguf_pair(kVersionKey, kQuantizationVersion));
  return pairs;
}

}  // namespace

GgufLayout gguf_layout(const Model& model, const std::vector<TensorType>& types,
                       const std::map<std::string, std::string>& provenance) {
  const uint32_t file_type = get_gguf_file_type(nominal_type(model, types)).id;
  auto pairs =
      is_directory(model) ? pairs_of_directory(model, file_type) : pairs_of_file(model, file_type);
  for (const auto& [key, value] : provenance) {
    std::erase_if(pairs, [&key = key](const GgufPair& pair) { return pair.key == key; });
    pairs.push_back(gguf_pair(key, value));
  }
  GgufLayout layout;
  layout.lists = rotary_lists(model.config().rope);
  for (size_t i = 0; i < types.size(); ++i) {
    layout.tensors.push_back(entry_of(model, model.tensors()[i], types[i]));
  }
  std::vector<GgufEntry> entries;
  for (const GgufList& list : layout.lists) {
    entries.push_back({std::string(list.name), {list.numbers->size()}, TensorType::kF32});
  }
  entries.insert(entries.end(), layout.tensors.begin(), layout.tensors.end());
  layout.head = gguf_head(pairs, entries);
  layout.file_bytes = layout.head.size();
  for (const GgufEntry& entry : entries) layout.file_bytes += entry.padded_bytes();
  return layout;
}

}  // namespace isogloss
