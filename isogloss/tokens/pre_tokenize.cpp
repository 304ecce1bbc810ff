#include <algorithm>

#include "isogloss/tokens/pipeline_impl.h"
#include "isogloss/tokens/unicode_impl.h"

namespace isogloss {
namespace {

// GPT-2's pattern.
constexpr const char* kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// The characters of which `is_match` is true as spans of one, and the stretches between them.
template <typename IsMatch>
std::vector<Span> character_spans(std::string_view text, IsMatch is_match) {
  std::vector<Span> spans;
  size_t covered = 0;
  for (size_t offset = 0; offset < text.size();) {
    const CodePoint here = code_point_at(text, offset);
    const size_t end = offset + here.bytes;
    if (is_match(here.value)) {
      if (covered < offset) spans.push_back({covered, offset, false});
      spans.push_back({offset, end, true});
      covered = end;
    }
    offset = end;
  }
  if (covered < text.size()) spans.push_back({covered, text.size(), false});
  return spans;
}

// \w+|[^\w\s]+ as matches; white space lies between them.
std::vector<Span> word_spans(std::string_view text) {
  enum class Kind { kSpace, kWord, kOther };
  std::vector<Span> spans;
  std::optional<Kind> last;
  for (size_t offset = 0; offset < text.size();) {
    const CodePoint here = code_point_at(text, offset);
    const Kind kind = is_word(here.value)          ? Kind::kWord
                      : is_white_space(here.value) ? Kind::kSpace
                                                   : Kind::kOther;
    const size_t end = offset + here.bytes;
    if (kind == last) {
      spans.back().end = end;
    } else {
      spans.push_back({offset, end, kind != Kind::kSpace});
    }
    last = kind;
    offset = end;
  }
  return spans;
}

// Delimiters join the span before them where that is none itself.
void merge_with_previous(std::vector<Span>& spans) {
  std::vector<Span> merged;
  bool after_match = false;
  for (const Span& span : spans) {
    if (span.is_match && !after_match && !merged.empty()) {
      merged.back().end = span.end;
    } else {
      merged.push_back(span);
    }
    after_match = span.is_match;
  }
  spans = std::move(merged);
}

void merge_with_next(std::vector<Span>& spans) {
  std::vector<Span> merged;
  bool after_match = false;
  for (auto span = spans.rbegin(); span != spans.rend(); ++span) {
    if (span->is_match && !after_match && !merged.empty()) {
      merged.back().begin = span->begin;
    } else {
      merged.push_back(*span);
    }
    after_match = span->is_match;
  }
  std::ranges::reverse(merged);
  spans = std::move(merged);
}

// Neighbours of the same kind become one.
void merge_contiguous(std::vector<Span>& spans) {
  std::vector<Span> merged;
  bool after_match = false;
  for (const Span& span : spans) {
    if (span.is_match == after_match && !merged.empty()) {
      merged.back().end = span.end;
    } else {
      merged.push_back(span);
    }
    after_match = span.is_match;
  }
  spans = std::move(merged);
}

void split(const Piece& piece, std::vector<Span> spans, SplitBehavior behavior,
           std::vector<Piece>& words) {
  if (behavior == SplitBehavior::kRemoved) {
    std::erase_if(spans, [](const Span& span) { return span.is_match; });
  } else if (behavior == SplitBehavior::kMergedWithPrevious) {
    merge_with_previous(spans);
  } else if (behavior == SplitBehavior::kMergedWithNext) {
    merge_with_next(spans);
  } else if (behavior == SplitBehavior::kContiguous) {
    merge_contiguous(spans);
  }
  for (const Span& span : spans) {
    if (span.begin < span.end) words.push_back(slice(piece, span.begin, span.end));
  }
}

void spell_bytes(Piece& piece) {
  static const auto spelled = [] {
    std::array<std::string, 256> bytes;
    for (unsigned i = 0; i < bytes.size(); ++i) {
      append_code_point(bytes[i], byte_level_character(static_cast<unsigned char>(i)));
    }
    return bytes;
  }();
  std::string text;
  size_t start_bytes = 0;
  for (size_t i = 0; i < piece.text.size(); ++i) {
    text += spelled[static_cast<unsigned char>(piece.text[i])];
    if (i < piece.start_bytes) start_bytes = text.size();
  }
  piece.text = std::move(text);
  piece.start_bytes = start_bytes;
}

void apply(const ByteLevel& step, Piece piece, std::vector<Piece>& words) {
  if (step.add_prefix_space && !piece.text.starts_with(' ')) prepend_text(piece, " ");
  const size_t first = words.size();
  if (step.use_regex) {
    static const Regex pattern(kByteLevelPattern, "GPT-2's pattern");
    split(piece, pattern.spans(piece.text), SplitBehavior::kIsolated, words);
  } else {
    words.push_back(std::move(piece));
  }
  for (size_t i = first; i < words.size(); ++i) spell_bytes(words[i]);
}

void apply(const Split& step, Piece piece, std::vector<Piece>& words) {
  auto spans = find_spans(step.pattern, piece.text);
  if (step.invert) {
    for (Span& span : spans) span.is_match = !span.is_match;
  }
  split(piece, std::move(spans), step.behavior, words);
}

void apply(const Digits& step, Piece piece, std::vector<Piece>& words) {
  split(piece, character_spans(piece.text, is_numeric),
        step.individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous, words);
}

void apply(const Metaspace& step, Piece piece, std::vector<Piece>& words) {
  replace_spans(piece, find_spans(" ", piece.text), step.replacement);
  const bool prepends = step.scheme == PrependScheme::kAlways ||
                        (step.scheme == PrependScheme::kFirst && piece.at_start);
  if (prepends && !piece.text.starts_with(step.replacement)) prepend_text(piece, step.replacement);
  if (step.split) {
    split(piece, find_spans(step.replacement, piece.text), SplitBehavior::kMergedWithNext, words);
  } else {
    words.push_back(std::move(piece));
  }
}

void apply(const WhitespaceSplit&, Piece piece, std::vector<Piece>& words) {
  split(piece, character_spans(piece.text, is_white_space), SplitBehavior::kRemoved, words);
}

void apply(const Whitespace&, Piece piece, std::vector<Piece>& words) {
  auto spans = word_spans(piece.text);
  for (Span& span : spans) span.is_match = !span.is_match;
  split(piece, std::move(spans), SplitBehavior::kRemoved, words);
}

void apply(const Punctuation& step, Piece piece, std::vector<Piece>& words) {
  split(piece, character_spans(piece.text, is_punctuation), step.behavior, words);
}

}  // namespace

// Bytes that print in Latin-1 stand for themselves, the others for characters from U+0100 on.
char32_t byte_level_character(unsigned char byte) {
  static const auto characters = [] {
    std::array<char32_t, 256> table;
    char32_t next = 0x100;
    for (unsigned i = 0; i < table.size(); ++i) {
      const bool prints = (i >= '!' && i <= '~') || (i >= 0xa1 && i != 0xad);
      table[i] = prints ? i : next++;
    }
    return table;
  }();
  return characters[byte];
}

std::optional<unsigned char> byte_level_byte(char32_t character) {
  static const auto bytes = [] {
    std::unordered_map<char32_t, unsigned char> table;
    for (unsigned i = 0; i < 256; ++i) {
      const auto byte = static_cast<unsigned char>(i);
      table.emplace(byte_level_character(byte), byte);
    }
    return table;
  }();
  const auto found = bytes.find(character);
  return found == bytes.end() ? std::nullopt : std::optional(found->second);
}

void pre_tokenize(const PreTokenizer& pre_tokenizer, Piece piece, std::vector<Piece>& words) {
  std::visit([&](const auto& step) { apply(step, std::move(piece), words); }, pre_tokenizer);
}

}  // namespace isogloss
