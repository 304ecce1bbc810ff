// NFC, NFD, NFKC and NFKD as the crate unicode-normalization-alignments writes them: with the
// tables of Unicode 9, and a count of characters that came and went.
#include <utf8proc.h>

#include <algorithm>
#include <span>

#include "isogloss/base/error.h"
#include "isogloss/tokens/pipeline_impl.h"
#include "isogloss/tokens/unicode_impl.h"

namespace isogloss {
namespace {

struct Decomposed {
  char32_t code_point;
  ptrdiff_t change;
  int combining_class;
};

int combining_class_of(char32_t code_point) {
  if (is_young_in_normal_forms(code_point)) return 0;
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(code_point))->combining_class;
}

void append_decomposition(std::vector<Decomposed>& out, char32_t code_point, bool compatible) {
  constexpr size_t kLongest = 32;  // the longest decomposition has 18 characters
  utf8proc_int32_t parts[kLongest] = {static_cast<utf8proc_int32_t>(code_point)};
  utf8proc_ssize_t count = 1;
  if (code_point >= 0x80 && !is_young_in_normal_forms(code_point)) {
    const auto options = static_cast<utf8proc_option_t>(
        UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : UTF8PROC_NULLTERM));
    int last_class = 0;
    count = utf8proc_decompose_char(parts[0], parts, kLongest, options, &last_class);
    ISOGLOSS_ASSERT(count >= 1 && count <= static_cast<utf8proc_ssize_t>(kLongest));
  }
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    const auto part = static_cast<char32_t>(parts[i]);
    out.push_back({part, i == 0 ? 0 : 1, combining_class_of(part)});
  }
}

std::vector<Decomposed> decompose(std::string_view text, bool compatible) {
  std::vector<Decomposed> characters;
  for (size_t offset = 0; offset < text.size();) {
    const CodePoint here = code_point_at(text, offset);
    append_decomposition(characters, here.value, compatible);
    offset += here.bytes;
  }
  const auto is_starter = [](const Decomposed& c) { return c.combining_class == 0; };
  for (auto begin = characters.begin(); begin != characters.end();) {
    begin = std::find_if_not(begin, characters.end(), is_starter);
    const auto end = std::find_if(begin, characters.end(), is_starter);
    std::stable_sort(begin, end, [](const Decomposed& a, const Decomposed& b) {
      return a.combining_class < b.combining_class;
    });
    begin = end;
  }
  return characters;
}

// The character that two compose to, or 0.
char32_t composition_of(char32_t first, char32_t second) {
  constexpr char32_t kNoTrail = 0x11a7;  // utf8proc composes a syllable with it
  if (second < 0x80 || second == kNoTrail || is_young_in_normal_forms(first) ||
      is_young_in_normal_forms(second)) {
    return 0;
  }
  utf8proc_int32_t pair[] = {static_cast<utf8proc_int32_t>(first),
                             static_cast<utf8proc_int32_t>(second)};
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE);
  if (utf8proc_normalize_utf32(pair, 2, options) != 1) return 0;
  const auto composed = static_cast<char32_t>(pair[0]);
  return is_young_in_normal_forms(composed) ? 0 : composed;
}

std::vector<Decomposed> compose(const std::vector<Decomposed>& characters) {
  std::vector<Decomposed> result;
  std::optional<size_t> starter;  // in `result`
  int last_class = 0;             // of the last character after it that stayed; 0: there is none
  for (const Decomposed& next : characters) {
    if (starter) {
      Decomposed& base = result[*starter];
      const bool blocked = last_class != 0 && last_class >= next.combining_class;
      const char32_t composed = blocked ? 0 : composition_of(base.code_point, next.code_point);
      if (composed != 0) {
        base.code_point = composed;
        base.change += next.change - 1;
        continue;
      }
    }
    if (next.combining_class == 0) starter = result.size();
    if (starter) last_class = next.combining_class;
    result.push_back(next);
  }
  return result;
}

}  // namespace

void UnicodeForm::apply(Piece& piece) const {
  const auto is_ascii = [](char c) { return static_cast<unsigned char>(c) < 0x80; };
  if (std::ranges::all_of(piece.text, is_ascii)) return;
  auto characters = decompose(piece.text, compatible);
  if (composed) characters = compose(characters);
  std::vector<Rewritten> rewritten;
  rewritten.reserve(characters.size());
  for (const Decomposed& c : characters) rewritten.push_back({c.code_point, c.change});
  rewrite(piece, piece.text.size(), rewritten, 0);
}

}  // namespace isogloss
