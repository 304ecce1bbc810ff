#include "isogloss/tokens/vocabulary_impl.h"

#include <algorithm>

#include "isogloss/tokens/unicode_impl.h"

namespace isogloss {
namespace {

constexpr std::string_view kSpaceMark = "\u2581";

bool is_byte_level(const Pipeline& pipeline) {
  return std::ranges::any_of(pipeline.pre_tokenizers, [](const PreTokenizer& step) {
    return std::holds_alternative<ByteLevel>(step);
  });
}

template <typename Step, typename Steps, typename Is>
bool has_step(const Steps& steps, Is is) {
  return std::ranges::any_of(steps, [&](const auto& step) {
    const auto* found = std::get_if<Step>(&step);
    return found != nullptr && is(*found);
  });
}

// What stands for a space in tokens; "" when a space does.
std::string find_space_mark(const Pipeline& pipeline) {
  for (const PreTokenizer& step : pipeline.pre_tokenizers) {
    if (const auto* metaspace = std::get_if<Metaspace>(&step)) return metaspace->replacement;
  }
  for (const Normalizer& step : pipeline.normalizers) {
    const auto* replace = std::get_if<Replace>(&step);
    const auto* literal = replace ? std::get_if<std::string>(&replace->pattern) : nullptr;
    if (literal != nullptr && *literal == " ") return replace->content;
  }
  return "";
}

std::string replace_all(std::string text, std::string_view old, std::string_view by) {
  if (old.empty()) return text;
  for (size_t at = 0; (at = text.find(old, at)) != text.npos; at += by.size()) {
    text.replace(at, old.size(), by);
  }
  return text;
}

bool spells_a_byte(std::string_view token) {
  for (unsigned byte = 0; byte < 256; ++byte) {
    if (token == byte_token(static_cast<unsigned char>(byte))) return true;
  }
  return false;
}

// Bytes of a token in GPT-2's spelling; one with other characters stands for itself.
size_t count_spelled_bytes(std::string_view token) {
  size_t bytes = 0;
  for (size_t offset = 0; offset < token.size(); ++bytes) {
    const CodePoint here = code_point_at(token, offset);
    if (!byte_level_byte(here.value)) return token.size();
    offset += here.bytes;
  }
  return bytes;
}

bool has_byte_fallback(const Pipeline& pipeline) {
  return std::visit([](const auto& model) { return model.byte_fallback; }, pipeline.model);
}

std::vector<uint32_t> count_token_bytes(const Pipeline& pipeline, const Vocabulary& vocabulary) {
  const std::string space = find_space_mark(pipeline);
  const bool byte_level = is_byte_level(pipeline);
  std::vector<uint32_t> counts;
  for (size_t id = 0; id < vocabulary.size(); ++id) {
    const std::string& token = vocabulary.tokens[id];
    const TokenType type = vocabulary.types[id];
    size_t bytes = 0;
    if (type == TokenType::kByte) {
      bytes = 1;
    } else if (type == TokenType::kNormal && byte_level) {
      bytes = count_spelled_bytes(token);
    } else if (type == TokenType::kNormal || type == TokenType::kUserDefined) {
      bytes = replace_all(token, space, " ").size();
    }
    counts.push_back(static_cast<uint32_t>(bytes));
  }
  return counts;
}

// llama.cpp merges the pair whose token has the highest score. With the rank of the first merge
// that makes a token, negated, it merges in the order of the list; tokens that no merge makes come
// last.
std::vector<float> scores_of_merges(const Bpe& bpe, size_t count) {
  const auto lowest = -static_cast<float>(bpe.merges.size()) - 1;
  std::vector<float> scores(count, lowest);
  for (size_t rank = bpe.merges.size(); rank-- > 0;) {
    const auto& [left, right] = bpe.merges[rank];
    scores[static_cast<size_t>(bpe.ids.at(left + right))] = -static_cast<float>(rank);
  }
  return scores;
}

std::string spell_merge(const Merge& merge) {
  // llama.cpp's converter writes a space inside of a token so.
  return replace_all(merge.left, " ", "\u0120") + ' ' + replace_all(merge.right, " ", "\u0120");
}

void finish(const Pipeline& pipeline, const Bpe& bpe, Vocabulary& vocabulary) {
  if (bpe.unknown) {
    const auto unknown = bpe.ids.find(*bpe.unknown);
    if (unknown != bpe.ids.end()) vocabulary.unknown = unknown->second;
  }
  if (is_byte_level(pipeline)) {
    vocabulary.model = "gpt2";
    for (const Merge& merge : bpe.merges) vocabulary.merges.push_back(spell_merge(merge));
    return;
  }
  vocabulary.model = "llama";
  vocabulary.scores = scores_of_merges(bpe, vocabulary.size());
}

void finish(const Pipeline& pipeline, const Unigram& unigram, Vocabulary& vocabulary) {
  vocabulary.model = "t5";
  vocabulary.unknown = unigram.unknown;
  constexpr float kScoreOfAddedTokens = -1000;
  for (const auto& [token, score] : unigram.vocabulary) {
    vocabulary.scores.push_back(static_cast<float>(score));
  }
  vocabulary.scores.resize(vocabulary.size(), kScoreOfAddedTokens);
  for (const Normalizer& step : pipeline.normalizers) {
    if (const auto* charsmap = std::get_if<Charsmap>(&step)) {
      vocabulary.precompiled_charsmap = charsmap->bytes();
    }
  }
  vocabulary.remove_extra_whitespaces =
      has_step<Replace>(pipeline.normalizers, [](const Replace& replace) {
        const auto* regex = std::get_if<Regex>(&replace.pattern);
        return regex != nullptr && regex->pattern() == " {2,}";
      });
}

// SentencePiece has types for tokens that are special to itself.
void mark_sentencepiece_types(const Pipeline& pipeline, Vocabulary& vocabulary) {
  if (vocabulary.unknown) {
    vocabulary.types[static_cast<size_t>(*vocabulary.unknown)] = TokenType::kUnknown;
  }
  if (!has_byte_fallback(pipeline)) return;
  for (size_t id = 0; id < vocabulary.size(); ++id) {
    const bool is_byte =
        vocabulary.types[id] == TokenType::kNormal && spells_a_byte(vocabulary.tokens[id]);
    if (is_byte) vocabulary.types[id] = TokenType::kByte;
  }
}

}  // namespace

void finish_vocabulary(Pipeline& pipeline, Vocabulary& vocabulary) {
  std::visit([&](const auto& model) { finish(pipeline, model, vocabulary); }, pipeline.model);
  vocabulary.pre = find_llama_pre_tokenizer(pipeline);
  if (vocabulary.model != "gpt2") {
    mark_sentencepiece_types(pipeline, vocabulary);
    vocabulary.add_space_prefix =
        has_step<Prepend>(pipeline.normalizers, [](const Prepend&) { return true; }) ||
        has_step<Metaspace>(pipeline.pre_tokenizers, [](const Metaspace& metaspace) {
          return metaspace.scheme != PrependScheme::kNever;
        });
  }
  pipeline.token_bytes = count_token_bytes(pipeline, vocabulary);
  // llama.cpp looks for these in text whose spaces are still spaces.
  for (size_t id = 0; id < vocabulary.size(); ++id) {
    if (vocabulary.types[id] != TokenType::kUserDefined) continue;
    vocabulary.tokens[id] = replace_all(vocabulary.tokens[id], kSpaceMark, " ");
  }
}

}  // namespace isogloss
