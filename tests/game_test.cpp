// Contract of isogloss/sweep/game_impl.h: Shapley values and interactions against closed forms,
// their definitions by permutations, and dividends; the estimate from sampled orders.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include "isogloss/base/random.h"
#include "isogloss/sweep/game_impl.h"

namespace isogloss {
namespace {

// Of results near 1: what issue and contract promise for games of any size. Sums of up to 2^15
// terms leave less than a tenth of it.
constexpr double kRounding = 1e-12;

using Game = std::vector<double>;

template <typename Value>
Game game_of(size_t players, Value value_of_mask) {
  Game game(size_t{1} << players);
  for (uint32_t mask = 0; mask < game.size(); ++mask) game[mask] = value_of_mask(mask);
  return game;
}

Game random_game(size_t players, uint64_t seed) {
  Random random(seed);
  return game_of(players, [&](uint32_t) { return 2 * random.uniform() - 1; });
}

bool holds(uint32_t mask, size_t player) {
  return (mask >> player & 1) != 0;
}

double count_of(uint32_t mask) {
  return std::popcount(mask);
}

Game additive_game(const std::vector<double>& weights) {
  return game_of(weights.size(), [&](uint32_t mask) {
    double sum = 0;
    for (size_t i = 0; i < weights.size(); ++i) sum += holds(mask, i) ? weights[i] : 0.0;
    return sum;
  });
}

std::vector<double> some_weights(size_t players) {
  Random random(players);
  std::vector<double> weights(players);
  for (double& weight : weights) weight = 2 * random.uniform() - 1;
  return weights;
}

// Worth 1 with at least `quota` players.
Game quota_game(size_t players, size_t quota) {
  return game_of(players, [&](uint32_t mask) {
    return static_cast<size_t>(std::popcount(mask)) >= quota ? 1.0 : 0.0;
  });
}

Game majority_game(size_t players) {
  return quota_game(players, (players + 1) / 2);
}

void expect_near(const std::vector<double>& found, const std::vector<double>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], kRounding) << i;
}

// Every pair's interaction is `value`.
void expect_interactions(const Game& game, size_t players, double value) {
  std::vector<double> expected(players * players, value);
  for (size_t i = 0; i < players; ++i) expected[i * players + i] = 0;
  expect_near(shapley_interactions(game, players), expected);
}

// --- independent implementations

// The mean of the marginal contribution over all orders of the players.
std::vector<double> values_by_orders(const Game& game, size_t players) {
  std::vector<size_t> order(players);
  std::iota(order.begin(), order.end(), size_t{0});
  std::vector<double> sums(players, 0.0);
  double orders = 0;
  do {
    uint32_t mask = 0;
    for (const size_t player : order) {
      sums[player] += game[mask | 1U << player] - game[mask];
      mask |= 1U << player;
    }
    ++orders;
  } while (std::next_permutation(order.begin(), order.end()));
  for (double& sum : sums) sum /= orders;
  return sums;
}

// The mean over all orders in which i and j join as one: what both bring beyond what each of them
// would have brought to those before.
double interaction_by_orders(const Game& game, size_t players, size_t i, size_t j) {
  std::vector<size_t> order;  // i stands for both
  for (size_t player = 0; player < players; ++player) {
    if (player != j) order.push_back(player);
  }
  double sum = 0;
  double orders = 0;
  do {
    uint32_t before = 0;
    for (auto next = order.begin(); *next != i; ++next) before |= 1U << *next;
    const double both = game[before | 1U << i | 1U << j] - game[before];
    sum += both - (game[before | 1U << i] - game[before]) - (game[before | 1U << j] - game[before]);
    ++orders;
  } while (std::next_permutation(order.begin(), order.end()));
  return sum / orders;
}

// Both indices from a game's dividends (Harsanyi 1963): a coalition's dividend is shared equally
// among its k members, and among its pairs as 1 / (k - 1).
struct Dividends {
  size_t players;
  std::map<uint32_t, double> of;  // by coalition; 0 elsewhere

  Game game() const {
    return game_of(players, [&](uint32_t mask) {
      double sum = 0;
      for (const auto& [coalition, dividend] : of) {
        if ((coalition & mask) == coalition) sum += dividend;
      }
      return sum;
    });
  }
  std::vector<double> values() const {
    std::vector<double> values(players, 0.0);
    for (const auto& [coalition, dividend] : of) {
      for (size_t i = 0; i < players; ++i) {
        if (holds(coalition, i)) values[i] += dividend / count_of(coalition);
      }
    }
    return values;
  }
  std::vector<double> interactions() const {
    std::vector<double> interactions(players * players, 0.0);
    for (const auto& [coalition, dividend] : of) {
      for (size_t i = 0; i < players; ++i) {
        for (size_t j = 0; j < players; ++j) {
          if (i == j || !holds(coalition, i) || !holds(coalition, j)) continue;
          interactions[i * players + j] += dividend / (count_of(coalition) - 1);
        }
      }
    }
    return interactions;
  }
};

// --- exact

TEST(ShapleyValues, OfAnAdditiveGameAreItsWeightsAndNothingInteracts) {
  for (const size_t players : {1, 2, 3, 7, 12, 16}) {
    SCOPED_TRACE(players);
    const std::vector<double> weights = some_weights(players);
    const Game game = additive_game(weights);
    expect_near(shapley_values(game, players), weights);
    expect_interactions(game, players, 0);
  }
}

TEST(ShapleyValues, OfAPairThatIsWorthOneTogetherAreAHalfEach) {
  constexpr size_t kPlayers = 7;
  constexpr size_t kA = 2;
  constexpr size_t kB = 5;
  const Game game = game_of(
      kPlayers, [](uint32_t mask) { return holds(mask, kA) && holds(mask, kB) ? 1.0 : 0.0; });
  std::vector<double> values(kPlayers, 0.0);
  values[kA] = values[kB] = 0.5;
  expect_near(shapley_values(game, kPlayers), values);
  std::vector<double> interactions(kPlayers * kPlayers, 0.0);
  interactions[kA * kPlayers + kB] = interactions[kB * kPlayers + kA] = 1;
  expect_near(shapley_interactions(game, kPlayers), interactions);
}

// In a game v(S) = f(|S|) the contrast at |S| = s is f(s + 2) - 2 f(s + 1) + f(s), and its mean
// over s = 0 .. n - 2 telescopes to (f(n) - f(n - 1) - f(1) + f(0)) / (n - 1). A majority of n >= 3
// gains at s = q - 2 what it loses at s = q - 1.
TEST(ShapleyValues, OfAMajorityAreEqualAndItsPairsInteractZero) {
  for (const size_t players : {3, 5, 7, 11, 15}) {
    SCOPED_TRACE(players);
    const Game game = majority_game(players);
    expect_near(shapley_values(game, players),
                std::vector<double>(players, 1 / static_cast<double>(players)));
    expect_interactions(game, players, 0);
    // Of players 0 and 1 beside so many that both decide together, or either does.
    const size_t quota = (players + 1) / 2;
    EXPECT_EQ(contrast(game, 0, 1, (1U << quota) - 1), 1);
    EXPECT_EQ(contrast(game, 0, 1, (1U << (quota + 1)) - 1), -1);
  }
  const Game one = majority_game(1);
  EXPECT_EQ(shapley_values(one, 1), std::vector<double>{1});
  EXPECT_EQ(shapley_interactions(one, 1), std::vector<double>{0});
}

TEST(ShapleyValues, OfEveryQuotaHaveTheirClosedForm) {
  for (const size_t players : {2, 3, 5, 8, 12, 16}) {
    for (size_t quota = 1; quota <= players; ++quota) {
      SCOPED_TRACE(testing::Message() << players << ", " << quota);
      const Game game = quota_game(players, quota);
      const double pairs = static_cast<double>(players - 1);
      const double interaction = (quota == players ? 1 / pairs : 0) - (quota == 1 ? 1 / pairs : 0);
      expect_near(shapley_values(game, players),
                  std::vector<double>(players, 1 / static_cast<double>(players)));
      expect_interactions(game, players, interaction);
      if (players <= 5) {
        EXPECT_NEAR(interaction_by_orders(game, players, 0, 1), interaction, kRounding);
      }
    }
  }
}

TEST(ShapleyValues, OfACurvedCountHaveTheirClosedForm) {
  for (const size_t players : {2, 5, 12, 16}) {
    SCOPED_TRACE(players);
    const double n = static_cast<double>(players);
    const auto f = [](double count) { return std::exp(-0.3 * count); };
    const Game game = game_of(players, [&](uint32_t mask) { return f(count_of(mask)); });
    expect_near(shapley_values(game, players), std::vector<double>(players, (f(n) - f(0)) / n));
    expect_interactions(game, players, (f(n) - f(n - 1) - f(1) + f(0)) / (n - 1));
  }
}

TEST(ShapleyValues, OfUnanimityAreSharedByItsMembers) {
  for (const size_t players : {1, 2, 6, 12}) {
    for (size_t k = 1; k <= players; ++k) {
      SCOPED_TRACE(testing::Message() << players << ", " << k);
      // The last k players, so that masks and member counts differ.
      const uint32_t members = ((1U << k) - 1) << (players - k);
      const Dividends unanimity{players, {{members, 1.0}}};
      const double share = 1 / static_cast<double>(k);
      const std::vector<double> values = shapley_values(unanimity.game(), players);
      const std::vector<double> interactions = shapley_interactions(unanimity.game(), players);
      for (size_t i = 0; i < players; ++i) {
        EXPECT_NEAR(values[i], holds(members, i) ? share : 0, kRounding);
        for (size_t j = 0; j < players; ++j) {
          const bool inside = i != j && holds(members, i) && holds(members, j);
          const double expected = inside ? 1 / static_cast<double>(k - 1) : 0;
          EXPECT_NEAR(interactions[i * players + j], expected, kRounding) << i << ", " << j;
        }
      }
    }
  }
}

TEST(ShapleyValues, AreTheMeanOverAllOrders) {
  for (size_t players = 1; players <= 7; ++players) {
    SCOPED_TRACE(players);
    const Game game = random_game(players, 100 + players);
    expect_near(shapley_values(game, players), values_by_orders(game, players));
  }
}

TEST(ShapleyInteractions, AreTheMeanOverAllOrdersInWhichThePairJoinsAsOne) {
  for (size_t players = 2; players <= 7; ++players) {
    const Game game = random_game(players, 200 + players);
    const std::vector<double> interactions = shapley_interactions(game, players);
    for (size_t i = 0; i < players; ++i) {
      EXPECT_EQ(interactions[i * players + i], 0);
      for (size_t j = 0; j < players; ++j) {
        if (i == j) continue;
        EXPECT_NEAR(interactions[i * players + j], interaction_by_orders(game, players, i, j),
                    kRounding)
            << players << ": " << i << ", " << j;
      }
    }
  }
}

TEST(ShapleyInteractions, FollowFromTheDividends) {
  for (const size_t players : {4, 9, 12, 16}) {
    SCOPED_TRACE(players);
    Random random(players);
    Dividends dividends{players, {}};
    for (int term = 0; term < 60; ++term) {
      const uint32_t coalition = 1 + static_cast<uint32_t>(random.below((1U << players) - 1));
      dividends.of[coalition] += random.uniform() - 0.5;
    }
    const Game game = dividends.game();
    expect_near(shapley_values(game, players), dividends.values());
    expect_near(shapley_interactions(game, players), dividends.interactions());
  }
}

TEST(ShapleyInteractions, OfTwoPlayersAreThePlainContrast) {
  const Game game = {0.5, 2, 4, 16};
  EXPECT_EQ(shapley_interactions(game, 2), (std::vector<double>{0, 10.5, 10.5, 0}));
  EXPECT_EQ(contrast(game, 0, 1, 0), 10.5);
}

TEST(ShapleyValues, SumToWhatAllAddToNone) {
  for (size_t players = 1; players <= 10; ++players) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
      const Game game = random_game(players, 1000 * players + seed);
      const std::vector<double> values = shapley_values(game, players);
      EXPECT_NEAR(std::accumulate(values.begin(), values.end(), 0.0), game.back() - game.front(),
                  kRounding);
    }
  }
}

TEST(ShapleyValues, FollowThePlayersWhenTheyAreRenamed) {
  for (size_t players = 2; players <= 10; ++players) {
    const Game game = random_game(players, 300 + players);
    // Player i is called players - 1 - i in the other game.
    const Game renamed = game_of(players, [&](uint32_t mask) {
      uint32_t reversed = 0;
      for (size_t i = 0; i < players; ++i) reversed |= holds(mask, i) << (players - 1 - i);
      return game[reversed];
    });
    std::vector<double> values = shapley_values(renamed, players);
    std::vector<double> interactions = shapley_interactions(renamed, players);
    std::reverse(values.begin(), values.end());
    std::reverse(interactions.begin(), interactions.end());  // both indices at once
    expect_near(shapley_values(game, players), values);
    expect_near(shapley_interactions(game, players), interactions);
  }
}

TEST(ShapleyValues, OfPlayersThatTheGameDoesNotTellApartAreEqual) {
  for (size_t players = 3; players <= 10; ++players) {
    const Game plain = random_game(players, 400 + players);
    // Players 0 and 2 stand for each other.
    const Game game = game_of(players, [&](uint32_t mask) {
      const bool swap = holds(mask, 0) && !holds(mask, 2);
      return plain[swap ? mask ^ 5U : mask];
    });
    const std::vector<double> values = shapley_values(game, players);
    const std::vector<double> interactions = shapley_interactions(game, players);
    EXPECT_NEAR(values[0], values[2], kRounding);
    EXPECT_NEAR(interactions[1], interactions[2 * players + 1], kRounding);
    EXPECT_GT(std::abs(shapley_values(plain, players)[0] - shapley_values(plain, players)[2]),
              1e-4);
  }
}

TEST(ShapleyValues, OfADummyAreItsOwnWorthAndItInteractsWithNobody) {
  constexpr double kWorth = 0.75;
  for (size_t players = 1; players <= 10; ++players) {
    for (size_t dummy = 0; dummy < players; ++dummy) {
      const Game plain = random_game(players, 500 + players);
      const Game game = game_of(players, [&](uint32_t mask) {
        return plain[mask & ~(1U << dummy)] + (holds(mask, dummy) ? kWorth : 0);
      });
      EXPECT_NEAR(shapley_values(game, players)[dummy], kWorth, kRounding);
      const std::vector<double> interactions = shapley_interactions(game, players);
      for (size_t j = 0; j < players; ++j) {
        EXPECT_NEAR(interactions[dummy * players + j], 0, kRounding);
      }
    }
  }
}

TEST(ShapleyValues, AreLinearInTheGame) {
  for (size_t players = 1; players <= 10; ++players) {
    SCOPED_TRACE(players);
    const Game first = random_game(players, 600 + players);
    const Game second = random_game(players, 700 + players);
    const Game mixed =
        game_of(players, [&](uint32_t mask) { return 3 * first[mask] - 0.5 * second[mask] + 7; });
    const auto mix = [](const std::vector<double>& a, const std::vector<double>& b) {
      std::vector<double> values(a.size());
      for (size_t i = 0; i < a.size(); ++i) values[i] = 3 * a[i] - 0.5 * b[i];
      return values;
    };
    expect_near(shapley_values(mixed, players),
                mix(shapley_values(first, players), shapley_values(second, players)));
    expect_near(shapley_interactions(mixed, players),
                mix(shapley_interactions(first, players), shapley_interactions(second, players)));
  }
}

TEST(ShapleyValues, OfNobodyAreNone) {
  const Game game = {3};
  EXPECT_TRUE(shapley_values(game, 0).empty());
  EXPECT_TRUE(shapley_interactions(game, 0).empty());
}

TEST(ShapleyValues, OfAGameThatIsNotFiniteAreNotFinite) {
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    Game game = random_game(4, 1);
    game[6] = bad;
    for (const double value : shapley_values(game, 4)) EXPECT_FALSE(std::isfinite(value));
  }
}

TEST(Contrast, LeavesThePairOutOfTheOthers) {
  // The mask cubed: no two contrasts agree by chance.
  const auto cube = [](double mask) { return mask * mask * mask; };
  const Game game = game_of(4, cube);
  const double at_none = cube(1 + 4) - cube(1) - cube(4) + cube(0);
  const double at_all = cube(15) - cube(15 - 4) - cube(15 - 1) + cube(15 - 5);
  const double at_one = cube(8 + 5) - cube(8 + 1) - cube(8 + 4) + cube(8);
  for (const uint32_t pair : {0U, 1U, 4U, 5U}) {
    EXPECT_EQ(contrast(game, 0, 2, pair), at_none);
    EXPECT_EQ(contrast(game, 2, 0, 10 | pair), at_all);
    EXPECT_EQ(contrast(game, 0, 2, 8 | pair), at_one);
  }
}

TEST(GameDeathTest, StopsAtAGameOfAnotherSize) {
  const Game game(8, 0.0);
  EXPECT_DEATH(shapley_values(game, 4), "game.size");
  EXPECT_DEATH(shapley_interactions(game, 2), "game.size");
  EXPECT_DEATH(contrast(game, 0, 3, 0), "game.size");
  EXPECT_DEATH(contrast(game, 1, 1, 0), "i != j");
  EXPECT_EQ(shapley_values(game, 3), std::vector<double>(3, 0.0));
}

// --- orders

TEST(DrawPermutations, AreOrdersFollowedByTheirReverse) {
  for (const size_t players : {1, 2, 5, 20, 40}) {
    const auto orders = draw_permutations(players, 10, 7, 0);
    ASSERT_EQ(orders.size(), 20U);
    for (size_t pair = 0; pair < 10; ++pair) {
      std::vector<size_t> order = orders[2 * pair];
      std::vector<size_t> reverse = orders[2 * pair + 1];
      std::reverse(reverse.begin(), reverse.end());
      EXPECT_EQ(order, reverse);
      std::sort(order.begin(), order.end());
      ASSERT_EQ(order.size(), players);
      for (size_t player = 0; player < players; ++player) EXPECT_EQ(order[player], player);
    }
  }
}

TEST(DrawPermutations, ContinueWhereAnEarlierCallEnded) {
  const auto all = draw_permutations(20, 12, 42, 0);
  auto rounds = draw_permutations(20, 5, 42, 0);
  for (const auto& order : draw_permutations(20, 4, 42, 5)) rounds.push_back(order);
  for (const auto& order : draw_permutations(20, 3, 42, 9)) rounds.push_back(order);
  EXPECT_EQ(rounds, all);
  EXPECT_TRUE(draw_permutations(20, 0, 42, 5).empty());
  EXPECT_NE(draw_permutations(20, 12, 43, 0), all);
}

// Chi-squared of counts that are equally likely.
template <size_t kCells>
double chi_squared(const std::array<size_t, kCells>& counts) {
  const double total =
      static_cast<double>(std::accumulate(counts.begin(), counts.end(), size_t{0}));
  const double expected = total / kCells;
  double sum = 0;
  for (const size_t count : counts) {
    const double deviation = static_cast<double>(count) - expected;
    sum += deviation * deviation / expected;
  }
  return sum;
}

// Which of the 24 orders of 4 players.
size_t rank_of(const std::vector<size_t>& order) {
  size_t rank = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    size_t smaller = 0;
    for (size_t j = i + 1; j < order.size(); ++j) smaller += order[j] < order[i];
    rank = rank * (order.size() - i) + smaller;
  }
  return rank;
}

// With k degrees of freedom, chi-squared has mean k and standard deviation sqrt(2 k): five of them.
double most_chi_squared(double cells) {
  return cells - 1 + 5 * std::sqrt(2 * (cells - 1));
}

TEST(DrawPermutations, DrawEveryOrderEquallyOftenWhateverCameBefore) {
  constexpr size_t kPairs = 60000;
  const auto orders = draw_permutations(4, kPairs, 3, 0);
  const auto next_seed = draw_permutations(4, kPairs, 4, 0);
  std::array<size_t, 24> single{};
  std::array<size_t, 576> consecutive{};
  std::array<size_t, 576> between_seeds{};
  size_t before = rank_of(orders[0]);
  for (size_t pair = 1; pair < kPairs; ++pair) {
    const size_t rank = rank_of(orders[2 * pair]);
    ++single[rank];
    ++consecutive[before * 24 + rank];
    // The next seed must not begin one pair further on in the same sequence.
    ++between_seeds[rank_of(next_seed[2 * (pair - 1)]) * 24 + rank];
    before = rank;
  }
  EXPECT_LT(chi_squared(single), most_chi_squared(24));
  EXPECT_LT(chi_squared(consecutive), most_chi_squared(576));
  EXPECT_LT(chi_squared(between_seeds), most_chi_squared(576));
}

// --- the estimate

TEST(StudentReach, AgreesWithSciPy) {
  // scipy.stats.t.ppf((1 + confidence) / 2, degrees), SciPy 1.17.1.
  struct Case {
    size_t degrees;
    double at_95, at_99, at_50;
  };
  constexpr Case kCases[] = {
      {1, 12.706204736174694, 63.656741162871526, 1.0000000000000002},
      {2, 4.302652729749462, 9.924843200918287, 0.8164965809277261},
      {3, 3.1824463052837078, 5.840909309733355, 0.7648923284043444},
      {4, 2.7764451051977934, 4.604094871349992, 0.7406970841126829},
      {7, 2.364624251592784, 3.4994832973504924, 0.7111417780817866},
      {10, 2.228138851986274, 3.16927267261695, 0.6998120613124317},
      {19, 2.0930240544083087, 2.8609346064649794, 0.6876214602039602},
      {30, 2.0422724563012378, 2.7499956535672254, 0.6827556933212927},
      {100, 1.9839715185235518, 2.6258905214380173, 0.6769510430114717},
      {999, 1.9623414611334493, 2.5807596372676365, 0.6747354103467192},
      {5000, 1.9604385517065073, 2.5768129665562802, 0.6745388203608743},
  };
  for (const Case& expected : kCases) {
    SCOPED_TRACE(expected.degrees);
    const auto close = [&](double confidence, double value) {
      EXPECT_NEAR(student_reach(confidence, expected.degrees), value, 1e-12 * value);
    };
    close(0.95, expected.at_95);
    close(0.99, expected.at_99);
    close(0.5, expected.at_50);
  }
}

std::vector<double> marginal_contributions(const Game& game, const std::vector<size_t>& order) {
  std::vector<double> contributions(order.size());
  uint32_t mask = 0;
  for (const size_t player : order) {
    contributions[player] = game[mask | 1U << player] - game[mask];
    mask |= 1U << player;
  }
  return contributions;
}

SampledShapley sampled(const Game& game, size_t players, size_t pairs, uint64_t seed) {
  SampledShapley estimate(players);
  const auto orders = draw_permutations(players, pairs, seed, 0);
  for (size_t pair = 0; pair < pairs; ++pair) {
    estimate.add_pair(marginal_contributions(game, orders[2 * pair]),
                      marginal_contributions(game, orders[2 * pair + 1]));
  }
  return estimate;
}

TEST(SampledShapley, IsTheMeanAndItsErrorOverPairs) {
  SampledShapley estimate(2);
  EXPECT_EQ(estimate.value(0), 0);
  EXPECT_EQ(estimate.standard_error(0), std::numeric_limits<double>::infinity());
  estimate.add_pair(std::vector<double>{1, 10}, std::vector<double>{3, 10});
  EXPECT_EQ(estimate.value(0), 2);
  EXPECT_EQ(estimate.standard_error(0), std::numeric_limits<double>::infinity());
  EXPECT_FALSE(estimate.precise(1e300));
  estimate.add_pair(std::vector<double>{2, 10}, std::vector<double>{8, 10});
  estimate.add_pair(std::vector<double>{5, 10}, std::vector<double>{5, 10});
  EXPECT_EQ(estimate.pairs(), 3U);
  // The pairs' means are 2, 5 and 5: variance 3, that of the mean 1.
  EXPECT_NEAR(estimate.value(0), 4, kRounding);
  EXPECT_NEAR(estimate.standard_error(0), 1, kRounding);
  EXPECT_EQ(estimate.value(1), 10);
  EXPECT_EQ(estimate.standard_error(1), 0);
}

TEST(SampledShapley, KeepsASmallSpreadBesideALargeMean) {
  constexpr double kMean = 1e6;
  SampledShapley estimate(1);
  for (int pair = 0; pair < 1000; ++pair) {
    const std::vector<double> contribution{kMean + (pair % 2 == 0 ? 1e-3 : -1e-3)};
    estimate.add_pair(contribution, contribution);
  }
  // 10^6 resolves steps of 1.2e-10.
  EXPECT_NEAR(estimate.standard_error(0) / (1e-3 / std::sqrt(999)), 1, 1e-5);
}

TEST(SampledShapley, ConvergesToTheExactValue) {
  constexpr size_t kPlayers = 8;
  const Game game = random_game(kPlayers, 8);
  const std::vector<double> exact = shapley_values(game, kPlayers);
  const SampledShapley few = sampled(game, kPlayers, 250, 1);
  const SampledShapley many = sampled(game, kPlayers, 16000, 1);
  for (size_t player = 0; player < kPlayers; ++player) {
    EXPECT_LT(std::abs(many.value(player) - exact[player]), 5 * many.standard_error(player));
    // 64 times as many: an eighth, within five standard deviations of the smaller sample's, which
    // is known to 1 / sqrt(2 * 249) = 4.5 %.
    EXPECT_NEAR(8 * many.standard_error(player) / few.standard_error(player), 1, 5 * 0.045);
  }
}

TEST(SampledShapley, CoversTheExactValueAsOftenAsItClaims) {
  // A count of Binomial(2000, 0.95) has a standard deviation of 0.0049 trials. The band is four of
  // them, and one per cent for pair means that are not normal.
  constexpr size_t kTrials = 2000;
  constexpr double kBand = 4 * 0.0049 + 0.01;
  constexpr size_t kPlayers = 8;
  constexpr size_t kPairs = 12;
  const Game game = random_game(kPlayers, 9);
  const std::vector<double> exact = shapley_values(game, kPlayers);
  const double reach = student_reach(0.95, kPairs - 1);
  std::vector<double> covered(kPlayers, 0.0);
  for (uint64_t seed = 0; seed < kTrials; ++seed) {
    const SampledShapley estimate = sampled(game, kPlayers, kPairs, seed);
    for (size_t player = 0; player < kPlayers; ++player) {
      const double error = std::abs(estimate.value(player) - exact[player]);
      covered[player] += error <= reach * estimate.standard_error(player);
    }
  }
  for (const double count : covered) EXPECT_NEAR(count / kTrials, 0.95, kBand);
}

TEST(SampledShapley, StopsAtTheLeastPairsWhereOrdersDoNotMatter) {
  constexpr size_t kPlayers = 10;
  const std::vector<double> weights = some_weights(kPlayers);
  const Game additive = additive_game(weights);
  // Contributions that grow evenly with the place in the order: a pair's mean is constant, which
  // one order's is not.
  const Game even =
      game_of(kPlayers, [](uint32_t mask) { return count_of(mask) * count_of(mask); });
  for (const Game& game : {additive, even}) {
    const std::vector<double> exact = shapley_values(game, kPlayers);
    for (size_t pairs = 0; pairs <= SampledShapley::kLeastPairs; ++pairs) {
      const SampledShapley estimate = sampled(game, kPlayers, pairs, 5);
      EXPECT_EQ(estimate.precise(1e-9), pairs == SampledShapley::kLeastPairs) << pairs;
      for (size_t player = 0; pairs > 0 && player < kPlayers; ++player) {
        EXPECT_NEAR(estimate.value(player), exact[player], kRounding);
      }
    }
  }
}

TEST(SampledShapley, StopsWhenTheWidestIntervalIsNarrowEnough) {
  constexpr size_t kPlayers = 9;
  const Game game = random_game(kPlayers, 10);
  const SampledShapley estimate = sampled(game, kPlayers, 20, 6);
  double widest = 0;
  for (size_t player = 0; player < kPlayers; ++player) {
    widest = std::max(widest, estimate.standard_error(player));
  }
  // scipy.stats.t.ppf(0.975, 19).
  const double half_width = 2.0930240544083087 * widest;
  EXPECT_FALSE(estimate.precise(0.999 * half_width));
  EXPECT_TRUE(estimate.precise(1.001 * half_width));
}

TEST(SampledShapley, DoesNotStopAtOneUncertainPlayerOrAtWhatIsNotANumber) {
  SampledShapley one_wide(3);
  SampledShapley not_a_number(1);
  SampledShapley narrow(3);
  for (int pair = 0; pair < 100; ++pair) {
    const std::vector<double> wide{0, 0, pair % 2 == 0 ? 1.0 : -1.0};
    one_wide.add_pair(wide, wide);
    const std::vector<double> nan{pair == 50 ? std::numeric_limits<double>::quiet_NaN() : 0};
    not_a_number.add_pair(nan, nan);
    narrow.add_pair(std::vector<double>(3, 0.0), std::vector<double>(3, 0.0));
  }
  EXPECT_FALSE(one_wide.precise(0.1));
  EXPECT_FALSE(not_a_number.precise(0.1));
  EXPECT_TRUE(narrow.precise(0.1));
}

}  // namespace
}  // namespace isogloss
