#include <algorithm>

#include "isogloss/base/error.h"
#include "isogloss/tokens/pipeline_impl.h"
#include "isogloss/tokens/unicode_impl.h"

namespace isogloss {

namespace {

std::vector<char32_t> code_points_of(std::string_view text) {
  std::vector<char32_t> code_points;
  for (size_t offset = 0; offset < text.size();) {
    const CodePoint here = code_point_at(text, offset);
    code_points.push_back(here.value);
    offset += here.bytes;
  }
  return code_points;
}

void apply(const UnicodeForm& form, Piece& piece) {
  form.apply(piece);
}

void apply(const Prepend& prepend, Piece& piece) {
  prepend_text(piece, prepend.text);
}

// What is inserted before everything stands for nothing in the original, and tokenizers then writes
// it twice.
void apply(const Replace& replace, Piece& piece) {
  const auto spans = find_spans(replace.pattern, piece.text);
  if (!spans.empty() && spans.front().is_match && spans.front().end == 0) {
    fail(ErrorCode::kUnsupported,
         "a normalizer replaces nothing at the beginning of a text; that is not understood");
  }
  replace_spans(piece, spans, replace.content);
}

void apply(const Lowercase&, Piece& piece) {
  std::vector<Rewritten> characters;
  for (const char32_t c : code_points_of(piece.text)) {
    ptrdiff_t change = 0;
    for (const char32_t lower : code_points_of(lower_case_of(c))) {
      characters.push_back({lower, change});
      change = 1;
    }
  }
  rewrite(piece, piece.text.size(), characters, 0);
}

void apply(const Strip& strip, Piece& piece) {
  const auto code_points = code_points_of(piece.text);
  auto begin = code_points.begin();
  auto end = code_points.end();
  if (strip.left) begin = std::find_if_not(begin, end, is_white_space);
  if (strip.right) {
    while (end != begin && is_white_space(*std::prev(end))) --end;
  }
  std::vector<Rewritten> characters;
  for (auto c = begin; c != end; ++c) characters.push_back({*c, 0});
  rewrite(piece, piece.text.size(), characters, static_cast<size_t>(begin - code_points.begin()));
}

void apply(const Charsmap& charsmap, Piece& piece) {
  charsmap.apply(piece);
}

}  // namespace

void normalize(const Normalizer& normalizer, Piece& piece) {
  std::visit([&](const auto& step) { apply(step, piece); }, normalizer);
  // Steps that each double a text would fill the memory.
  constexpr size_t kMostBytes = size_t{1} << 28;
  if (piece.text.size() > kMostBytes) {
    fail(ErrorCode::kUnsupported, "normalizers make a text longer than {} bytes", kMostBytes);
  }
}

}  // namespace isogloss
