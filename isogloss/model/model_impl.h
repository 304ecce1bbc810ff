// What the readers of both sources share.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "isogloss/model/model.h"

namespace isogloss {

Model read_gguf_model(const std::filesystem::path& path);
Model read_hf_model(const std::filesystem::path& directory);

// A JSON object. Throws Error(kCorrupt), naming `path`, for text that is not one, for a key that is
// there twice, and for nesting so deep that recursion over it could overflow the stack.
nlohmann::json parse_json_object(std::string_view text, const std::string& path);

// tokenizer.json of Hugging Face's tokenizers: byte-level BPE with GPT-2's pre-tokenizer. Anything
// in it that would change token ids and is not understood is refused by name.
Vocabulary read_tokenizer_json(const std::filesystem::path& path);

// A tensor as a file lists it, before it has a role.
struct StoredTensor {
  std::vector<uint64_t> shape;  // outermost first
  TensorType type = TensorType::kF32;
  std::span<const std::byte> bytes;
};
using StoredTensors = std::map<std::string, StoredTensor, std::less<>>;

enum class TensorNaming { kGguf, kHuggingFace };

// Gives every stored tensor its role: each role of the family is filled once per layer, nothing is
// left over, and shapes follow from the config. Sets config.tied_head when there is no head.
std::vector<TensorView> assign_roles(const std::string& path, ModelConfig& config,
                                     const StoredTensors& stored, TensorNaming naming);

// Checks sizes for range and against each other; `path` names the source in messages.
void check_config(const std::string& path, const ModelConfig& config);

// vocabulary.size() must be the rows of the embedding.
void check_vocabulary_size(const std::string& path, const ModelConfig& config,
                           const Vocabulary& vocabulary);

}  // namespace isogloss
