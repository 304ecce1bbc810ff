// Sets that a user names, beside random ones of the same bytes.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "isogloss/base/error.h"
#include "isogloss/base/random.h"
#include "isogloss/sweep/sets_impl.h"

namespace isogloss {
namespace {

// Sizes that count as the same: norms and biases make layers of one shape differ by less.
constexpr double kSameBytes = 0.01;
// Draws for each random set that is wanted.
constexpr size_t kTriesPerSet = 200;

using Units = std::vector<const SweepUnit*>;  // in the order of the sweep's units

bool same_bytes(uint64_t a, uint64_t b) {
  const auto difference = static_cast<double>(a > b ? a - b : b - a);
  return difference <= kSameBytes * static_cast<double>(b);
}

// Units in random order as long as they fit; nothing where their bytes are not those wanted.
Units draw_set(const std::vector<SweepUnit>& units, uint64_t bytes, Random& random) {
  std::vector<size_t> order(units.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::vector<size_t> taken;
  uint64_t sum = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    std::swap(order[i], order[i + random.below(order.size() - i)]);
    const uint64_t with = sum + units[order[i]].extra_bytes;
    if (with > bytes && !same_bytes(with, bytes)) continue;
    sum = with;
    taken.push_back(order[i]);
    if (same_bytes(sum, bytes)) break;
  }
  Units set;
  if (!same_bytes(sum, bytes)) return set;
  std::ranges::sort(taken);
  for (const size_t unit : taken) set.push_back(&units[unit]);
  return set;
}

// Of the same bytes as `given`, none equal to it.
struct RandomSets {
  std::vector<Units> sets;  // different ones
  size_t different = 0;     // found in all tries
};

RandomSets draw_sets(const std::vector<SweepUnit>& units, const SweepUnit& given, size_t count,
                     uint64_t seed) {
  Random random(seed);
  RandomSets found;
  std::set<Units> seen;
  for (size_t attempt = 0; attempt < kTriesPerSet * count; ++attempt) {
    Units set = draw_set(units, given.extra_bytes, random);
    if (set.empty() || !seen.insert(set).second) continue;
    if (union_of(given.tensors.size(), set) == given.tensors) continue;
    ++found.different;
    if (found.sets.size() < count) found.sets.push_back(std::move(set));
  }
  return found;
}

// Share of the random sets that are worse, ties counted half.
double percentile_of(const ComparedSet& compared, Measured SetResult::*loss) {
  if (compared.random.empty()) return std::nan("");
  const double own = (compared.set.*loss).estimate->value;
  double worse = 0;
  for (const SetResult& random : compared.random) {
    const double other = (random.*loss).estimate->value;
    worse += other > own ? 1 : (other == own ? 0.5 : 0);
  }
  return worse / static_cast<double>(compared.random.size());
}

// All of them, a few at a time: draws of every language are held for each.
std::vector<SetResult> describe_all(const PlannedSets::Entry& entry, const TokenizedCorpus& corpus,
                                    const ScoreTable& table, const ConfigurationBuilder& builder,
                                    const SweepOptions& options) {
  constexpr size_t kAtOnce = 16;
  std::vector<SetResult> results;
  for (size_t first = 0; first < entry.places.size(); first += kAtOnce) {
    const size_t count = std::min(kAtOnce, entry.places.size() - first);
    const SetLosses losses(corpus, table, std::span(entry.places).subspan(first, count), options);
    for (size_t i = 0; i < count; ++i) {
      const Units units = first + i == 0 ? Units{&entry.given} : entry.random[first + i - 1];
      results.push_back(describe_set(losses, i, builder, units));
    }
  }
  return results;
}

}  // namespace

PlannedSets plan_sets(ConfigurationBuilder& builder, const std::vector<SweepUnit>& units,
                      const SweepRequest& request, const SweepOptions& options) {
  PlannedSets planned;
  std::map<std::string, size_t> places;
  const auto add = [&](const Units& set) {
    Configuration configuration = builder.restore(set);
    const auto [place, is_new] = places.emplace(configuration.name, planned.configurations.size());
    if (is_new) planned.configurations.push_back(std::move(configuration));
    return place->second;
  };
  for (const std::string& name : request.sets) {
    PlannedSets::Entry& entry = planned.entries.emplace_back();
    entry.given = make_unit(builder.model(), builder.quantized(), name);
    if (std::ranges::find(entry.given.tensors, true) == entry.given.tensors.end()) {
      fail(ErrorCode::kBadArgument, "--set {}: covers no tensor that the scheme quantizes", name);
    }
    RandomSets random = draw_sets(units, entry.given, request.random_sets, options.seed);
    entry.random = std::move(random.sets);
    entry.different = random.different;
    entry.places.push_back(add({&entry.given}));
    for (const Units& set : entry.random) entry.places.push_back(add(set));
  }
  return planned;
}

std::vector<ComparedSet> sweep_sets(Measurer& measurer, ConfigurationBuilder& builder,
                                    const std::vector<SweepUnit>& units,
                                    const TokenizedCorpus& corpus, const SweepRequest& request,
                                    const SweepOptions& options) {
  const PlannedSets planned = plan_sets(builder, units, request, options);
  const ScoreTable table = measurer.measure("sets", planned.configurations, 1);
  std::vector<ComparedSet> results;
  for (const PlannedSets::Entry& entry : planned.entries) {
    std::vector<SetResult> described = describe_all(entry, corpus, table, builder, options);
    ComparedSet& result = results.emplace_back();
    result.set = std::move(described.front());
    result.random.assign(std::make_move_iterator(described.begin() + 1),
                         std::make_move_iterator(described.end()));
    result.random_sets = result.random.size();
    result.different_sets = entry.different;
    result.worst_loss_percentile = percentile_of(result, &SetResult::worst_loss);
    result.mean_loss_percentile = percentile_of(result, &SetResult::mean_loss);
  }
  return results;
}

}  // namespace isogloss
