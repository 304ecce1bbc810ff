// The vocabulary goes to llama.cpp as an in-memory GGUF without tensors,
// so that both model sources take one path, and only after every check that llama.cpp would abort
// on.
#include <gguf.h>
#include <llama.h>

#include <limits>
#include <mutex>
#include <string>
#include <unordered_set>

#include "isogloss/base/error.h"
#include "isogloss/tokens/llama_tokenizer_impl.h"

namespace isogloss {
namespace {

struct GgufDeleter {
  void operator()(gguf_context* context) const { gguf_free(context); }
};

// The first error line that llama.cpp logged on this thread since it was cleared: later ones only
// say that loading failed. Everything else it logs is dropped.
thread_local std::string first_error;

void keep_errors(ggml_log_level level, const char* text, void*) {
  if (level != GGML_LOG_LEVEL_ERROR || !first_error.empty()) return;
  first_error = text;
  if (first_error.ends_with('\n')) first_error.pop_back();
}

void check_token_lists(const Vocabulary& vocabulary, const std::string& origin) {
  const size_t count = vocabulary.size();
  if (count == 0) fail(ErrorCode::kCorrupt, "{}: the tokenizer has no tokens", origin);
  if (vocabulary.types.size() != count) {
    fail(ErrorCode::kCorrupt, "{}: tokenizer has {} token types for {} tokens", origin,
         vocabulary.types.size(), count);
  }
  const size_t scores = vocabulary.model == "llama" ? count : 0;
  if (vocabulary.scores.size() != scores) {
    fail(ErrorCode::kCorrupt, "{}: tokenizer '{}' has {} token scores, expected {}", origin,
         vocabulary.model, vocabulary.scores.size(), scores);
  }
}

// llama.cpp aborts unless all tokens differ, once it has cut them at a NUL and named the empty
// ones.
void check_token_texts(const Vocabulary& vocabulary, const std::string& origin) {
  // Decoding a token that is not byte-level text takes memory that grows with the square of its
  // size.
  constexpr uint64_t kMostSquares = uint64_t{1} << 28;
  uint64_t squares = 0;
  std::unordered_set<std::string> seen;
  for (size_t id = 0; id < vocabulary.size(); ++id) {
    const std::string& token = vocabulary.tokens[id];
    if (token.find('\0') != token.npos) {
      fail(ErrorCode::kCorrupt, "{}: token {} holds a NUL byte", origin, id);
    }
    squares += uint64_t{token.size()} * token.size();
    if (squares > kMostSquares) {
      fail(ErrorCode::kUnsupported,
           "{}: token {} has {} bytes; so many and so long tokens are not read", origin, id,
           token.size());
    }
    if (!seen.insert(token.empty() ? fmt::format("[EMPTY_{}]", id) : token).second) {
      fail(ErrorCode::kCorrupt, "{}: token {} '{}' is in the vocabulary twice", origin, id, token);
    }
  }
}

bool is_byte_token(std::string_view token) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  return token.size() == 6 && token.substr(0, 3) == "<0x" && token[5] == '>' &&
         kHex.find(token[3]) != kHex.npos && kHex.find(token[4]) != kHex.npos;
}

// llama.cpp aborts when it has to turn a byte token of another form into its byte.
void check_byte_tokens(const Vocabulary& vocabulary, const std::string& origin) {
  for (size_t id = 0; id < vocabulary.size(); ++id) {
    if (vocabulary.types[id] != TokenType::kByte) continue;
    if (vocabulary.model == "llama" && is_byte_token(vocabulary.tokens[id])) continue;
    fail(ErrorCode::kCorrupt,
         "{}: token {} '{}' has the type of a byte; expected <0xNN>, and only in kind 'llama'",
         origin, id, vocabulary.tokens[id]);
  }
}

void check_special_ids(const Vocabulary& vocabulary, const std::string& origin) {
  const auto check = [&](const char* name, std::optional<int32_t> id) {
    if (id && (*id < 0 || static_cast<size_t>(*id) >= vocabulary.size())) {
      fail(ErrorCode::kCorrupt, "{}: {} token id {} is outside the {} tokens", origin, name, *id,
           vocabulary.size());
    }
  };
  check("bos", vocabulary.bos);
  check("eos", vocabulary.eos);
  check("unknown", vocabulary.unknown);
  if (vocabulary.add_bos.value_or(false) && !vocabulary.bos) {
    fail(ErrorCode::kCorrupt, "{}: the tokenizer adds a bos token and names none", origin);
  }
  if (vocabulary.add_eos.value_or(false) && !vocabulary.eos) {
    fail(ErrorCode::kCorrupt, "{}: the tokenizer adds an eos token and names none", origin);
  }
}

void check(const Vocabulary& vocabulary, const std::string& origin) {
  if (vocabulary.model != "gpt2" && vocabulary.model != "llama") {
    fail(ErrorCode::kUnsupported,
         "{}: tokenizer kind '{}'; known are 'gpt2' (byte-level BPE) and 'llama' (SentencePiece)",
         origin, vocabulary.model);
  }
  // llama.cpp does not split spaces off for it, and aborts on two of them.
  if (vocabulary.pre == "whitespace") {
    fail(ErrorCode::kUnsupported, "{}: pre-tokenizer 'whitespace' is not supported", origin);
  }
  check_token_lists(vocabulary, origin);
  check_token_texts(vocabulary, origin);
  check_byte_tokens(vocabulary, origin);
  check_special_ids(vocabulary, origin);
  for (size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const std::string& merge = vocabulary.merges[rank];
    const size_t space = merge.find(' ', 1);
    if (space == merge.npos || space + 1 == merge.size() || merge.find('\0') != merge.npos) {
      fail(ErrorCode::kCorrupt, "{}: merge {} '{}' is not two tokens with a space between", origin,
           rank, vocabulary.merges[rank]);
    }
  }
}

void set_strings(gguf_context* gguf, const char* key, const std::vector<std::string>& strings) {
  std::vector<const char*> pointers;
  pointers.reserve(strings.size());
  for (const auto& string : strings) pointers.push_back(string.c_str());
  gguf_set_arr_str(gguf, key, pointers.data(), pointers.size());
}

std::unique_ptr<gguf_context, GgufDeleter> to_gguf(const Vocabulary& vocabulary) {
  std::unique_ptr<gguf_context, GgufDeleter> owner(gguf_init_empty());
  gguf_context* gguf = owner.get();
  gguf_set_val_str(gguf, "general.architecture", "gpt2");  // any: only the vocabulary is read
  gguf_set_val_str(gguf, "tokenizer.ggml.model", vocabulary.model.c_str());
  gguf_set_val_str(gguf, "tokenizer.ggml.pre", vocabulary.pre.c_str());
  set_strings(gguf, "tokenizer.ggml.tokens", vocabulary.tokens);
  gguf_set_arr_data(gguf, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, vocabulary.types.data(),
                    vocabulary.types.size());
  if (!vocabulary.scores.empty()) {
    gguf_set_arr_data(gguf, "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, vocabulary.scores.data(),
                      vocabulary.scores.size());
  }
  if (vocabulary.model == "gpt2") set_strings(gguf, "tokenizer.ggml.merges", vocabulary.merges);
  const auto set_id = [&](const char* key, std::optional<int32_t> id) {
    if (id) gguf_set_val_u32(gguf, key, static_cast<uint32_t>(*id));
  };
  set_id("tokenizer.ggml.bos_token_id", vocabulary.bos);
  set_id("tokenizer.ggml.eos_token_id", vocabulary.eos);
  set_id("tokenizer.ggml.unknown_token_id", vocabulary.unknown);
  // Without the token, llama.cpp's default for the pre-tokenizer must not ask for it.
  const auto set_flag = [&](const char* key, std::optional<bool> flag, bool possible) {
    if (flag || !possible) gguf_set_val_bool(gguf, key, flag.value_or(false));
  };
  set_flag("tokenizer.ggml.add_bos_token", vocabulary.add_bos, vocabulary.bos.has_value());
  set_flag("tokenizer.ggml.add_eos_token", vocabulary.add_eos, vocabulary.eos.has_value());
  set_flag("tokenizer.ggml.add_space_prefix", vocabulary.add_space_prefix, true);
  return owner;
}

}  // namespace

void LlamaTokenizer::ModelDeleter::operator()(llama_model* model) const {
  llama_model_free(model);
}

LlamaTokenizer::LlamaTokenizer(const Vocabulary& vocabulary, const std::string& origin)
    : origin_(origin) {
  check(vocabulary, origin);
  static std::once_flag log_is_set;
  std::call_once(log_is_set, [] { llama_log_set(keep_errors, nullptr); });
  const auto gguf = to_gguf(vocabulary);
  llama_model_params params = llama_model_default_params();
  params.vocab_only = true;
  first_error.clear();
  model_.reset(llama_model_init_from_user(
      gguf.get(), [](ggml_tensor*, void*) {}, nullptr, params));
  if (!model_) {
    fail(ErrorCode::kUnsupported,
         "{}: llama.cpp does not take this tokenizer (pre-tokenizer '{}'): {}", origin_,
         vocabulary.pre, first_error);
  }
  vocab_ = llama_model_get_vocab(model_.get());
  // Some pre-tokenizers add a bos token whatever the vocabulary says.
  if (llama_vocab_get_add_bos(vocab_) && !vocabulary.bos) {
    fail(ErrorCode::kCorrupt,
         "{}: pre-tokenizer '{}' adds a bos token, and the tokenizer names none", origin_,
         vocabulary.pre);
  }
}

std::vector<int32_t> LlamaTokenizer::encode(std::string_view text) const {
  constexpr size_t kSpecialTokens = 2;  // at most one before and one after the text
  std::vector<int32_t> tokens(text.size() + kSpecialTokens);
  const auto run = [&] {
    return llama_tokenize(vocab_, text.data(), static_cast<int32_t>(text.size()), tokens.data(),
                          static_cast<int32_t>(tokens.size()),
                          /*add_special=*/true, /*parse_special=*/false);
  };
  int32_t count = 0;
  try {
    count = run();
    if (count < 0 && count != std::numeric_limits<int32_t>::min()) {
      tokens.resize(static_cast<size_t>(-count));
      count = run();
    }
  } catch (const std::exception& error) {
    fail(ErrorCode::kCorrupt,
         "{}: the tokenizer cannot encode a text ({}); its vocabulary lacks "
         "tokens it needs",
         origin_, error.what());
  }
  ISOGLOSS_ASSERT(count >= 0);
  tokens.resize(static_cast<size_t>(count));
  return tokens;
}

std::optional<int32_t> LlamaTokenizer::bos() const {
  if (!llama_vocab_get_add_bos(vocab_)) return std::nullopt;
  return llama_vocab_bos(vocab_);
}

size_t LlamaTokenizer::piece_bytes(int32_t token) const {
  const int32_t size = llama_token_to_piece(vocab_, token, nullptr, 0, 0, /*special=*/false);
  return static_cast<size_t>(size < 0 ? -size : size);
}

}  // namespace isogloss
