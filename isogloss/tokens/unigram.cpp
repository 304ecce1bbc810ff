// Unigram: the best path through all tokens that are in a word, as in SentencePiece.
#include <algorithm>
#include <limits>

#include "isogloss/base/error.h"
#include "isogloss/tokens/pipeline_impl.h"
#include "isogloss/tokens/unicode_impl.h"

namespace isogloss {
namespace {

// The best path that ends at a byte: the last token on it.
struct Step {
  static constexpr size_t kNowhere = static_cast<size_t>(-1);
  size_t begin = kNowhere;
  int32_t id = 0;
  double score = 0;  // of the whole path
};

void improve(Step& step, size_t begin, int32_t id, double score) {
  if (step.begin == Step::kNowhere || score > step.score) step = {begin, id, score};
}

std::vector<Step> find_best_path(const Unigram& model, std::string_view word) {
  std::vector<Step> steps(word.size() + 1);
  for (size_t begin = 0; begin < word.size();) {
    const double score = steps[begin].score;
    const size_t character = code_point_at(word, begin).bytes;
    bool character_is_token = false;
    model.tree.visit_prefixes(word.substr(begin), [&](uint32_t index, size_t bytes) {
      const int32_t id = model.tree_ids[index];
      improve(steps[begin + bytes], begin, id,
              score + model.vocabulary[static_cast<size_t>(id)].second);
      if (bytes == character) character_is_token = true;
    });
    if (!character_is_token) {
      if (!model.unknown) {
        fail(ErrorCode::kCorrupt, "a text has an unknown character, and model.unk_id is not set");
      }
      improve(steps[begin + character], begin, *model.unknown, score + model.unknown_score);
    }
    begin += character;
  }
  return steps;
}

// The path's pieces from front to back; unknown ones that touch are one.
std::vector<std::string_view> cut(const Unigram& model, std::string_view word) {
  const auto steps = find_best_path(model, word);
  std::vector<std::string_view> pieces;
  bool after_unknown = false;
  for (size_t end = word.size(); end > 0;) {
    const Step& step = steps[end];
    const bool is_unknown = step.id == model.unknown;
    const size_t bytes = end - step.begin;
    if (is_unknown && after_unknown) {
      pieces.back() = word.substr(step.begin, bytes + pieces.back().size());
    } else {
      pieces.push_back(word.substr(step.begin, bytes));
    }
    after_unknown = is_unknown;
    end = step.begin;
  }
  std::ranges::reverse(pieces);
  return pieces;
}

bool append_bytes(const TokenIds& ids, std::string_view piece, std::vector<int32_t>& tokens) {
  std::vector<int32_t> bytes;
  for (const char c : piece) {
    const auto found = ids.find(byte_token(static_cast<unsigned char>(c)));
    if (found == ids.end()) return false;
    bytes.push_back(found->second);
  }
  tokens.insert(tokens.end(), bytes.begin(), bytes.end());
  return true;
}

}  // namespace

void Unigram::index_tokens() {
  constexpr double kUnknownPenalty = 10;
  double lowest = std::numeric_limits<double>::infinity();
  std::vector<std::string> keys;
  for (size_t id = 0; id < vocabulary.size(); ++id) {
    const auto& [token, score] = vocabulary[id];
    ids.insert_or_assign(token, static_cast<int32_t>(id));
    lowest = std::min(lowest, score);
  }
  for (const auto& [token, id] : ids) {
    keys.push_back(token);
    tree_ids.push_back(id);
  }
  tree = PrefixTree(std::move(keys));
  unknown_score = lowest - kUnknownPenalty;
}

void Unigram::encode(std::string_view word, std::vector<int32_t>& tokens) const {
  for (const std::string_view piece : cut(*this, word)) {
    const auto found = ids.find(piece);
    if (found != ids.end()) {
      tokens.push_back(found->second);
    } else if (!byte_fallback || !append_bytes(ids, piece, tokens)) {
      ISOGLOSS_ASSERT(unknown.has_value());
      tokens.push_back(*unknown);
    }
  }
}

}  // namespace isogloss
