#include <algorithm>

#include "isogloss/tokens/pipeline_impl.h"

namespace isogloss {

PrefixTree::PrefixTree(std::vector<std::string> keys) {
  keys_.reserve(keys.size());
  for (uint32_t index = 0; index < keys.size(); ++index) {
    keys_.emplace_back(std::move(keys[index]), index);
  }
  std::ranges::sort(keys_);
  for (size_t begin = 0; begin < keys_.size();) {
    if (keys_[begin].first.empty()) {
      ++begin;
      continue;
    }
    const char byte = keys_[begin].first[0];
    size_t end = begin;
    while (end < keys_.size() && keys_[end].first[0] == byte) ++end;
    by_first_[static_cast<unsigned char>(byte)] = {begin, end};
    begin = end;
  }
}

std::pair<size_t, size_t> PrefixTree::narrow(size_t begin, size_t end, size_t depth,
                                             char byte) const {
  if (depth == 0) return by_first_[static_cast<unsigned char>(byte)];
  const auto at_depth = [depth](const auto& key) {
    return static_cast<unsigned char>(key.first[depth]);
  };
  const auto first = keys_.begin() + static_cast<ptrdiff_t>(begin);
  const auto last = keys_.begin() + static_cast<ptrdiff_t>(end);
  const auto range =
      std::ranges::equal_range(first, last, static_cast<unsigned char>(byte), {}, at_depth);
  return {static_cast<size_t>(range.begin() - keys_.begin()),
          static_cast<size_t>(range.end() - keys_.begin())};
}

}  // namespace isogloss
