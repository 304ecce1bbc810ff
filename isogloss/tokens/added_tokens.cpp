#include <algorithm>
#include <map>

#include "isogloss/base/error.h"
#include "isogloss/tokens/pipeline_impl.h"
#include "isogloss/tokens/unicode_impl.h"

namespace isogloss {
namespace {

bool ends_with_word(std::string_view text) {
  size_t last = text.size();
  while (last > 0 && (static_cast<unsigned char>(text[last - 1]) & 0xc0) == 0x80) --last;
  return last > 0 && is_word(code_point_at(text, last - 1).value);
}

bool starts_with_word(std::string_view text) {
  return !text.empty() && is_word(code_point_at(text, 0).value);
}

size_t end_of_leading_space(std::string_view text) {
  size_t offset = 0;
  while (offset < text.size()) {
    const CodePoint here = code_point_at(text, offset);
    if (!is_white_space(here.value)) break;
    offset += here.bytes;
  }
  return offset;
}

size_t begin_of_trailing_space(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t begin = end - 1;
    while ((static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80) --begin;
    if (!is_white_space(code_point_at(text, begin).value)) break;
    end = begin;
  }
  return end;
}

std::string normalized(const AddedToken& token, const std::vector<Normalizer>& normalizers) {
  Piece piece{token.content, false, 0, {}};
  for (const Normalizer& normalizer : normalizers) normalize(normalizer, piece);
  return piece.text;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const std::vector<Normalizer>& normalizers,
                         const std::string& where)
    : tokens_(std::move(tokens)) {
  // Looking for a token takes its length at every place of a text where it begins.
  constexpr size_t kLongest = 1024;
  std::vector<std::string> raw, after;
  std::map<std::string, std::string> seen;
  for (uint32_t i = 0; i < tokens_.size(); ++i) {
    const AddedToken& token = tokens_[i];
    std::string spelled = token.normalized ? normalized(token, normalizers) : token.content;
    if (spelled.empty()) {
      fail(ErrorCode::kUnsupported, "{}: '{}' is empty once normalized", where, token.content);
    }
    if (spelled.size() > kLongest) {
      fail(ErrorCode::kUnsupported, "{}: token {} has {} bytes; at most {} are understood", where,
           token.id, spelled.size(), kLongest);
    }
    if (token.normalized) {
      const auto [twin, fresh] = seen.try_emplace(spelled, token.content);
      if (!fresh) {
        fail(ErrorCode::kUnsupported, "{}: '{}' and '{}' are the same once normalized", where,
             twin->second, token.content);
      }
    }
    (token.normalized ? after : raw).push_back(std::move(spelled));
    (token.normalized ? normalized_ : raw_).tokens.push_back(i);
  }
  raw_.tree = PrefixTree(std::move(raw));
  normalized_.tree = PrefixTree(std::move(after));
}

// Of the tokens that begin at a place the longest is taken, special or not; then the search goes on
// after it.
void AddedTokens::split(const Piece& piece, const Finder& finder,
                        std::vector<Piece>& pieces) const {
  const std::string_view text = piece.text;
  size_t covered = 0;
  const auto add = [&](size_t begin, size_t end, std::optional<int32_t> token) {
    if (begin >= end) return;
    pieces.push_back(slice(piece, begin, end));
    pieces.back().token = token;
  };
  for (size_t offset = 0; offset < text.size();) {
    const AddedToken* token = nullptr;
    size_t bytes = 0;
    finder.tree.visit_prefixes(text.substr(offset), [&](uint32_t index, size_t size) {
      token = &tokens_[finder.tokens[index]];
      bytes = size;
    });
    size_t begin = offset;
    size_t end = offset + bytes;
    offset = token == nullptr ? offset + 1 : end;
    if (token == nullptr || token->special) continue;
    if (token->single_word &&
        (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end)))) {
      continue;
    }
    if (begin < covered) {
      fail(ErrorCode::kUnsupported,
           "added token '{}' begins in white space that the one before it takes", token->content);
    }
    if (token->lstrip) begin = std::max(begin_of_trailing_space(text.substr(0, begin)), covered);
    if (token->rstrip) end += end_of_leading_space(text.substr(end));
    add(covered, begin, std::nullopt);
    add(begin, end, token->id);
    covered = end;
  }
  add(covered, text.size(), std::nullopt);
}

std::vector<Piece> AddedTokens::extract(std::string text,
                                        const std::vector<Normalizer>& normalizers) const {
  Piece whole{std::move(text), true, 0, {}};
  if (!whole.text.empty()) whole.start_bytes = code_point_at(whole.text, 0).bytes;
  std::vector<Piece> raw, pieces;
  split(whole, raw_, raw);
  for (Piece& piece : raw) {
    if (piece.token) {
      pieces.push_back(std::move(piece));
      continue;
    }
    for (const Normalizer& normalizer : normalizers) normalize(normalizer, piece);
    split(piece, normalized_, pieces);
  }
  return pieces;
}

}  // namespace isogloss
