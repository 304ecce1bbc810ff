// llama.cpp's tokenizers, for vocabularies that come without a pipeline.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "isogloss/tokens/tokens.h"

struct llama_model;
struct llama_vocab;

namespace isogloss {

class LlamaTokenizer {
 public:
  // Throws as Tokenizer does.
  LlamaTokenizer(const Vocabulary& vocabulary, const std::string& origin);

  std::vector<int32_t> encode(std::string_view text) const;
  std::optional<int32_t> bos() const;
  size_t piece_bytes(int32_t token) const;

 private:
  struct ModelDeleter {
    void operator()(llama_model* model) const;
  };
  std::unique_ptr<llama_model, ModelDeleter> model_;
  const llama_vocab* vocab_ = nullptr;
  std::string origin_;
};

}  // namespace isogloss
