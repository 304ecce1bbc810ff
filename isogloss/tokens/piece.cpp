#include "isogloss/tokens/pipeline_impl.h"
#include "isogloss/tokens/unicode_impl.h"

#include <algorithm>

namespace isogloss {

Piece slice(const Piece& piece, size_t begin, size_t end) {
  Piece part;
  part.text = piece.text.substr(begin, end - begin);
  part.at_start = piece.at_start && begin < piece.start_bytes;
  if (part.at_start) part.start_bytes = std::min(piece.start_bytes, end) - begin;
  return part;
}

// tokenizers keeps for every byte the range of the original that it stands for: an inserted
// character takes that of the byte before `old`, another one that of the byte at `old`. Ranges only
// grow along a text, so it is enough to know where the first one ends.
void rewrite(Piece& piece, size_t range, const std::vector<Rewritten>& characters, size_t dropped) {
  size_t old = 0;
  const auto skip = [&] {
    if (old < range) old += code_point_at(piece.text, old).bytes;
  };
  for (size_t i = 0; i < dropped; ++i) skip();
  std::string text;
  text.reserve(piece.text.size());
  size_t start_bytes = 0;
  for (const Rewritten& character : characters) {
    const bool inserted = character.change > 0;
    const bool starts =
        inserted ? old == 0 || old - 1 < piece.start_bytes : old < piece.start_bytes;
    if (!inserted) {
      for (ptrdiff_t i = character.change; i <= 0; ++i) skip();
    }
    append_code_point(text, character.code_point);
    if (starts) start_bytes = text.size();
  }
  if (piece.start_bytes > range) start_bytes = text.size() + piece.start_bytes - range;
  text.append(piece.text, range);
  piece.text = std::move(text);
  piece.start_bytes = piece.at_start ? start_bytes : 0;
}

void prepend_text(Piece& piece, std::string_view prefix) {
  if (piece.text.empty()) return;
  std::vector<Rewritten> characters;
  for (size_t offset = 0; offset < prefix.size();) {
    const CodePoint here = code_point_at(prefix, offset);
    characters.push_back({here.value, offset == 0 ? 0 : 1});
    offset += here.bytes;
  }
  const CodePoint first = code_point_at(piece.text, 0);
  characters.push_back({first.value, 1});
  rewrite(piece, first.bytes, characters, 0);
}

void replace_spans(Piece& piece, const std::vector<Span>& spans, std::string_view content) {
  std::string text;
  text.reserve(piece.text.size());
  size_t start_bytes = 0;
  for (const Span& span : spans) {
    if (span.is_match) {
      text += content;
      if (span.end == 0 || span.end - 1 < piece.start_bytes) start_bytes = text.size();
    } else {
      text.append(piece.text, span.begin, span.end - span.begin);
      if (span.begin < piece.start_bytes) {
        start_bytes = text.size() - (span.end - std::min(span.end, piece.start_bytes));
      }
    }
  }
  piece.text = std::move(text);
  piece.start_bytes = piece.at_start ? start_bytes : 0;
}

}  // namespace isogloss
