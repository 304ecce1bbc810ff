// Every subset of layers restored: the best of each size, and exact Shapley values.
#include <algorithm>
#include <bit>
#include <cmath>
#include <map>

#include "isogloss/base/error.h"
#include "isogloss/sweep/game_impl.h"
#include "isogloss/sweep/sets_impl.h"

namespace isogloss {
namespace {

// Sets of each size and objective that are measured on every position after a search that saw only
// a share of them.
constexpr size_t kFinalists = 4;

// Sums over the units of a language: what losses are divided by, then columns of numbers that are
// linear in the losses, as Shapley values are, and so are sums over units themselves.
class LinearColumns {
 public:
  LinearColumns(UnitSums sums, size_t draws, uint64_t seed)
      : totals_(column_totals(sums)), bootstrap_(sums, draws, seed) {}

  double drawn(size_t draw, size_t column) const {
    return bootstrap_.at(draw, 1 + column) / bootstrap_.at(draw, 0);
  }
  Effect effect(size_t column) const {
    std::vector<double> draws;
    for (size_t d = 0; d < bootstrap_.draws(); ++d) draws.push_back(drawn(d, column));
    return effect_of(totals_[1 + column] / totals_[0], std::move(draws));
  }

 private:
  std::vector<double> totals_;
  BootstrapTotals bootstrap_;
};

class Subsets {
 public:
  Subsets(Measurer& measurer, ConfigurationBuilder& builder, const std::vector<SweepUnit>& layers,
          const TokenizedCorpus& corpus, const SweepRequest& request, const SweepOptions& options)
      : measurer_(measurer),
        builder_(builder),
        layers_(layers),
        corpus_(corpus),
        options_(options),
        max_size_(std::min(request.max_size, layers.size())),
        masks_(subset_masks(layers.size(), max_size_)) {}

  SubsetsResult run() {
    SubsetsResult result;
    for (const SweepUnit& layer : layers_) result.players.push_back(layer.name);
    result.max_size = max_size_;
    result.sets = masks_.size();
    result.positions = options_.search_positions;
    const ScoreTable table =
        measurer_.measure("search", configurations_of(masks_), options_.search_positions);
    add_best(table, result);
    if (max_size_ >= 2 && layers_.size() >= 2) add_contrasts_at_none(table, result);
    if (max_size_ == layers_.size()) add_shapley(table, result);
    return result;
  }

 private:
  using Masks = std::vector<uint32_t>;

  std::vector<const SweepUnit*> units_of(uint32_t mask) const {
    std::vector<const SweepUnit*> units;
    for (size_t i = 0; i < layers_.size(); ++i) {
      if (mask >> i & 1) units.push_back(&layers_[i]);
    }
    return units;
  }
  std::vector<Configuration> configurations_of(const Masks& masks);
  std::vector<Masks> candidates(const ScoreTable& table) const;
  void add_best(const ScoreTable& table, SubsetsResult& result);
  std::optional<BestSet> best_of(const Masks& masks, const Masks& measured, const ScoreTable& table,
                                 SetObjective objective) const;
  void add_contrasts_at_none(const ScoreTable& table, SubsetsResult& result) const;
  std::vector<double> game_of(const ScoreTable& table, size_t sequence) const;
  LinearColumns shapley_columns(const ScoreTable& table, size_t language) const;
  void add_shapley(const ScoreTable& table, SubsetsResult& result) const;

  Measurer& measurer_;
  ConfigurationBuilder& builder_;
  const std::vector<SweepUnit>& layers_;
  const TokenizedCorpus& corpus_;
  const SweepOptions& options_;
  size_t max_size_;
  Masks masks_;
};

std::vector<Configuration> Subsets::configurations_of(const Masks& masks) {
  std::vector<Configuration> configurations;
  for (const uint32_t mask : masks) configurations.push_back(builder_.restore(units_of(mask)));
  return configurations;
}

// By size and objective, the sets that may be the best, best first: [size * objectives +
// objective].
std::vector<Subsets::Masks> Subsets::candidates(const ScoreTable& table) const {
  const auto objectives = sample_objectives(corpus_, table, options_);
  const size_t keep = options_.search_positions < 1 ? kFinalists : 2;
  std::vector<Masks> found;
  for (size_t size = 0; size <= max_size_; ++size) {
    for (const auto& values : objectives) {
      std::vector<size_t> places;
      for (size_t i = 0; i < masks_.size(); ++i) {
        const bool of_size = static_cast<size_t>(std::popcount(masks_[i])) == size;
        if (of_size && !std::isnan(values[i])) places.push_back(i);
      }
      std::ranges::stable_sort(places, {}, [&](size_t place) { return values[place]; });
      places.resize(std::min(places.size(), keep));
      Masks& masks = found.emplace_back();
      for (const size_t place : places) masks.push_back(masks_[place]);
    }
  }
  return found;
}

void Subsets::add_best(const ScoreTable& table, SubsetsResult& result) {
  const std::vector<Masks> found = candidates(table);
  Masks finalists;
  for (const Masks& masks : found) finalists.insert(finalists.end(), masks.begin(), masks.end());
  std::ranges::sort(finalists);
  finalists.erase(std::unique(finalists.begin(), finalists.end()), finalists.end());
  ScoreTable final_table;
  if (options_.search_positions < 1) {
    final_table = measurer_.measure("final", configurations_of(finalists), 1);
  } else {
    final_table.nll_reference = table.nll_reference;
    for (const uint32_t mask : finalists) {
      const auto place = static_cast<size_t>(std::ranges::find(masks_, mask) - masks_.begin());
      final_table.configurations.push_back(table.configurations[place]);
    }
  }
  for (size_t i = 0; i < found.size(); ++i) {
    const SetObjective objective = kSetObjectives[i % std::size(kSetObjectives)];
    auto best = best_of(found[i], finalists, final_table, objective);
    if (best) result.best.push_back(std::move(*best));
  }
}

// `table` has the sets `measured`, `masks` among them.
std::optional<BestSet> Subsets::best_of(const Masks& masks, const Masks& measured,
                                        const ScoreTable& table, SetObjective objective) const {
  if (masks.empty()) return std::nullopt;
  std::vector<size_t> places;
  for (const uint32_t mask : masks) {
    places.push_back(
        static_cast<size_t>(std::ranges::lower_bound(measured, mask) - measured.begin()));
  }
  const SetLosses losses(corpus_, table, places, options_);
  std::vector<size_t> order;  // a share of the positions can define what all of them do not
  for (size_t i = 0; i < masks.size(); ++i) {
    if (!std::isnan(losses.value(i, objective))) order.push_back(i);
  }
  if (order.empty()) return std::nullopt;
  std::ranges::stable_sort(order, {}, [&](size_t i) { return losses.value(i, objective); });
  const auto units = units_of(masks[order[0]]);
  BestSet best;
  best.objective = to_string(objective);
  best.size = units.size();
  best.set = describe_set(losses, order[0], builder_, units);
  if (order.size() > 1) {
    best.runner_up = join_names(units_of(masks[order[1]]));
    best.lead = losses.lead(order[0], order[1], objective);
  }
  return best;
}

// What a sequence contributes to minus the loss, for every subset.
std::vector<double> Subsets::game_of(const ScoreTable& table, size_t sequence) const {
  std::vector<double> game(size_t{1} << layers_.size());
  for (size_t i = 0; i < masks_.size(); ++i) {
    game[masks_[i]] = -table.configurations[i][sequence].kl;
  }
  return game;
}

std::vector<std::pair<size_t, size_t>> pairs_of(size_t players) {
  std::vector<std::pair<size_t, size_t>> pairs;
  for (size_t i = 0; i < players; ++i) {
    for (size_t j = i + 1; j < players; ++j) pairs.emplace_back(i, j);
  }
  return pairs;
}

// Shapley values, then three numbers a pair: the index, and the contrasts at none and at all.
LinearColumns Subsets::shapley_columns(const ScoreTable& table, size_t language) const {
  const size_t players = layers_.size();
  const auto pairs = pairs_of(players);
  const auto everyone = static_cast<uint32_t>((size_t{1} << players) - 1);
  const auto& sequences = corpus_.languages[language].sequences;
  const size_t first = first_sequence(corpus_, language);
  UnitSums sums{sequences.size(), 1 + players + 3 * pairs.size(), {}};
  for (size_t u = 0; u < sequences.size(); ++u) {
    const auto game = game_of(table, first + u);
    auto& row = sums.values;
    row.push_back(corpus_.parallel ? 1.0 : static_cast<double>(sequences[u].bytes));
    const auto values = shapley_values(game, players);
    row.insert(row.end(), values.begin(), values.end());
    const auto index = shapley_interactions(game, players);
    for (const auto& [i, j] : pairs) {
      row.push_back(index[i * players + j]);
      row.push_back(contrast(game, i, j, 0));
      row.push_back(contrast(game, i, j, everyone));
    }
  }
  return {std::move(sums), options_.draws, draw_seed(corpus_, options_.seed, language)};
}

// Benjamini & Hochberg over each kind of number.
void adjust_shapley(SubsetsResult& result) {
  std::vector<Effect*> values, means, indices, at_none, at_all;
  for (auto& language : result.shapley->values) {
    for (Effect& effect : language) values.push_back(&effect);
  }
  for (Effect& effect : result.shapley->mean) means.push_back(&effect);
  for (auto& language : result.interactions) {
    for (PairInteraction& pair : language) {
      indices.push_back(&pair.index);
      at_none.push_back(&pair.at_none);
      at_all.push_back(&pair.at_all);
    }
  }
  for (const auto& family : {values, means, indices, at_none, at_all}) adjust(family);
}

void Subsets::add_shapley(const ScoreTable& table, SubsetsResult& result) const {
  const size_t players = layers_.size();
  const auto pairs = pairs_of(players);
  const auto languages = static_cast<double>(corpus_.languages.size());
  ShapleyValues& shapley = result.shapley.emplace();
  shapley.players = result.players;
  std::vector<std::vector<double>> mean_draws(players, std::vector<double>(options_.draws));
  std::vector<double> means(players);
  for (size_t l = 0; l < corpus_.languages.size(); ++l) {
    const LinearColumns columns = shapley_columns(table, l);
    auto& values = shapley.values.emplace_back();
    for (size_t p = 0; p < players; ++p) {
      values.push_back(columns.effect(p));
      means[p] += values[p].value.estimate->value / languages;
      for (size_t d = 0; d < options_.draws; ++d) {
        mean_draws[p][d] += columns.drawn(d, p) / languages;
      }
    }
    auto& interactions = result.interactions.emplace_back();
    for (size_t k = 0; k < pairs.size(); ++k) {
      const size_t column = players + 3 * k;
      interactions.push_back({pairs[k].first, pairs[k].second, columns.effect(column),
                              columns.effect(column + 1), columns.effect(column + 2)});
    }
  }
  for (size_t p = 0; p < players; ++p) {
    shapley.mean.push_back(effect_of(means[p], std::move(mean_draws[p])));
  }
  adjust_shapley(result);
}

// v(ij) - v(i) - v(j) + v(none) of minus the mean loss over languages.
void Subsets::add_contrasts_at_none(const ScoreTable& table, SubsetsResult& result) const {
  const auto place_of = [&](uint32_t mask) {
    return static_cast<size_t>(std::ranges::find(masks_, mask) - masks_.begin());
  };
  const size_t languages = corpus_.languages.size();
  for (const auto& [i, j] : pairs_of(layers_.size())) {
    const std::vector<size_t> four = {place_of(1U << i | 1U << j), place_of(1U << i),
                                      place_of(1U << j), place_of(0)};
    LossStream stream(corpus_, table, four, options_.seed);
    const auto contrast_of = [&](std::span<const double> losses) {
      constexpr double kSigns[] = {-1, 1, 1, -1};
      double sum = 0;
      for (size_t c = 0; c < 4; ++c) {
        sum += kSigns[c] * mean_of(losses.subspan(c * languages, languages));
      }
      return sum;
    };
    std::vector<double> draws;
    stream.next(options_.draws,
                [&](std::span<const double> losses) { draws.push_back(contrast_of(losses)); });
    PairInteraction pair{i, j, {}, {}, {}};
    pair.at_none = effect_of(contrast_of(stream.sample()), std::move(draws));
    result.contrasts_at_none.push_back(std::move(pair));
  }
  std::vector<Effect*> family;
  for (PairInteraction& pair : result.contrasts_at_none) family.push_back(&pair.at_none);
  adjust(family);
}

}  // namespace

std::vector<uint32_t> subset_masks(size_t layers, size_t max_size) {
  std::vector<uint32_t> masks;
  for (uint32_t mask = 0; mask < uint32_t{1} << layers; ++mask) {
    if (static_cast<size_t>(std::popcount(mask)) <= max_size) masks.push_back(mask);
  }
  std::ranges::stable_sort(masks, {}, [](uint32_t mask) { return std::popcount(mask); });
  return masks;
}

SubsetsResult sweep_subsets(Measurer& measurer, ConfigurationBuilder& builder,
                            const std::vector<SweepUnit>& layers, const TokenizedCorpus& corpus,
                            const SweepRequest& request, const SweepOptions& options) {
  return Subsets(measurer, builder, layers, corpus, request, options).run();
}

}  // namespace isogloss
