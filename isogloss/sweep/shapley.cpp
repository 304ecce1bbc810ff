// Shapley values of more layers than every subset can be measured of: by sampled orders.
#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>

#include "isogloss/base/random.h"
#include "isogloss/sweep/game_impl.h"
#include "isogloss/sweep/sets_impl.h"

namespace isogloss {
namespace {

// Pairs of orders between two looks at the intervals.
constexpr size_t kPairsPerRound = SampledShapley::kLeastPairs;

double normal_deviate(Random& random) {
  const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));  // Box & Muller 1958
  return radius * std::cos(2 * std::numbers::pi * random.uniform());
}

class Shapley {
 public:
  Shapley(Measurer& measurer, ConfigurationBuilder& builder, const std::vector<SweepUnit>& layers,
          const TokenizedCorpus& corpus, const SweepRequest& request, const SweepOptions& options)
      : measurer_(measurer),
        builder_(builder),
        layers_(layers),
        corpus_(corpus),
        request_(request),
        options_(options),
        estimates_(corpus.languages.size() + 1, SampledShapley(layers.size())) {}

  SampledShapleyResult run();

 private:
  using Order = std::vector<size_t>;

  void measure_round(const std::vector<Order>& orders);
  const std::vector<double>& losses_of(const Order& order, size_t length);
  std::string name_of(const Order& order, size_t length) const;
  std::vector<const SweepUnit*> units_of(const Order& order, size_t length) const;
  void add_pair(const Order& forward, const Order& backward);
  std::vector<std::vector<double>> contributions_of(const Order& order);
  double denominator_of(size_t language) const;
  bool precise() const;
  Effect effect_of_player(size_t player, size_t language, const BootstrapTotals& bootstrap,
                          const std::vector<double>& totals) const;
  void finish(SampledShapleyResult& result);

  Measurer& measurer_;
  ConfigurationBuilder& builder_;
  const std::vector<SweepUnit>& layers_;
  const TokenizedCorpus& corpus_;
  const SweepRequest& request_;
  const SweepOptions& options_;
  std::map<std::string, std::vector<double>> known_;  // by set: KL of each sequence
  std::vector<SampledShapley> estimates_;             // by language; the last: their mean
  std::vector<double> whole_loss_;                    // as estimates_: of the quantized model
  std::vector<std::vector<double>> sums_;             // [player][sequence]: of contributions
  size_t pairs_ = 0;
};

std::vector<const SweepUnit*> Shapley::units_of(const Order& order, size_t length) const {
  std::vector<size_t> players(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(length));
  std::ranges::sort(players);
  std::vector<const SweepUnit*> units;
  for (const size_t player : players) units.push_back(&layers_[player]);
  return units;
}

std::string Shapley::name_of(const Order& order, size_t length) const {
  return join_names(units_of(order, length));
}

void Shapley::measure_round(const std::vector<Order>& orders) {
  std::vector<Configuration> configurations;
  std::vector<std::string> names;
  for (const Order& order : orders) {
    for (size_t length = 0; length <= order.size(); ++length) {
      std::string name = name_of(order, length);
      if (!known_.emplace(name, std::vector<double>()).second) continue;
      configurations.push_back(builder_.restore(units_of(order, length)));
      names.push_back(std::move(name));
    }
  }
  const std::string phase = fmt::format("orders from {}", 2 * pairs_);
  const ScoreTable table = measurer_.measure(phase, configurations, options_.search_positions);
  for (size_t c = 0; c < names.size(); ++c) {
    for (const UnitScore& score : table.configurations[c]) known_[names[c]].push_back(score.kl);
  }
}

const std::vector<double>& Shapley::losses_of(const Order& order, size_t length) {
  return known_.at(name_of(order, length));
}

// What each player's joining takes off the KL of each sequence: [player][sequence].
std::vector<std::vector<double>> Shapley::contributions_of(const Order& order) {
  std::vector<std::vector<double>> contributions(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    contributions[order[i]] = losses_of(order, i);
    const auto& after = losses_of(order, i + 1);
    for (size_t s = 0; s < after.size(); ++s) contributions[order[i]][s] -= after[s];
  }
  return contributions;
}

double Shapley::denominator_of(size_t language) const {
  double sum = 0;
  for (const Sequence& sequence : corpus_.languages[language].sequences) {
    sum += corpus_.parallel ? 1.0 : static_cast<double>(sequence.bytes);
  }
  return sum;
}

void Shapley::add_pair(const Order& forward, const Order& backward) {
  const auto one = contributions_of(forward);
  const auto other = contributions_of(backward);
  const size_t players = layers_.size();
  const size_t languages = corpus_.languages.size();
  std::vector<std::vector<double>> loss_of_one(languages + 1, std::vector<double>(players));
  auto loss_of_other = loss_of_one;
  for (size_t p = 0; p < players; ++p) {
    for (size_t l = 0; l < languages; ++l) {
      const size_t first = first_sequence(corpus_, l);
      for (size_t u = 0; u < corpus_.languages[l].sequences.size(); ++u) {
        loss_of_one[l][p] += one[p][first + u] / denominator_of(l);
        loss_of_other[l][p] += other[p][first + u] / denominator_of(l);
      }
      loss_of_one[languages][p] += loss_of_one[l][p] / static_cast<double>(languages);
      loss_of_other[languages][p] += loss_of_other[l][p] / static_cast<double>(languages);
    }
    for (size_t s = 0; s < one[p].size(); ++s) sums_[p][s] += one[p][s] + other[p][s];
  }
  for (size_t l = 0; l <= languages; ++l) estimates_[l].add_pair(loss_of_one[l], loss_of_other[l]);
}

bool Shapley::precise() const {
  for (size_t l = 0; l < estimates_.size(); ++l) {
    if (!estimates_[l].precise(request_.tolerance * whole_loss_[l])) return false;
  }
  return true;
}

// Two things are chance: which orders were drawn, and which units the corpus has. Each draw of the
// units has a normal deviate of the orders' standard error added.
Effect Shapley::effect_of_player(size_t player, size_t language, const BootstrapTotals& bootstrap,
                                 const std::vector<double>& totals) const {
  Random random(options_.seed + 7919 * (1 + player));
  const double error = estimates_[language].standard_error(player);
  std::vector<double> draws;
  for (size_t d = 0; d < bootstrap.draws(); ++d) {
    draws.push_back(bootstrap.at(d, 1 + player) / bootstrap.at(d, 0) +
                    error * normal_deviate(random));
  }
  return effect_of(totals[1 + player] / totals[0], std::move(draws));
}

void Shapley::finish(SampledShapleyResult& result) {
  const size_t players = layers_.size();
  const size_t languages = corpus_.languages.size();
  ShapleyValues& shapley = result.shapley;
  for (const SweepUnit& layer : layers_) shapley.players.push_back(layer.name);
  std::vector<std::vector<double>> mean_draws(players, std::vector<double>(options_.draws));
  for (size_t l = 0; l < languages; ++l) {
    const auto& sequences = corpus_.languages[l].sequences;
    const size_t first = first_sequence(corpus_, l);
    UnitSums sums{sequences.size(), 1 + players, {}};
    for (size_t u = 0; u < sequences.size(); ++u) {
      sums.values.push_back(corpus_.parallel ? 1.0 : static_cast<double>(sequences[u].bytes));
      for (size_t p = 0; p < players; ++p) {
        sums.values.push_back(sums_[p][first + u] / static_cast<double>(2 * pairs_));
      }
    }
    const BootstrapTotals bootstrap(sums, options_.draws, draw_seed(corpus_, options_.seed, l));
    const auto totals = column_totals(sums);
    auto& values = shapley.values.emplace_back();
    for (size_t p = 0; p < players; ++p) {
      values.push_back(effect_of_player(p, l, bootstrap, totals));
      for (size_t d = 0; d < options_.draws; ++d) {
        mean_draws[p][d] +=
            bootstrap.at(d, 1 + p) / bootstrap.at(d, 0) / static_cast<double>(languages);
      }
    }
  }
  std::vector<Effect*> family;
  for (auto& language : shapley.values) {
    for (Effect& effect : language) family.push_back(&effect);
  }
  adjust(family);
  family.clear();
  for (size_t p = 0; p < players; ++p) {
    Random random(options_.seed + 7919 * (1 + p));
    const double error = estimates_[languages].standard_error(p);
    for (double& draw : mean_draws[p]) draw += error * normal_deviate(random);
    shapley.mean.push_back(effect_of(estimates_[languages].value(p), std::move(mean_draws[p])));
  }
  for (Effect& effect : shapley.mean) family.push_back(&effect);
  adjust(family);
}

SampledShapleyResult Shapley::run() {
  sums_.assign(layers_.size(), std::vector<double>(all_sequences(corpus_).size()));
  SampledShapleyResult result;
  while (pairs_ < request_.max_permutations && !result.precise) {
    const size_t pairs = std::min(kPairsPerRound, request_.max_permutations - pairs_);
    const auto orders = draw_permutations(layers_.size(), pairs, options_.seed, pairs_);
    measure_round(orders);
    for (size_t k = 0; k < pairs; ++k) add_pair(orders[2 * k], orders[2 * k + 1]);
    if (whole_loss_.empty()) {
      const auto& whole = losses_of(orders[0], 0);
      whole_loss_.assign(corpus_.languages.size() + 1, 0);
      for (size_t l = 0; l < corpus_.languages.size(); ++l) {
        const size_t first = first_sequence(corpus_, l);
        for (size_t u = 0; u < corpus_.languages[l].sequences.size(); ++u) {
          whole_loss_[l] += whole[first + u] / denominator_of(l);
        }
        whole_loss_.back() += whole_loss_[l] / static_cast<double>(corpus_.languages.size());
      }
    }
    pairs_ += pairs;
    result.precise = precise();
  }
  result.permutations = 2 * pairs_;
  finish(result);
  return result;
}

}  // namespace

SampledShapleyResult sweep_shapley(Measurer& measurer, ConfigurationBuilder& builder,
                                   const std::vector<SweepUnit>& layers,
                                   const TokenizedCorpus& corpus, const SweepRequest& request,
                                   const SweepOptions& options) {
  return Shapley(measurer, builder, layers, corpus, request, options).run();
}

}  // namespace isogloss
