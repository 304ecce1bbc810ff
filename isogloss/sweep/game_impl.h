// Cooperative games whose players are parts of a model: how much of a quantization's cost does each
// part answer for, and which parts answer together? Pure functions of numbers; sums in double.
//
// A game of n players is 2^n values: entry `mask` is the value of the coalition that holds player i
// when bit i is set (the parts restored to full precision). Results have the unit of the values. A
// value that is NaN or infinite makes every result it enters NaN or infinite.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace isogloss {

// Largest game that is held in full: 2^16 values.
inline constexpr size_t kMostExactPlayers = 16;

// The Shapley value of each player (Shapley 1953): its marginal contribution to a coalition S of
// others, averaged over the coalitions of each size and then over sizes, which weights S by
// |S|! (n - |S| - 1)! / n!. They sum to the value of all minus the value of none. Exact but for
// rounding, which is below 1e-13 of the largest value.
std::vector<double> shapley_values(std::span<const double> game, size_t players);

// The Shapley interaction index of each pair (Grabisch & Roubens 1999), row-major [player][player],
// symmetric, 0 on the diagonal: contrast(i, j) at a coalition S of others, averaged as above, which
// weights S by |S|! (n - |S| - 2)! / (n - 1)!. Above 0: the two are worth more together than apart.
std::vector<double> shapley_interactions(std::span<const double> game, size_t players);

// v(S + i + j) - v(S + i) - v(S + j) + v(S), where S is `others` (a mask) without i and j.
double contrast(std::span<const double> game, size_t i, size_t j, uint32_t others);

// Orders in which players join, for games too large to be held: 2 * `pairs` permutations of 0 ..
// players - 1. Pair k is an order drawn uniformly (Castro, Gomez & Tejada 2009), at 2 k, and its
// reverse, at 2 k + 1: antithetic, since who comes early in one comes late in the other. The pair
// first_pair + k depends on (players, seed, first_pair + k) only, so that a later call continues an
// earlier one.
std::vector<std::vector<size_t>> draw_permutations(size_t players, size_t pairs, uint64_t seed,
                                                   size_t first_pair);

// Half width of a Student interval in standard errors: the t that a Student variable with `degrees`
// (at least 1) of freedom exceeds in size with probability 1 - confidence, 0 < confidence < 1.
// Relative error below 1e-12 to 5000 degrees, then growing with them, as does the time it takes.
double student_reach(double confidence, size_t degrees);

// Shapley values estimated from pairs of orders, each pair one independent observation.
class SampledShapley {
 public:
  // Fewer pairs never count as precise. The spread of few observations is itself uncertain (by
  // about 1 / sqrt(2 (pairs - 1)): 27 % at 8, and 71 % at 2), and a stop at the first small spread
  // would pick those that are small by chance.
  static constexpr size_t kLeastPairs = 8;

  explicit SampledShapley(size_t players);

  // The marginal contribution of each player, by player, in an order and in its reverse.
  void add_pair(std::span<const double> forward, std::span<const double> backward);

  size_t pairs() const { return pairs_; }
  // Mean over orders; 0 before the first pair.
  double value(size_t player) const;
  // Of the mean; infinite with fewer than 2 pairs.
  double standard_error(size_t player) const;
  // Whether the half width of every player's kConfidence Student interval is at most `tolerance`,
  // after at least kLeastPairs pairs.
  bool precise(double tolerance) const;

 private:
  size_t pairs_ = 0;
  std::vector<double> means_;    // of the pairs' means, by player
  std::vector<double> squares_;  // sum of squared deviations from it, by player
};

}  // namespace isogloss
