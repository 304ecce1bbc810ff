// Grapheme clusters as Unicode's annex 29 defines them (GB3 to GB13). utf8proc's own walk lacks
// rule GB9c.
#include <utf8proc.h>

#include <algorithm>
#include <iterator>

#include "isogloss/tokens/unicode_impl.h"

namespace isogloss {
namespace {

struct Range {
  char32_t first, last;
};

// Consonants that a linker joins, and linkers (Indic_Conjunct_Break).
constexpr Range kConsonants[] = {
    {0x915, 0x939},     {0x958, 0x95f},     {0x978, 0x97f},     {0x995, 0x9a8},
    {0x9aa, 0x9b0},     {0x9b2, 0x9b2},     {0x9b6, 0x9b9},     {0x9dc, 0x9dd},
    {0x9df, 0x9df},     {0x9f0, 0x9f1},     {0xa95, 0xaa8},     {0xaaa, 0xab0},
    {0xab2, 0xab3},     {0xab5, 0xab9},     {0xaf9, 0xaf9},     {0xb15, 0xb28},
    {0xb2a, 0xb30},     {0xb32, 0xb33},     {0xb35, 0xb39},     {0xb5c, 0xb5d},
    {0xb5f, 0xb5f},     {0xb71, 0xb71},     {0xc15, 0xc28},     {0xc2a, 0xc39},
    {0xc58, 0xc5a},     {0xd15, 0xd3a},     {0x1000, 0x102a},   {0x103f, 0x103f},
    {0x1050, 0x1055},   {0x105a, 0x105d},   {0x1061, 0x1061},   {0x1065, 0x1066},
    {0x106e, 0x1070},   {0x1075, 0x1081},   {0x108e, 0x108e},   {0x1780, 0x17b3},
    {0x1a20, 0x1a54},   {0x1b0b, 0x1b0c},   {0x1b13, 0x1b33},   {0x1b45, 0x1b4c},
    {0x1b83, 0x1ba0},   {0x1bae, 0x1baf},   {0x1bbb, 0x1bbd},   {0xa989, 0xa98b},
    {0xa98f, 0xa9b2},   {0xa9e0, 0xa9e4},   {0xa9e7, 0xa9ef},   {0xa9fa, 0xa9fe},
    {0xaa60, 0xaa6f},   {0xaa71, 0xaa73},   {0xaa7a, 0xaa7a},   {0xaa7e, 0xaa7f},
    {0xaae0, 0xaaea},   {0xabc0, 0xabda},   {0x10a00, 0x10a00}, {0x10a10, 0x10a13},
    {0x10a15, 0x10a17}, {0x10a19, 0x10a35}, {0x11103, 0x11126}, {0x11144, 0x11144},
    {0x11147, 0x11147}, {0x11380, 0x11389}, {0x1138b, 0x1138b}, {0x1138e, 0x1138e},
    {0x11390, 0x113b5}, {0x11900, 0x11906}, {0x11909, 0x11909}, {0x1190c, 0x11913},
    {0x11915, 0x11916}, {0x11918, 0x1192f}, {0x11a00, 0x11a00}, {0x11a0b, 0x11a32},
    {0x11a50, 0x11a50}, {0x11a5c, 0x11a83}, {0x11f04, 0x11f10}, {0x11f12, 0x11f33}};
constexpr char32_t kLinkers[] = {0x94d,   0x9cd,   0xacd,   0xb4d,   0xc4d,   0xd4d,  0x1039,
                                 0x17d2,  0x1a60,  0x1b44,  0x1bab,  0xa9c0,  0xaaf6, 0x10a3f,
                                 0x11133, 0x113d0, 0x1193e, 0x11a47, 0x11a99, 0x11f42};
constexpr char32_t kNonJoiner = 0x200c;

bool is_consonant(char32_t code_point) {
  const auto after = std::ranges::upper_bound(kConsonants, code_point, {}, &Range::first);
  return after != std::begin(kConsonants) && code_point <= std::prev(after)->last;
}

// What the rules look at that lies before the character before a possible boundary.
struct Cluster {
  bool after_pictograph = false;   // pictograph, then only extenders (GB11)
  bool after_joiner = false;       // ... and a joiner last
  size_t regional_indicators = 0;  // at its end (GB12, GB13)
  bool after_consonant = false;    // consonant, then only extenders (GB9c)
  bool after_linker = false;       // ... with a linker among them
  int last = UTF8PROC_BOUNDCLASS_START;

  void add(char32_t code_point, int bound_class) {
    const bool extends =
        bound_class == UTF8PROC_BOUNDCLASS_EXTEND || bound_class == UTF8PROC_BOUNDCLASS_ZWJ;
    after_joiner = after_pictograph && bound_class == UTF8PROC_BOUNDCLASS_ZWJ;
    after_pictograph = bound_class == UTF8PROC_BOUNDCLASS_EXTENDED_PICTOGRAPHIC ||
                       (after_pictograph && bound_class == UTF8PROC_BOUNDCLASS_EXTEND);
    const bool regional = bound_class == UTF8PROC_BOUNDCLASS_REGIONAL_INDICATOR;
    regional_indicators = regional ? regional_indicators + 1 : 0;
    const bool linker = std::ranges::find(kLinkers, code_point) != std::end(kLinkers);
    const bool links = after_consonant && extends && code_point != kNonJoiner;
    after_linker = links && (after_linker || linker);
    after_consonant = is_consonant(code_point) || links;
    last = bound_class;
  }

  bool takes(char32_t code_point, int bound_class) const {
    if (last == UTF8PROC_BOUNDCLASS_CR) return bound_class == UTF8PROC_BOUNDCLASS_LF;
    if (is_control(last) || is_control(bound_class)) return false;
    if (joins_hangul(bound_class)) return true;
    if (bound_class == UTF8PROC_BOUNDCLASS_EXTEND || bound_class == UTF8PROC_BOUNDCLASS_ZWJ ||
        bound_class == UTF8PROC_BOUNDCLASS_SPACINGMARK || last == UTF8PROC_BOUNDCLASS_PREPEND) {
      return true;
    }
    if (after_linker && is_consonant(code_point)) return true;
    if (after_joiner && bound_class == UTF8PROC_BOUNDCLASS_EXTENDED_PICTOGRAPHIC) return true;
    return bound_class == UTF8PROC_BOUNDCLASS_REGIONAL_INDICATOR && regional_indicators % 2 == 1;
  }

 private:
  static bool is_control(int bound_class) {
    return bound_class == UTF8PROC_BOUNDCLASS_CONTROL || bound_class == UTF8PROC_BOUNDCLASS_CR ||
           bound_class == UTF8PROC_BOUNDCLASS_LF;
  }
  bool joins_hangul(int next) const {
    const bool syllable = next == UTF8PROC_BOUNDCLASS_LV || next == UTF8PROC_BOUNDCLASS_LVT;
    const bool vowel = next == UTF8PROC_BOUNDCLASS_V;
    const bool trail = next == UTF8PROC_BOUNDCLASS_T;
    if (last == UTF8PROC_BOUNDCLASS_L) return next == UTF8PROC_BOUNDCLASS_L || vowel || syllable;
    if (last == UTF8PROC_BOUNDCLASS_LV || last == UTF8PROC_BOUNDCLASS_V) return vowel || trail;
    return (last == UTF8PROC_BOUNDCLASS_LVT || last == UTF8PROC_BOUNDCLASS_T) && trail;
  }
};

}  // namespace

size_t grapheme_end(std::string_view text, size_t offset) {
  Cluster cluster;
  while (offset < text.size()) {
    const CodePoint here = code_point_at(text, offset);
    const int bound_class = grapheme_class(here.value);
    if (cluster.last != UTF8PROC_BOUNDCLASS_START && !cluster.takes(here.value, bound_class)) break;
    cluster.add(here.value, bound_class);
    offset += here.bytes;
  }
  return offset;
}

}  // namespace isogloss
