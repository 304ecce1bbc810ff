// Shapley values, interactions, and their estimate from orders.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <utility>

#include "isogloss/base/error.h"
#include "isogloss/base/random.h"
#include "isogloss/measure/statistics.h"
#include "isogloss/sweep/game_impl.h"

namespace isogloss {
namespace {

// Sums over coalitions by their size.
using SizeSums = std::array<double, kMostExactPlayers>;

// The coalitions that `index` counts when player `player` is in none of them: a zero bit put in.
uint32_t skip_player(uint32_t index, size_t player) {
  const uint32_t below = index & ((1U << player) - 1);
  return ((index - below) << 1) | below;
}

// Mean over the sizes 0 .. others of the mean over the coalitions of `others` players of that size.
double mean_over_sizes(const SizeSums& sums, size_t others) {
  double total = 0;
  double coalitions = 1;  // of this size; binomials are exact here
  for (size_t size = 0; size <= others; ++size) {
    total += sums[size] / coalitions;
    coalitions = coalitions * static_cast<double>(others - size) / static_cast<double>(size + 1);
  }
  return total / static_cast<double>(others + 1);
}

double shapley_value(std::span<const double> game, size_t players, size_t player) {
  const uint32_t coalitions = 1U << (players - 1);
  const uint32_t bit = 1U << player;
  SizeSums sums{};
  for (uint32_t index = 0; index < coalitions; ++index) {
    const uint32_t without = skip_player(index, player);
    sums[static_cast<size_t>(std::popcount(index))] += game[without | bit] - game[without];
  }
  return mean_over_sizes(sums, players - 1);
}

double contrast_at(std::span<const double> game, uint32_t i, uint32_t j, uint32_t without) {
  // Two marginal contributions, whose difference is exact where they are close.
  return (game[without | i | j] - game[without | j]) - (game[without | i] - game[without]);
}

// low < high
double shapley_interaction(std::span<const double> game, size_t players, size_t low, size_t high) {
  const uint32_t coalitions = 1U << (players - 2);
  SizeSums sums{};
  for (uint32_t index = 0; index < coalitions; ++index) {
    const uint32_t without = skip_player(skip_player(index, low), high);
    sums[static_cast<size_t>(std::popcount(index))] +=
        contrast_at(game, 1U << low, 1U << high, without);
  }
  return mean_over_sizes(sums, players - 2);
}

void check_game(std::span<const double> game, size_t players) {
  ISOGLOSS_ASSERT(players <= kMostExactPlayers);
  ISOGLOSS_ASSERT(game.size() == size_t{1} << players);
}

// A generator for one pair. Both numbers are hashed: SplitMix64 from neighbouring states would
// repeat one sequence, shifted.
Random random_of_pair(uint64_t seed, size_t pair) {
  return Random(Random(Random(seed).next() + pair).next());
}

// Probability that a Student variable with `degrees` of freedom is at most sqrt(degrees) tan(angle)
// in size (Abramowitz & Stegun 1964, formulas 26.7.3 and 26.7.4).
double student_probability(double angle, size_t degrees) {
  const bool odd = degrees % 2 == 1;
  const double cosine = std::cos(angle);
  double term = odd ? cosine : 1.0;
  double sum = degrees == 1 ? 0.0 : term;
  for (size_t k = odd ? 3 : 2; k + 2 <= degrees; k += 2) {
    term *= cosine * cosine * static_cast<double>(k - 1) / static_cast<double>(k);
    sum += term;
  }
  const double part = std::sin(angle) * sum;
  return odd ? (angle + part) * 2 / std::numbers::pi : part;
}

}  // namespace

std::vector<double> shapley_values(std::span<const double> game, size_t players) {
  check_game(game, players);
  std::vector<double> values(players);
  for (size_t player = 0; player < players; ++player) {
    values[player] = shapley_value(game, players, player);
  }
  return values;
}

std::vector<double> shapley_interactions(std::span<const double> game, size_t players) {
  check_game(game, players);
  std::vector<double> interactions(players * players, 0.0);
  for (size_t i = 0; i < players; ++i) {
    for (size_t j = i + 1; j < players; ++j) {
      const double interaction = shapley_interaction(game, players, i, j);
      interactions[i * players + j] = interaction;
      interactions[j * players + i] = interaction;
    }
  }
  return interactions;
}

double contrast(std::span<const double> game, size_t i, size_t j, uint32_t others) {
  ISOGLOSS_ASSERT(i < kMostExactPlayers && j < kMostExactPlayers && i != j);
  const uint32_t bit_i = 1U << i;
  const uint32_t bit_j = 1U << j;
  ISOGLOSS_ASSERT((others | bit_i | bit_j) < game.size());
  return contrast_at(game, bit_i, bit_j, others & ~(bit_i | bit_j));
}

std::vector<std::vector<size_t>> draw_permutations(size_t players, size_t pairs, uint64_t seed,
                                                   size_t first_pair) {
  std::vector<std::vector<size_t>> orders;
  orders.reserve(2 * pairs);
  for (size_t pair = first_pair; pair < first_pair + pairs; ++pair) {
    Random random = random_of_pair(seed, pair);
    std::vector<size_t> order(players);
    std::iota(order.begin(), order.end(), size_t{0});
    for (size_t left = players; left > 1; --left) {  // Fisher & Yates
      std::swap(order[left - 1], order[random.below(left)]);
    }
    orders.push_back(order);
    std::reverse(order.begin(), order.end());
    orders.push_back(std::move(order));
  }
  return orders;
}

double student_reach(double confidence, size_t degrees) {
  ISOGLOSS_ASSERT(confidence > 0 && confidence < 1);
  ISOGLOSS_ASSERT(degrees >= 1);
  double low = 0;
  double high = std::numbers::pi / 2;
  // Until no double lies between them; each step halves what is left of 53 bits.
  for (double middle = high / 2; low < middle && middle < high; middle = low + (high - low) / 2) {
    (student_probability(middle, degrees) < confidence ? low : high) = middle;
  }
  return std::sqrt(static_cast<double>(degrees)) * std::tan(low);
}

SampledShapley::SampledShapley(size_t players) : means_(players, 0.0), squares_(players, 0.0) {}

void SampledShapley::add_pair(std::span<const double> forward, std::span<const double> backward) {
  ISOGLOSS_ASSERT(forward.size() == means_.size() && backward.size() == means_.size());
  ++pairs_;
  for (size_t player = 0; player < means_.size(); ++player) {
    // Welford 1962: stable where the spread is small beside the mean.
    const double mean_of_pair = 0.5 * (forward[player] + backward[player]);
    const double before = mean_of_pair - means_[player];
    means_[player] += before / static_cast<double>(pairs_);
    squares_[player] += before * (mean_of_pair - means_[player]);
  }
}

double SampledShapley::value(size_t player) const {
  ISOGLOSS_ASSERT(player < means_.size());
  return means_[player];
}

double SampledShapley::standard_error(size_t player) const {
  ISOGLOSS_ASSERT(player < means_.size());
  if (pairs_ < 2) return std::numeric_limits<double>::infinity();
  const double count = static_cast<double>(pairs_);
  return std::sqrt(squares_[player] / (count - 1) / count);
}

bool SampledShapley::precise(double tolerance) const {
  if (pairs_ < kLeastPairs) return false;
  const double reach = student_reach(kConfidence, pairs_ - 1);
  for (size_t player = 0; player < means_.size(); ++player) {
    // Written so that a value that is not a number is never precise.
    if (!(reach * standard_error(player) <= tolerance)) return false;
  }
  return true;
}

}  // namespace isogloss
