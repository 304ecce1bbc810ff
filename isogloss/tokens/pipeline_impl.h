// A tokenizer.json as stages that text passes through: added tokens are cut out, the rest is
// normalized, cut into words, and each word into tokens; then special tokens are put around. Every
// stage does to a text what the stage of the same name in Hugging Face's tokenizers 0.23 does. All
// of it is immutable.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

struct re_pattern_buffer;  // Oniguruma's

namespace isogloss {

// --- text on its way

// A stretch of text, valid UTF-8. Of where it came from it knows what ids depend on (Metaspace's
// prepend_scheme "first"): whether that is where the original begins.
struct Piece {
  std::string text;
  bool at_start = false;         // the original's first character is in it, or was
  size_t start_bytes = 0;        // of its first bytes, those that stand for that character
  std::optional<int32_t> token;  // an added token; then nothing more happens to it
};

// A part of a text that a pattern matches, or that lies between matches.
struct Span {
  size_t begin, end;
  bool is_match;
};

// text[begin, end) as a piece of its own.
Piece slice(const Piece& piece, size_t begin, size_t end);

// A character of a text that replaces another one. `change` is 1 for an inserted character, 0 for
// one in place of the next old one, -n for one in place of that one and n more.
struct Rewritten {
  char32_t code_point;
  ptrdiff_t change;
};

// Replaces the first `range` bytes of the text. The first `dropped` characters had no successor.
void rewrite(Piece& piece, size_t range, const std::vector<Rewritten>& characters, size_t dropped);

void replace_spans(Piece& piece, const std::vector<Span>& spans, std::string_view content);

// Does nothing to an empty piece.
void prepend_text(Piece& piece, std::string_view prefix);

// --- patterns

// An Oniguruma regular expression, in the syntax and with the Unicode version of tokenizers.
class Regex {
 public:
  // Throws Error(kCorrupt) with Oniguruma's words; `where` names the place of the pattern.
  Regex(const std::string& pattern, const std::string& where);

  // The whole text as spans. Throws Error(kUnsupported) when matching takes too many steps.
  std::vector<Span> spans(std::string_view text) const;
  const std::string& pattern() const { return pattern_; }

 private:
  std::string pattern_;
  std::shared_ptr<re_pattern_buffer> compiled_;
};

using Pattern = std::variant<std::string, Regex>;  // a string stands for itself

std::vector<Span> find_spans(const Pattern& pattern, std::string_view text);

// --- normalizers

struct UnicodeForm {
  bool compatible, composed;  // NFKC: both

  void apply(Piece& piece) const;
};
struct Prepend {
  std::string text;
};
struct Replace {
  Pattern pattern;
  std::string content;
};
struct Lowercase {};
struct Strip {
  bool left, right;
};

// SentencePiece's precompiled_charsmap: a double-array trie (darts-clone) of what is replaced,
// whose values are offsets into strings that end with NUL.
class Charsmap {
 public:
  // Throws Error(kCorrupt) for bytes that are no charsmap.
  Charsmap(std::string bytes, const std::string& where);

  void apply(Piece& piece) const;
  const std::string& bytes() const { return bytes_; }

 private:
  std::optional<std::string_view> find(std::string_view text) const;
  uint32_t unit(size_t index) const;

  std::string bytes_;
  size_t units_ = 0;
  std::string_view strings() const;
};

using Normalizer = std::variant<UnicodeForm, Prepend, Replace, Lowercase, Strip, Charsmap>;

void normalize(const Normalizer& normalizer, Piece& piece);

// --- pre-tokenizers

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
enum class PrependScheme { kAlways, kFirst, kNever };

struct ByteLevel {
  bool add_prefix_space, use_regex;
};
struct Split {
  Pattern pattern;
  SplitBehavior behavior;
  bool invert;
};
struct Digits {
  bool individual;
};
struct Metaspace {
  std::string replacement;  // one character
  PrependScheme scheme;
  bool split;
};
struct WhitespaceSplit {};
struct Whitespace {};
struct Punctuation {
  SplitBehavior behavior;
};

using PreTokenizer =
    std::variant<ByteLevel, Split, Digits, Metaspace, WhitespaceSplit, Whitespace, Punctuation>;

// Cuts `piece`, which is no added token, into `words`.
void pre_tokenize(const PreTokenizer& pre_tokenizer, Piece piece, std::vector<Piece>& words);

// GPT-2's spelling of bytes as characters, and back. The second is nothing for other characters.
char32_t byte_level_character(unsigned char byte);
std::optional<unsigned char> byte_level_byte(char32_t character);

// --- models

// Strings found as prefixes of a text.
class PrefixTree {
 public:
  PrefixTree() = default;
  explicit PrefixTree(std::vector<std::string> keys);  // all different

  // Calls visit(index of the key, its size) for all keys that `text` begins with, shortest first.
  template <typename Visit>
  void visit_prefixes(std::string_view text, Visit visit) const {
    size_t begin = 0;
    size_t end = keys_.size();
    for (size_t depth = 0; begin < end; ++depth) {
      if (keys_[begin].first.size() == depth) {
        if (depth > 0) visit(keys_[begin].second, depth);
        if (++begin == end) return;
      }
      if (depth == text.size()) return;
      std::tie(begin, end) = narrow(begin, end, depth, text[depth]);
    }
  }

 private:
  // Of the keys [begin, end), which agree in `depth` bytes and are longer, those that go on so.
  std::pair<size_t, size_t> narrow(size_t begin, size_t end, size_t depth, char byte) const;

  std::vector<std::pair<std::string, uint32_t>> keys_;     // sorted, and their indices
  std::array<std::pair<size_t, size_t>, 256> by_first_{};  // keys by their first byte
};

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
using TokenIds = std::unordered_map<std::string, int32_t, StringHash, std::equal_to<>>;

struct Merge {
  std::string left, right;
};

struct Bpe {
  TokenIds ids;
  std::vector<Merge> merges;  // in order of rank
  std::optional<std::string> unknown;
  bool fuse_unknown = false;
  bool byte_fallback = false;
  bool ignore_merges = false;  // a word that is a token is that token

  struct Merged {
    uint32_t rank;
    int32_t id;
  };
  std::unordered_map<uint64_t, Merged> by_pair;  // filled by index_merges
  std::array<int32_t, 256> byte_ids{};           // of <0xNN>; -1 where there is none

  // Throws Error(kCorrupt) when a merge joins, or makes, what is no token; `where` names the list.
  void index_merges(const std::string& where);
  void encode(std::string_view word, std::vector<int32_t>& tokens) const;
};

struct Unigram {
  std::vector<std::pair<std::string, double>> vocabulary;
  std::optional<int32_t> unknown;
  bool byte_fallback = false;

  TokenIds ids;  // filled by index_tokens
  PrefixTree tree;
  std::vector<int32_t> tree_ids;
  double unknown_score = 0;

  void index_tokens();
  void encode(std::string_view word, std::vector<int32_t>& tokens) const;
};

using TokenModel = std::variant<Bpe, Unigram>;

// "<0xNN>", as byte fallback spells a byte.
std::string byte_token(unsigned char byte);

// --- added tokens

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool single_word = false, lstrip = false, rstrip = false, normalized = false, special = false;
};

// Finds added tokens in text; special ones spelled out in it are left alone, as they are with
// tokenizers' encode_special_tokens.
class AddedTokens {
 public:
  AddedTokens() = default;
  // Throws Error(kCorrupt) when two of them are the same once normalized.
  AddedTokens(std::vector<AddedToken> tokens, const std::vector<Normalizer>& normalizers,
              const std::string& where);

  // The text as added tokens and normalized pieces between them.
  std::vector<Piece> extract(std::string text, const std::vector<Normalizer>& normalizers) const;

 private:
  struct Finder {
    PrefixTree tree;
    std::vector<uint32_t> tokens;  // by index in the tree
  };
  void split(const Piece& piece, const Finder& finder, std::vector<Piece>& pieces) const;

  std::vector<AddedToken> tokens_;
  Finder raw_, normalized_;
};

// --- all of it

struct Pipeline {
  std::string origin;  // names the file in messages
  AddedTokens added;
  std::vector<Normalizer> normalizers;
  std::vector<PreTokenizer> pre_tokenizers;
  TokenModel model;
  std::vector<int32_t> before, after;  // special tokens around every text
  std::vector<uint32_t> token_bytes;   // by id: UTF-8 bytes that it stands for

  // Thread-safe. What is not UTF-8 in `text` counts as U+FFFD.
  std::vector<int32_t> encode(std::string_view text) const;
};

}  // namespace isogloss
