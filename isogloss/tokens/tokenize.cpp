// Corpora to sequences of token ids.
#include <algorithm>

#include "isogloss/base/error.h"
#include "isogloss/tokens/tokens.h"

namespace isogloss {
namespace {

Sequence unit_sequence(const Tokenizer& tokenizer, const std::string& text) {
  Sequence sequence;
  sequence.tokens = tokenizer.encode(text);
  sequence.bytes = text.size();
  if (!tokenizer.bos() && !sequence.tokens.empty()) {
    sequence.bytes -= std::min(sequence.bytes, tokenizer.piece_bytes(sequence.tokens.front()));
  }
  return sequence;
}

Sequence window_sequence(const Tokenizer& tokenizer, std::span<const int32_t> tokens) {
  Sequence sequence;
  sequence.tokens.assign(tokens.begin(), tokens.end());
  sequence.first_scored = tokens.size() / 2 + 1;
  for (size_t i = sequence.first_scored; i < tokens.size(); ++i) {
    sequence.bytes += tokenizer.piece_bytes(tokens[i]);
  }
  if (const auto bos = tokenizer.bos()) sequence.tokens.front() = *bos;
  return sequence;
}

}  // namespace

TokenizedCorpus tokenize(const Corpus& corpus, const Tokenizer& tokenizer, size_t context_length) {
  TokenizedCorpus result{corpus.name, corpus.parallel, {}};
  for (const auto& language : corpus.languages) {
    TokenizedLanguage tokenized{language.code, language.unit_ids, {}};
    for (size_t i = 0; i < language.units.size(); ++i) {
      Sequence sequence = unit_sequence(tokenizer, language.units[i]);
      const size_t length = sequence.tokens.size();
      if (length > context_length) {
        fail(ErrorCode::kBadArgument,
             "{}: unit '{}' of '{}' has {} tokens, and the model's context holds {}; cut it into "
             "shorter units, or use --window",
             corpus.name, language.unit_ids[i], language.code, length, context_length);
      }
      if (length < 2) {
        fail(ErrorCode::kBadArgument, "{}: unit '{}' of '{}' has {} token; at least 2 are needed",
             corpus.name, language.unit_ids[i], language.code, length);
      }
      tokenized.sequences.push_back(std::move(sequence));
    }
    result.languages.push_back(std::move(tokenized));
  }
  return result;
}

TokenizedCorpus tokenize_windows(const Corpus& corpus, const Tokenizer& tokenizer, size_t window) {
  constexpr size_t kSmallestWindow = 4;  // below it nothing is left to score
  if (window < kSmallestWindow) {
    fail(ErrorCode::kBadArgument, "a window of {} tokens; at least {} are needed", window,
         kSmallestWindow);
  }
  TokenizedCorpus result{corpus.name, false, {}};
  for (const auto& language : corpus.languages) {
    const auto tokens = tokenizer.encode(fmt::format("{}", fmt::join(language.units, "\n")));
    TokenizedLanguage tokenized{language.code, {}, {}};
    for (size_t start = 0; start + window <= tokens.size(); start += window) {
      tokenized.unit_ids.push_back(std::to_string(start / window));
      tokenized.sequences.push_back(
          window_sequence(tokenizer, std::span(tokens).subspan(start, window)));
    }
    if (tokenized.sequences.empty()) {
      fail(ErrorCode::kBadArgument, "{}: '{}' has {} tokens in all, fewer than one window of {}",
           corpus.name, language.code, tokens.size(), window);
    }
    result.languages.push_back(std::move(tokenized));
  }
  return result;
}

}  // namespace isogloss
