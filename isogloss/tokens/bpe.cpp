// Byte-pair encoding. Merges wait in a queue by rank, so that a word takes n log n.
#include <queue>

#include "isogloss/base/error.h"
#include "isogloss/tokens/pipeline_impl.h"
#include "isogloss/tokens/unicode_impl.h"

namespace isogloss {
namespace {

uint64_t pair_key(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

// A list of the symbols of a word; one that was merged into its left neighbour is `gone`.
struct Symbol {
  int32_t id;
  size_t previous, next;
  bool gone = false;
};
constexpr size_t kNone = static_cast<size_t>(-1);

struct Candidate {
  uint32_t rank;
  size_t place;  // of the left symbol
  int32_t id;    // of the token that it makes

  bool operator>(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : place > other.place;
  }
};

class Merger {
 public:
  Merger(const Bpe& bpe, const std::vector<int32_t>& ids) : bpe_(bpe) {
    symbols_.reserve(ids.size());
    for (size_t i = 0; i < ids.size(); ++i) {
      symbols_.push_back({ids[i], i == 0 ? kNone : i - 1, i + 1 < ids.size() ? i + 1 : kNone});
    }
  }

  void run(std::vector<int32_t>& tokens) {
    for (size_t i = 0; i + 1 < symbols_.size(); ++i) consider(i);
    while (!queue_.empty()) {
      const Candidate best = queue_.top();
      queue_.pop();
      merge(best);
    }
    for (const Symbol& symbol : symbols_) {
      if (!symbol.gone) tokens.push_back(symbol.id);
    }
  }

 private:
  const Bpe::Merged* find(size_t left) const {
    if (left == kNone || symbols_[left].next == kNone) return nullptr;
    const int32_t right = symbols_[symbols_[left].next].id;
    const auto found = bpe_.by_pair.find(pair_key(symbols_[left].id, right));
    return found == bpe_.by_pair.end() ? nullptr : &found->second;
  }

  void consider(size_t left) {
    if (const auto* merged = find(left)) queue_.push({merged->rank, left, merged->id});
  }

  // A candidate may be out of date; it counts as long as its pair still makes the same token.
  void merge(const Candidate& candidate) {
    Symbol& left = symbols_[candidate.place];
    if (left.gone) return;
    const auto* merged = find(candidate.place);
    if (merged == nullptr || merged->id != candidate.id) return;
    Symbol& right = symbols_[left.next];
    left.id = candidate.id;
    left.next = right.next;
    right.gone = true;
    if (right.next != kNone) symbols_[right.next].previous = candidate.place;
    consider(left.previous);
    consider(candidate.place);
  }

  const Bpe& bpe_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue_;
};

// The ids of a word's characters, before any merge.
class CharacterIds {
 public:
  explicit CharacterIds(const Bpe& bpe) : bpe_(bpe) {}

  std::vector<int32_t> read(std::string_view word) {
    for (size_t offset = 0; offset < word.size();) {
      const size_t bytes = code_point_at(word, offset).bytes;
      add(word.substr(offset, bytes));
      offset += bytes;
    }
    add_unknown();
    return std::move(ids_);
  }

 private:
  void add(std::string_view character) {
    const auto found = bpe_.ids.find(character);
    if (found != bpe_.ids.end()) {
      add_unknown();
      ids_.push_back(found->second);
    } else if (!add_bytes(character) && bpe_.unknown) {
      if (!bpe_.fuse_unknown) add_unknown();
      unknown_ = true;
    }
  }

  // Unknown characters before the bytes come after them: so does tokenizers.
  bool add_bytes(std::string_view character) {
    if (!bpe_.byte_fallback) return false;
    std::vector<int32_t> bytes;
    for (const char c : character) {
      const int32_t id = bpe_.byte_ids[static_cast<unsigned char>(c)];
      if (id < 0) return false;
      bytes.push_back(id);
    }
    ids_.insert(ids_.end(), bytes.begin(), bytes.end());
    return true;
  }

  void add_unknown() {
    if (!unknown_) return;
    const auto found = bpe_.ids.find(*bpe_.unknown);
    if (found == bpe_.ids.end()) {
      fail(ErrorCode::kCorrupt,
           "a text has an unknown character, and the unknown token '{}' is not in the vocabulary",
           *bpe_.unknown);
    }
    ids_.push_back(found->second);
    unknown_ = false;
  }

  const Bpe& bpe_;
  std::vector<int32_t> ids_;
  bool unknown_ = false;  // characters without a token were read, and wait
};

}  // namespace

std::string byte_token(unsigned char byte) {
  return fmt::format("<0x{:02X}>", byte);
}

void Bpe::index_merges(const std::string& where) {
  const auto id_of = [&](const std::string& token, size_t rank) {
    const auto found = ids.find(token);
    if (found == ids.end()) {
      fail(ErrorCode::kCorrupt, "{}[{}] is '{}' and '{}', and '{}' is not in the vocabulary", where,
           rank, merges[rank].left, merges[rank].right, token);
    }
    return found->second;
  };
  by_pair.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const uint64_t key = pair_key(id_of(left, rank), id_of(right, rank));
    by_pair[key] = {static_cast<uint32_t>(rank), id_of(left + right, rank)};
  }
  for (size_t byte = 0; byte < byte_ids.size(); ++byte) {
    const auto found = ids.find(byte_token(static_cast<unsigned char>(byte)));
    byte_ids[byte] = found == ids.end() ? -1 : found->second;
  }
}

void Bpe::encode(std::string_view word, std::vector<int32_t>& tokens) const {
  if (ignore_merges) {
    const auto whole = ids.find(word);
    if (whole != ids.end()) {
      tokens.push_back(whole->second);
      return;
    }
  }
  Merger(*this, CharacterIds(*this).read(word)).run(tokens);
}

}  // namespace isogloss
