// Contract of isogloss/measure/statistics.h: ranks, their spread over draws, rank correlations.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "failure.h"
#include "isogloss/base/random.h"
#include "isogloss/measure/statistics.h"

namespace isogloss {
namespace {

// A few roundings of a double, for results that are equal in exact arithmetic.
constexpr double kRounding = 1e-12;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

using Draws = std::vector<std::vector<double>>;

nlohmann::json reference_rankings() {
  std::ifstream file(std::string(ISOGLOSS_SOURCE_DIR) + "/tests/reference/statistics.json");
  return nlohmann::json::parse(file)["rankings"];
}

// Values of `items` items, of which many are equal.
Draws tied_draws(Random& random, size_t items, size_t draws) {
  Draws result(draws, std::vector<double>(items));
  for (std::vector<double>& draw : result) {
    for (size_t item = 0; item < items; ++item) {
      draw[item] = static_cast<double>(random.below(2 + item));
    }
  }
  return result;
}

// One more than the values above it, and half of the others that are equal to it.
double rank_by_definition(const std::vector<double>& values, size_t item) {
  size_t above = 0;
  size_t equal = 0;
  for (const double value : values) {
    above += value > values[item] ? 1 : 0;
    equal += value == values[item] ? 1 : 0;
  }
  return 1 + static_cast<double>(above) + 0.5 * static_cast<double>(equal - 1);
}

double first_share_by_definition(const Draws& draws, size_t item) {
  double count = 0;
  for (const std::vector<double>& draw : draws) {
    const double largest = *std::max_element(draw.begin(), draw.end());
    if (draw[item] < largest) continue;
    count += 1 / static_cast<double>(std::count(draw.begin(), draw.end(), largest));
  }
  return count / static_cast<double>(draws.size());
}

RankCounter counter_of(const Draws& draws) {
  RankCounter counter(draws.front().size());
  for (const std::vector<double>& draw : draws) counter.add(draw);
  return counter;
}

void expect_failure(const std::function<void()>& action, ErrorCode code, const char* part) {
  const Failure failure = failure_of(action);
  EXPECT_EQ(failure.code, code);
  EXPECT_TRUE(says(failure.message, {part}));
}

TEST(Ranks, AgreeWithScipy) {
  for (const nlohmann::json& ranking : reference_rankings()) {
    for (const std::string side : {"a", "b"}) {
      const std::vector<double> values = ranking[side];
      EXPECT_EQ(ranks(values), ranking["ranks_" + side].get<std::vector<double>>());
    }
  }
}

TEST(Ranks, GiveOneToTheLargestAndShareThoseOfEqualValues) {
  EXPECT_EQ(ranks(std::vector<double>{-1, 8, 3}), (std::vector<double>{3, 1, 2}));
  EXPECT_EQ(ranks(std::vector<double>{5, 7, 5, 7, 5}), (std::vector<double>{4, 1.5, 4, 1.5, 4}));
  EXPECT_EQ(ranks(std::vector<double>{-kInfinity, 0, kInfinity, kInfinity}),
            (std::vector<double>{4, 3, 1.5, 1.5}));
  EXPECT_TRUE(ranks({}).empty());
}

TEST(RankCounter, AgreesWithCountingDrawByDraw) {
  Random random(1);
  for (const size_t items : {1, 2, 5, 12}) {
    for (const size_t count : {1, 2, 3, 257}) {
      const Draws draws = tied_draws(random, items, count);
      const RankCounter counter = counter_of(draws);
      ASSERT_EQ(counter.draws(), count);
      for (size_t item = 0; item < items; ++item) {
        std::vector<double> sorted;
        for (const auto& draw : draws) sorted.push_back(rank_by_definition(draw, item));
        std::sort(sorted.begin(), sorted.end());
        for (const double p : {0.0, 0.01, 0.3, 0.5, 0.77, 1.0}) {
          EXPECT_EQ(counter.rank_quantile(item, p), quantile(sorted, p)) << item << ", " << p;
        }
        EXPECT_EQ(counter.interval(item).first, quantile(sorted, (1 - kConfidence) / 2));
        EXPECT_EQ(counter.interval(item).second, quantile(sorted, (1 + kConfidence) / 2));
        EXPECT_NEAR(counter.first_share(item), first_share_by_definition(draws, item), kRounding);
      }
    }
  }
}

TEST(RankCounter, SharesADrawAmongThoseThatTieForFirst) {
  const RankCounter counter = counter_of({{2, 2, 1}, {3, 1, 2}, {1, 4, 4}, {5, 5, 5}});
  EXPECT_NEAR(counter.first_share(0), (0.5 + 1 + 0 + 1.0 / 3) / 4, kRounding);
  EXPECT_NEAR(counter.first_share(1), (0.5 + 0 + 0.5 + 1.0 / 3) / 4, kRounding);
  EXPECT_NEAR(counter.first_share(2), (0 + 0 + 0.5 + 1.0 / 3) / 4, kRounding);
}

TEST(RankCounter, SharesAddUpToOne) {
  Random random(2);
  const RankCounter counter = counter_of(tied_draws(random, 9, 500));
  double sum = 0;
  for (size_t item = 0; item < 9; ++item) sum += counter.first_share(item);
  EXPECT_NEAR(sum, 1, kRounding);
}

TEST(RankCounter, LeavesOutTheRareRanksOfAnItem) {
  // Item 0 is first but for 2 draws of 1000; items 1 and 2 change places every other draw.
  RankCounter counter(3);
  for (size_t draw = 0; draw < 1000; ++draw) {
    const double other = static_cast<double>(draw % 2);
    counter.add(std::vector<double>{draw < 2 ? -1.0 : 9.0, other, 0.5});
  }
  EXPECT_EQ(counter.interval(0), std::make_pair(1.0, 1.0));
  EXPECT_EQ(counter.interval(1), std::make_pair(2.0, 3.0));
  EXPECT_NEAR(counter.first_share(0), 0.998, kRounding);
}

TEST(Spearman, AgreesWithScipy) {
  for (const nlohmann::json& ranking : reference_rankings()) {
    const std::vector<double> a = ranking["a"];
    const std::vector<double> b = ranking["b"];
    EXPECT_NEAR(spearman(a, b), ranking["spearman"].get<double>(), kRounding);
    EXPECT_NEAR(spearman(b, a), ranking["spearman"].get<double>(), kRounding);
  }
}

TEST(KendallTauB, AgreesWithScipy) {
  for (const nlohmann::json& ranking : reference_rankings()) {
    const std::vector<double> a = ranking["a"];
    const std::vector<double> b = ranking["b"];
    EXPECT_NEAR(kendall_tau_b(a, b), ranking["kendall_tau_b"].get<double>(), kRounding);
    EXPECT_NEAR(kendall_tau_b(b, a), ranking["kendall_tau_b"].get<double>(), kRounding);
  }
}

TEST(RankCorrelation, IsOneInTheSameOrderAndMinusOneInTheOpposite) {
  const std::vector<double> values = {3, -1, 4, 4, 0, 7, -1};
  std::vector<double> rising;
  std::vector<double> falling;
  for (const double value : values) {
    rising.push_back(std::exp(value));
    falling.push_back(1 - value);
  }
  for (const auto correlation : {spearman, kendall_tau_b}) {
    EXPECT_EQ(correlation(values, rising), 1);
    EXPECT_EQ(correlation(values, falling), -1);
  }
}

TEST(RankCorrelation, IsNanWhereASideIsConstant) {
  const std::vector<double> constant(4, 0.1);
  const std::vector<double> varying = {1, 2, 3, 4};
  for (const auto correlation : {spearman, kendall_tau_b}) {
    EXPECT_TRUE(std::isnan(correlation(constant, varying)));
    EXPECT_TRUE(std::isnan(correlation(varying, constant)));
    EXPECT_TRUE(std::isnan(correlation(constant, constant)));
    EXPECT_TRUE(std::isnan(correlation(std::vector<double>{1}, std::vector<double>{2})));
    EXPECT_TRUE(std::isnan(correlation({}, {})));
    EXPECT_FALSE(std::isnan(correlation(varying, varying)));
  }
}

TEST(Ranks, RejectNan) {
  const std::vector<double> bad = {1, kNan};
  const std::vector<double> good = {1, 2};
  RankCounter counter(2);
  for (const auto& action : std::vector<std::function<void()>>{
           [&] { ranks(bad); }, [&] { counter.add(bad); }, [&] { spearman(good, bad); },
           [&] { kendall_tau_b(bad, good); }, [&] { kendall_tau_b(good, bad); }}) {
    expect_failure(action, ErrorCode::kNotFinite, "item 1");
  }
  EXPECT_EQ(counter.draws(), 0U);
  counter.add(good);
  EXPECT_EQ(counter.first_share(1), 1);
}

}  // namespace
}  // namespace isogloss
