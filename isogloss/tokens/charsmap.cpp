#include <algorithm>
#include <cstring>

#include "isogloss/base/error.h"
#include "isogloss/tokens/pipeline_impl.h"
#include "isogloss/tokens/unicode_impl.h"

namespace isogloss {
namespace {

// A unit of darts-clone's double array. Its label has bit 31 set where the unit is a value.
constexpr uint32_t label_of(uint32_t unit) {
  return unit & (uint32_t{1} << 31 | 0xff);
}
constexpr bool has_leaf(uint32_t unit) {
  return (unit >> 8 & 1) != 0;
}
constexpr uint32_t value_of(uint32_t unit) {
  return unit & ~(uint32_t{1} << 31);
}
constexpr uint32_t offset_of(uint32_t unit) {
  return unit >> 10 << ((unit & uint32_t{1} << 9) >> 6);
}

size_t count_characters(std::string_view text) {
  size_t count = 0;
  for (size_t offset = 0; offset < text.size(); ++count)
    offset += code_point_at(text, offset).bytes;
  return count;
}

// `replacement` in place of `old`: the last ones of more characters are new, and where there are
// fewer the last one stands for the rest.
void append_replacement(std::vector<Rewritten>& characters, std::string_view old,
                        std::string_view replacement) {
  for (size_t offset = 0; offset < replacement.size();) {
    const CodePoint here = code_point_at(replacement, offset);
    characters.push_back({here.value, 0});
    offset += here.bytes;
  }
  const auto more = static_cast<ptrdiff_t>(count_characters(replacement)) -
                    static_cast<ptrdiff_t>(count_characters(old));
  if (more < 0 && !characters.empty()) characters.back().change += more;
  for (ptrdiff_t i = 1; i <= more; ++i) {
    characters[characters.size() - static_cast<size_t>(i)].change = 1;
  }
}

}  // namespace

Charsmap::Charsmap(std::string bytes, const std::string& where) : bytes_(std::move(bytes)) {
  uint32_t trie_bytes = 0;
  if (bytes_.size() >= sizeof(trie_bytes)) {
    std::memcpy(&trie_bytes, bytes_.data(), sizeof(trie_bytes));
    units_ = trie_bytes / sizeof(uint32_t);
  }
  if (units_ == 0 || units_ * sizeof(uint32_t) > bytes_.size() - sizeof(trie_bytes)) {
    fail(ErrorCode::kCorrupt,
         "{}: has {} bytes, and a trie of {} bytes in them; perhaps it is truncated", where,
         bytes_.size(), trie_bytes);
  }
  if (repair_utf8(strings()) != strings()) {
    fail(ErrorCode::kCorrupt, "{}: its strings are not UTF-8", where);
  }
}

std::string_view Charsmap::strings() const {
  return std::string_view(bytes_).substr((units_ + 1) * sizeof(uint32_t));
}

// Outside of the array there is a unit that nothing matches.
uint32_t Charsmap::unit(size_t index) const {
  uint32_t unit = uint32_t{1} << 31;
  if (index < units_) {
    std::memcpy(&unit, bytes_.data() + (index + 1) * sizeof(unit), sizeof(unit));
  }
  return unit;
}

// What replaces `text`: the value of its shortest prefix that has one.
std::optional<std::string_view> Charsmap::find(std::string_view text) const {
  size_t place = offset_of(unit(0));
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) return std::nullopt;
    place ^= byte;
    const uint32_t here = unit(place);
    if (label_of(here) != byte) return std::nullopt;
    place ^= offset_of(here);
    if (!has_leaf(here)) continue;
    const size_t value = value_of(unit(place));
    if (value > strings().size()) break;
    const std::string_view rest = strings().substr(value);
    if (!rest.empty() && (static_cast<unsigned char>(rest[0]) & 0xc0) == 0x80) break;
    return rest.substr(0, rest.find('\0'));
  }
  return std::nullopt;
}

// A short cluster is replaced as a whole even when only its beginning is in the map.
void Charsmap::apply(Piece& piece) const {
  constexpr size_t kLongestCluster = 5;  // bytes
  std::vector<Rewritten> characters;
  bool changed = false;
  const auto replace = [&](std::string_view part) {
    const auto replacement = find(part);
    if (!replacement) return false;
    append_replacement(characters, part, *replacement);
    changed = true;
    return true;
  };
  const std::string_view text = piece.text;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = grapheme_end(text, begin);
    const bool is_short = end - begin <= kLongestCluster;
    if (!is_short || !replace(text.substr(begin, end - begin))) {
      for (size_t offset = begin; offset < end;) {
        const CodePoint here = code_point_at(text, offset);
        if (!replace(text.substr(offset, here.bytes))) characters.push_back({here.value, 0});
        offset += here.bytes;
      }
    }
    begin = end;
  }
  if (changed) rewrite(piece, text.size(), characters, 0);
}

}  // namespace isogloss
