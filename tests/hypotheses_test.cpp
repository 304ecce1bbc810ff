// Contract of isogloss/measure/statistics.h: p-values of bootstrap draws, families of hypotheses.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "failure.h"
#include "isogloss/base/random.h"
#include "isogloss/measure/statistics.h"

namespace isogloss {
namespace {

// A few roundings of a double, for results that are equal in exact arithmetic.
constexpr double kRounding = 1e-12;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

using Adjustment = std::vector<double> (*)(std::span<const double>);
constexpr Adjustment kAdjustments[] = {benjamini_hochberg, holm};

// null stands for NaN.
std::vector<double> numbers_of(const nlohmann::json& array) {
  std::vector<double> values;
  for (const nlohmann::json& value : array) {
    values.push_back(value.is_null() ? kNan : value.get<double>());
  }
  return values;
}

// P-values, and what SciPy adjusts them to.
struct Family {
  std::vector<double> p_values, adjusted;
};

std::vector<Family> reference_families() {
  std::ifstream file(std::string(ISOGLOSS_SOURCE_DIR) + "/tests/reference/statistics.json");
  const nlohmann::json reference = nlohmann::json::parse(file);
  std::vector<Family> families;
  for (const nlohmann::json& family : reference["families"]) {
    families.push_back({numbers_of(family["p_values"]), numbers_of(family["benjamini_hochberg"])});
  }
  return families;
}

// Small families, with ties, the ends of the range and, where asked for, hypotheses not tested.
std::vector<double> random_family(Random& random, bool with_nan) {
  std::vector<double> p_values(1 + random.below(20));
  for (double& p : p_values) {
    p = std::pow(static_cast<double>(random.below(41)) / 40, 2);
    if (with_nan && random.below(5) == 0) p = kNan;
  }
  return p_values;
}

void expect_equal(const std::vector<double>& found, const std::vector<double>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(std::isnan(found[i]), std::isnan(expected[i])) << i;
    if (!std::isnan(found[i])) {
      ASSERT_NEAR(found[i], expected[i], kRounding) << i;
    }
  }
}

// The procedures as published, which reject at a level: the p-values of `sorted`, ascending, that
// are rejected are its first ones.
size_t rejected_by_step_up(const std::vector<double>& sorted, double level) {
  size_t rejected = 0;
  const double m = static_cast<double>(sorted.size());
  for (size_t k = 1; k <= sorted.size(); ++k) {
    if (sorted[k - 1] <= static_cast<double>(k) / m * level) rejected = k;
  }
  return rejected;
}

size_t rejected_by_step_down(const std::vector<double>& sorted, double level) {
  size_t k = 0;
  while (k < sorted.size() && sorted[k] <= level / static_cast<double>(sorted.size() - k)) ++k;
  return k;
}

void expect_failure(const std::function<void()>& action, ErrorCode code, const char* part) {
  const Failure failure = failure_of(action);
  EXPECT_EQ(failure.code, code);
  EXPECT_TRUE(says(failure.message, {part}));
}

TEST(BootstrapPValue, IsTwiceTheSmallerTailWithTheObservationCounted) {
  const std::vector<double> draws = {5, 1, 4, 2, 3, 7, 6, 9, 8};
  EXPECT_EQ(bootstrap_p_value(0, draws), 2.0 / 10);
  EXPECT_EQ(bootstrap_p_value(1.5, draws), 4.0 / 10);
  EXPECT_EQ(bootstrap_p_value(8.5, draws), 4.0 / 10);
  EXPECT_EQ(bootstrap_p_value(10, draws), 2.0 / 10);
  EXPECT_EQ(bootstrap_p_value(4.5, draws), 1);
}

TEST(BootstrapPValue, CountsTiesOnBothSides) {
  const std::vector<double> draws = {0, 0, 1, 2, 3, 4, 5, 6, 7};
  EXPECT_EQ(bootstrap_p_value(0, draws), 6.0 / 10);
  EXPECT_EQ(bootstrap_p_value(7, draws), 4.0 / 10);
  EXPECT_EQ(bootstrap_p_value(2, std::vector<double>(99, 2.0)), 1);
  EXPECT_EQ(bootstrap_p_value(1, std::vector<double>(99, 2.0)), 2.0 / 100);
}

TEST(BootstrapPValue, OrdersInfinitiesAsNumbers) {
  const std::vector<double> draws = {-kInfinity, 1, 2, kInfinity};
  EXPECT_EQ(bootstrap_p_value(0, draws), 4.0 / 5);
  EXPECT_EQ(bootstrap_p_value(-kInfinity, draws), 4.0 / 5);
}

TEST(BootstrapPValue, IsBelowALevelWhereThePercentileIntervalExcludesTheNull) {
  Random random(3);
  std::vector<double> draws(3999);
  for (double& draw : draws) draw = random.uniform() * random.uniform();
  std::vector<double> sorted = draws;
  std::sort(sorted.begin(), sorted.end());
  const double lo = quantile(sorted, 0.025);
  const double hi = quantile(sorted, 0.975);
  // A twentieth of the interval is more than the distance of neighbouring draws.
  const double step = (hi - lo) / 20;
  EXPECT_LT(bootstrap_p_value(lo - std::min(step, lo / 2), draws), 0.05);
  EXPECT_GT(bootstrap_p_value(lo + step, draws), 0.05);
  EXPECT_GT(bootstrap_p_value(hi - step, draws), 0.05);
  EXPECT_LT(bootstrap_p_value(hi + step, draws), 0.05);
}

TEST(BootstrapPValue, RejectsNoDrawsAndNan) {
  const auto test = [](double null, const std::vector<double>& draws) {
    return [=] { bootstrap_p_value(null, draws); };
  };
  expect_failure(test(0, {}), ErrorCode::kBadArgument, "0 draws");
  expect_failure(test(0, {1, kNan}), ErrorCode::kNotFinite, "draw 1");
  expect_failure(test(kNan, {1, 2}), ErrorCode::kNotFinite, "null");
  EXPECT_EQ(bootstrap_p_value(0, std::vector<double>{1, 2}), 2.0 / 3);
}

TEST(BenjaminiHochberg, AgreesWithScipy) {
  for (const Family& family : reference_families()) {
    expect_equal(benjamini_hochberg(family.p_values), family.adjusted);
  }
}

TEST(Adjustment, RejectsWhatThePublishedProcedureRejects) {
  Random random(4);
  for (size_t trial = 0; trial < 300; ++trial) {
    std::vector<double> sorted = random_family(random, false);
    std::sort(sorted.begin(), sorted.end());
    const std::vector<double> step_up = benjamini_hochberg(sorted);
    const std::vector<double> step_down = holm(sorted);
    // Levels at which no p-value of a family, a multiple of 1 / 1600, lies on a threshold.
    for (const double level : {0.0103, 0.0507, 0.2011, 0.5003, 0.9007}) {
      const auto at_most = [&](double q) { return q <= level; };
      EXPECT_EQ(std::count_if(step_up.begin(), step_up.end(), at_most),
                rejected_by_step_up(sorted, level));
      EXPECT_EQ(std::count_if(step_down.begin(), step_down.end(), at_most),
                rejected_by_step_down(sorted, level));
    }
  }
}

TEST(Adjustment, IsNeverBelowTheValueOrAboveOneAndKeepsTheOrder) {
  Random random(5);
  for (size_t trial = 0; trial < 300; ++trial) {
    const std::vector<double> p_values = random_family(random, true);
    const std::vector<double> false_discovery = benjamini_hochberg(p_values);
    const std::vector<double> family_wise = holm(p_values);
    for (size_t i = 0; i < p_values.size(); ++i) {
      if (std::isnan(p_values[i])) continue;
      EXPECT_GE(false_discovery[i], p_values[i]);
      EXPECT_GE(family_wise[i], false_discovery[i] - kRounding);
      EXPECT_LE(family_wise[i], 1);
      for (size_t j = 0; j < p_values.size(); ++j) {
        if (!(p_values[i] <= p_values[j])) continue;
        EXPECT_LE(false_discovery[i], false_discovery[j]);
        EXPECT_LE(family_wise[i], family_wise[j]);
      }
    }
  }
}

TEST(Adjustment, LeavesNanOutOfTheFamily) {
  Random random(6);
  for (const Adjustment adjust : kAdjustments) {
    for (size_t trial = 0; trial < 100; ++trial) {
      const std::vector<double> p_values = random_family(random, true);
      std::vector<double> tested = p_values;
      std::erase_if(tested, [](double p) { return std::isnan(p); });
      std::vector<double> adjusted = adjust(p_values);
      for (size_t i = 0; i < p_values.size(); ++i) {
        EXPECT_EQ(std::isnan(adjusted[i]), std::isnan(p_values[i]));
      }
      std::erase_if(adjusted, [](double p) { return std::isnan(p); });
      EXPECT_EQ(adjusted, adjust(tested));
    }
    EXPECT_TRUE(adjust({}).empty());
  }
}

TEST(Adjustment, DoesNotDependOnTheOrderOfTheHypotheses) {
  Random random(7);
  for (const Adjustment adjust : kAdjustments) {
    for (size_t trial = 0; trial < 100; ++trial) {
      const std::vector<double> p_values = random_family(random, false);
      const std::vector<double> reversed(p_values.rbegin(), p_values.rend());
      std::vector<double> adjusted = adjust(reversed);
      std::reverse(adjusted.begin(), adjusted.end());
      EXPECT_EQ(adjusted, adjust(p_values));
    }
  }
}

TEST(Adjustment, OfEqualValues) {
  const std::vector<double> p_values(7, 0.03);
  EXPECT_EQ(benjamini_hochberg(p_values), p_values);
  expect_equal(holm(p_values), std::vector<double>(7, 0.21));
}

TEST(Adjustment, RejectsWhatIsNoProbability) {
  for (const Adjustment adjust : kAdjustments) {
    for (const double bad : {-0.1, 1.5, kInfinity}) {
      expect_failure(
          [&] {
            adjust(std::vector<double>{0.5, bad});
          },
          ErrorCode::kBadArgument, "hypothesis 1");
    }
    EXPECT_EQ(adjust(std::vector<double>{0, 1}), (std::vector<double>{0, 1}));
  }
}

}  // namespace
}  // namespace isogloss
