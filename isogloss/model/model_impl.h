// What the readers of both sources share.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "isogloss/model/model.h"

namespace isogloss {

Model read_gguf_model(const std::filesystem::path& path);
Model read_hf_model(const std::filesystem::path& directory);

// A tensor as a file lists it, before it has a role.
struct StoredTensor {
  std::vector<uint64_t> shape;  // outermost first
  TensorType type = TensorType::kF32;
  std::span<const std::byte> bytes;
  std::string name = {};  // in its file, where the key of StoredTensors is another
  std::shared_ptr<const PackedMatrix> packed = nullptr;  // in place of bytes, as in TensorView
};
using StoredTensors = std::map<std::string, StoredTensor, std::less<>>;

// config.json. The result is checked; config.roles says which tensors must be there.
ModelConfig read_hf_config(const std::filesystem::path& path);

// Every tensor of one safetensors file, causal masks and the like left out.
// `quantized`: integers are taken too, which are parts of packed matrices.
StoredTensors read_safetensors(const MappedFile& file, bool quantized);

struct HfWeights {
  std::string origin;  // the file, or the index of several
  std::vector<std::shared_ptr<const MappedFile>> files;
  StoredTensors tensors;
};
HfWeights read_hf_weights(const std::filesystem::path& directory, bool quantized);

enum class TensorNaming { kGguf, kHuggingFace };

// Gives every stored tensor its role: each of config.roles is filled, once per layer where it
// belongs to layers; nothing is left over; shapes follow from the config.
std::vector<TensorView> assign_roles(const std::string& path, const ModelConfig& config,
                                     const StoredTensors& stored, TensorNaming naming);

// Scales that follow from sizes: of queries by the head size, of Gemma's embeddings by the width.
void set_family_scales(ModelConfig& config);

// A window for each of config.layer_configs but every `full_period`th; 0: for all.
void set_layer_windows(ModelConfig& config, size_t window, size_t full_period);

// Checks of range and of one value against another; `path` names the source in messages.
// check_config includes check_sizes, which a reader calls before it allocates by layer.
void check_sizes(const std::string& path, const ModelConfig& config);
void check_config(const std::string& path, const ModelConfig& config);

// vocabulary.size() must be the rows of the embedding.
void check_vocabulary_size(const std::string& path, const ModelConfig& config,
                           const Vocabulary& vocabulary);

}  // namespace isogloss
