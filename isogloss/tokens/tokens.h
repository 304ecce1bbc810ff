// Tokens: text to token ids, for every model source: as a tokenizer.json says, or by llama.cpp's
// tokenizers.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "isogloss/text/text.h"

namespace isogloss {

// What a token is; the values are GGUF's `tokenizer.ggml.token_type`.
enum class TokenType : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

struct Pipeline;  // private to this folder

// A tokenizer as plain data, whatever file it came from. Names follow GGUF's tokenizer.ggml.* keys.
struct Vocabulary {
  std::string model;                // "gpt2": byte-level BPE; "llama": SentencePiece; "t5": Unigram
  std::string pre;                  // pre-tokenizer, as llama.cpp names it; "": it has none like it
  std::vector<std::string> tokens;  // by id
  std::vector<float> scores;        // SentencePiece and Unigram: one a token; else empty
  std::vector<TokenType> types;     // one a token
  std::vector<std::string> merges;  // byte-level BPE: "left right" in order of rank; else empty
  std::optional<int32_t> bos, eos, unknown, padding;
  std::optional<bool> add_bos, add_eos, add_space_prefix;  // absent: llama.cpp's default
  std::optional<bool> remove_extra_whitespaces;            // Unigram
  std::string precompiled_charsmap;                        // Unigram: bytes; else empty
  std::string chat_template;  // Jinja, for programs that chat; "": none
  // How a tokenizer.json says text is cut; null: llama.cpp's tokenizer for `model` and `pre`.
  std::shared_ptr<const Pipeline> pipeline;

  size_t size() const { return tokens.size(); }
};

// tokenizer.json of Hugging Face's tokenizers, with what a tokenizer_config.json beside it says
// about special tokens and chat. Ids are the same as by tokenizers 0.23; what would change ids and
// is not understood is refused by file and field (kUnsupported), as is an id that its file gives
// and tokenizers does not (kCorrupt). truncation, padding and decoder are not read: they are about
// batches and about text from ids.
Vocabulary read_tokenizer_json(const std::filesystem::path& path);

// Encodes text as the model's own tokenizer would. Thread-safe.
class Tokenizer {
 public:
  // Throws Error when the vocabulary contradicts itself (lists of different length, a special id or
  // a merge that is no token) or, where it has no pipeline, llama.cpp does not know its kind.
  // `origin` names it in messages.
  Tokenizer(const Vocabulary& vocabulary, const std::string& origin);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // Token ids of `text`, with the special tokens that the tokenizer's own rule puts around every
  // text. Special tokens spelled out in `text` are read as plain text.
  std::vector<int32_t> encode(std::string_view text) const;

  // The token that the tokenizer's rule puts before every text, if it does.
  std::optional<int32_t> bos() const;

  // UTF-8 bytes that `token` stands for; 0 for special tokens.
  size_t piece_bytes(int32_t token) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// One sequence the model reads from an empty context, and which of its positions count.
struct Sequence {
  std::vector<int32_t> tokens;
  size_t first_scored = 1;  // the first position whose token is predicted and scored; at least 1
  size_t bytes = 0;         // UTF-8 bytes of the text of the scored tokens

  size_t scored() const { return tokens.size() - first_scored; }
};

// The corpus of one language as sequences: sequence i is unit unit_ids[i].
struct TokenizedLanguage {
  std::string code;
  std::vector<std::string> unit_ids;
  std::vector<Sequence> sequences;
};

struct TokenizedCorpus {
  std::string name;
  bool parallel = true;
  std::vector<TokenizedLanguage> languages;
};

// Every unit becomes a sequence; all tokens after the first are scored (so that the first token of
// the text counts where the tokenizer puts a BOS before it). Throws Error(kBadArgument) when a unit
// has more than `context_length` tokens or fewer than two.
TokenizedCorpus tokenize(const Corpus& corpus, const Tokenizer& tokenizer, size_t context_length);

// The way llama-perplexity reads text: each language's lines are joined by newlines, tokenized
// once, and cut into windows of `window` tokens whose first token is replaced by BOS where there is
// one; the tokens after place `window / 2` of each window are scored (window / 2 - 1 of an even
// one), and an incomplete window is dropped. A unit is then a window, and nothing is parallel.
// `bytes` counts the tokens' own bytes.
TokenizedCorpus tokenize_windows(const Corpus& corpus, const Tokenizer& tokenizer, size_t window);

}  // namespace isogloss
