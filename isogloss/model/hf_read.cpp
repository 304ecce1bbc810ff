// Hugging Face directories: config.json, safetensors, tokenizer.json.
#include <algorithm>

#include "isogloss/base/error.h"
#include "isogloss/model/model_impl.h"
#include "isogloss/model/packed_impl.h"

namespace isogloss {
namespace {

constexpr float kUnusedTokenScore = -10000;  // as llama.cpp's converter gives such tokens

// Rows of the embedding past the tokenizer's tokens get names that no text can produce.
void pad_vocabulary(const std::string& path, const ModelConfig& config, Vocabulary& vocabulary) {
  if (vocabulary.size() > config.vocab_size) {
    fail(ErrorCode::kMismatch, "{}: the tokenizer has {} tokens, the embedding {} rows", path,
         vocabulary.size(), config.vocab_size);
  }
  while (vocabulary.size() < config.vocab_size) {
    vocabulary.tokens.push_back(fmt::format("[PAD{}]", vocabulary.size()));
    vocabulary.types.push_back(TokenType::kUnused);
    if (!vocabulary.scores.empty()) vocabulary.scores.push_back(kUnusedTokenScore);
  }
}

// Files saved with a head begin names with the module that holds the decoder ("transformer.").
StoredTensors without_prefix(const std::string& path, StoredTensors stored, HfNaming naming) {
  const std::string_view prefix = hf_prefix(naming);
  // Facebook's first OPT files leave out "model.".
  const std::string_view short_prefix = naming == HfNaming::kOpt ? "decoder." : prefix;
  StoredTensors named;
  for (auto& [name, tensor] : stored) {
    std::string_view stem = name;
    if (stem.starts_with(prefix)) {
      stem.remove_prefix(prefix.size());
    } else if (stem.starts_with(short_prefix)) {
      stem.remove_prefix(short_prefix.size());
    }
    tensor.name = name;
    if (!named.emplace(stem, tensor).second) {
      fail(ErrorCode::kCorrupt, "{}: tensor '{}' is there twice, with and without '{}'", path, stem,
           prefix);
    }
  }
  return named;
}

// What is left of a quantizer's layout that is not known.
void refuse_integers(const std::string& path, const StoredTensors& stored) {
  for (const auto& [name, tensor] : stored) {
    if (tensor.type != TensorType::kI32 && tensor.type != TensorType::kI64) continue;
    fail(ErrorCode::kUnsupported,
         "{}: tensor '{}' has dtype {}, and is no part of the layout that config.json's "
         "\"quantization_config\" names",
         path, name, tensor.type == TensorType::kI32 ? "I32" : "I64");
  }
}

// A tied head that is stored all the same must be the embedding.
void drop_tied_head(const std::string& path, const ModelConfig& config, StoredTensors& stored) {
  const auto name_of = [&](Role role) {
    return hf_tensor_name(get_role_info(role), config.family, kNoLayer);
  };
  const auto head = stored.find(name_of(Role::kHead));
  const auto embedding = stored.find(name_of(Role::kTokenEmbedding));
  if (!config.tied_head || head == stored.end() || embedding == stored.end()) return;
  if (head->second.packed || !std::ranges::equal(head->second.bytes, embedding->second.bytes)) {
    fail(ErrorCode::kMismatch,
         "{}: tensors '{}' and '{}' differ, and \"tie_word_embeddings\" says they are one", path,
         head->second.name, embedding->second.name);
  }
  stored.erase(head);
}

}  // namespace

Model read_hf_model(const std::filesystem::path& directory) {
  ModelConfig config = read_hf_config(directory / "config.json");
  config.name = directory.filename().empty() ? directory.parent_path().filename().string()
                                             : directory.filename().string();
  const auto packing = read_packing(directory / "config.json");
  HfWeights weights = read_hf_weights(directory, packing.has_value());
  StoredTensors stored = without_prefix(weights.origin, std::move(weights.tensors),
                                        get_family_info(config.family).naming);
  if (packing) stored = join_packed(weights.origin, *packing, std::move(stored));
  refuse_integers(weights.origin, stored);
  drop_tied_head(weights.origin, config, stored);
  auto tensors = assign_roles(weights.origin, config, stored, TensorNaming::kHuggingFace);
  Vocabulary vocabulary = read_tokenizer_json(directory / "tokenizer.json");
  pad_vocabulary(directory.string(), config, vocabulary);
  return {directory, std::move(config), std::move(vocabulary), std::move(tensors),
          std::move(weights.files)};
}

}  // namespace isogloss
