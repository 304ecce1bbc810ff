// Near matches by edit distance.
#include "isogloss/base/suggest.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace isogloss {
namespace {

constexpr size_t kMostSuggestions = 2;

struct NearMatch {
  size_t distance;
  std::string_view candidate;
};

// Insertions, deletions and replacements of one byte that turn `from` into `to`.
size_t edit_distance(std::string_view from, std::string_view to) {
  std::vector<size_t> costs(to.size() + 1);
  std::iota(costs.begin(), costs.end(), size_t{0});
  for (size_t i = 0; i < from.size(); ++i) {
    size_t diagonal = costs[0];
    costs[0] = i + 1;
    for (size_t j = 0; j < to.size(); ++j) {
      const size_t replaced = diagonal + (from[i] == to[j] ? 0 : 1);
      diagonal = costs[j + 1];
      costs[j + 1] = std::min({replaced, diagonal + 1, costs[j] + 1});
    }
  }
  return costs.back();
}

// Nearest first; equally near ones in the order of `candidates`.
std::vector<NearMatch> find_near(std::string_view name,
                                 const std::vector<std::string>& candidates) {
  const size_t limit = name.size() / 3;
  const std::string wanted = lower_case(name);
  std::vector<NearMatch> near;
  for (const std::string& candidate : candidates) {
    const size_t longer = std::max(candidate.size(), name.size());
    const size_t shorter = std::min(candidate.size(), name.size());
    if (longer - shorter > limit) continue;
    const size_t distance = edit_distance(wanted, lower_case(candidate));
    const bool repeated = std::ranges::find(near, candidate, &NearMatch::candidate) != near.end();
    if (distance <= limit && !repeated) near.push_back({distance, candidate});
  }
  std::ranges::stable_sort(near, {}, &NearMatch::distance);
  return near;
}

}  // namespace

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& letter : lower) {
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  }
  return lower;
}

std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates) {
  if (name.empty()) return "";
  const std::vector<NearMatch> near = find_near(name, candidates);
  if (near.empty()) return "";
  if (near.size() < kMostSuggestions)
    return fmt::format(" (did you mean '{}'?)", near[0].candidate);
  return fmt::format(" (did you mean '{}' or '{}'?)", near[0].candidate, near[1].candidate);
}

}  // namespace isogloss
