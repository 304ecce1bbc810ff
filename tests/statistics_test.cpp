// Contract of isogloss/measure/statistics.h: resampling, intervals, Gini and the max-T test.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <numbers>
#include <numeric>
#include <string>
#include <utility>

#include "isogloss/base/error.h"
#include "isogloss/measure/statistics.h"

namespace isogloss {
namespace {

using Columns = std::vector<std::vector<double>>;

// A few roundings of a double, for results that are equal in exact arithmetic.
constexpr double kRounding = 1e-12;

// Of the width of an interval. With 200,000 draws on both sides, the standard deviation of the
// difference of two 95 % ends is near 0.0022 widths for a percentile interval (the standard error
// of a normal's 2.5 % quantile, twice) and near 0.0030 for BCa, which estimates z0 as well. This is
// five of the larger.
constexpr double kReferenceTolerance = 0.015;

// A count of Binomial(kTrials, 0.95) has a standard deviation of 0.0069 kTrials. The band is four
// of them about nominal; one more per cent below, since with n units an interval lacks coverage in
// the order of 1 / n (it has no Student correction).
constexpr size_t kTrials = 1000;
constexpr double kLeastCoverage = 0.95 - 4 * 0.0069 - 0.01;
constexpr double kMostCoverage = 0.95 + 4 * 0.0069;

UnitSums sums_of(const Columns& columns) {
  UnitSums sums{columns.front().size(), columns.size(), {}};
  for (size_t unit = 0; unit < sums.units; ++unit) {
    for (const std::vector<double>& column : columns) sums.values.push_back(column[unit]);
  }
  return sums;
}

std::optional<double> first_total(std::span<const double> totals) {
  return totals[0];
}

std::optional<double> ratio(std::span<const double> totals) {
  if (totals[1] == 0) return std::nullopt;
  return totals[0] / totals[1];
}

std::optional<double> log_ratio_of_ratios(std::span<const double> totals) {
  return std::log(totals[0] / totals[1] / (totals[2] / totals[3]));
}

template <typename Action>
std::optional<ErrorCode> code_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.code();
  }
  return std::nullopt;
}

// Random numbers of the simulations: SplitMix64, Box & Muller.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  double uniform() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return (static_cast<double>((z ^ (z >> 31)) >> 11) + 0.5) * 0x1p-53;
  }
  double normal() {
    const double radius = std::sqrt(-2 * std::log(uniform()));
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }
  std::vector<double> normals(size_t count) {
    std::vector<double> values(count);
    for (double& value : values) value = normal();
    return values;
  }

 private:
  uint64_t state_;
};

// Skewed sizes, and parts of them that are skewed again: E(sum 0) / E(sum 1) = exp(spread^2 / 2).
Columns skewed_pair(Random& random, size_t units, double spread) {
  Columns columns(2, std::vector<double>(units));
  for (size_t unit = 0; unit < units; ++unit) {
    columns[1][unit] = std::exp(0.5 * random.normal());
    columns[0][unit] = columns[1][unit] * std::exp(spread * random.normal());
  }
  return columns;
}

nlohmann::json reference() {
  std::ifstream file(std::string(ISOGLOSS_SOURCE_DIR) + "/tests/reference/statistics.json");
  return nlohmann::json::parse(file);
}

TEST(BootstrapTotals, IsTheSumOfAsManyRowsAsThereAreUnits) {
  // One indicator column a unit shows the counts; the others hold integers, whose sums are exact.
  constexpr size_t kUnits = 37;
  constexpr size_t kColumns = 150;
  UnitSums sums{kUnits, kColumns, std::vector<double>(kUnits * kColumns)};
  for (size_t unit = 0; unit < kUnits; ++unit) {
    for (size_t column = 0; column < kColumns; ++column) {
      sums.values[unit * kColumns + column] =
          column < kUnits ? (column == unit ? 1.0 : 0.0)
                          : static_cast<double>((unit * 7919 + column * 104729) % 1009);
    }
  }
  const BootstrapTotals bootstrap(sums, 130, 3);
  for (size_t draw = 0; draw < bootstrap.draws(); ++draw) {
    const std::span<const double> row = bootstrap.row(draw);
    ASSERT_EQ(row.size(), kColumns);
    double units = 0;
    for (size_t unit = 0; unit < kUnits; ++unit) units += row[unit];
    EXPECT_EQ(units, kUnits);
    for (size_t column = kUnits; column < kColumns; ++column) {
      double expected = 0;
      for (size_t unit = 0; unit < kUnits; ++unit) expected += row[unit] * sums.at(unit, column);
      ASSERT_EQ(bootstrap.at(draw, column), expected) << draw << ", " << column;
    }
  }
}

TEST(BootstrapTotals, DrawsTheUnitsThatItsPublishedGeneratorDraws) {
  const nlohmann::json expected = reference()["unit_counts"];
  const size_t units = expected["units"];
  UnitSums sums{units, units, std::vector<double>(units * units, 0.0)};
  for (size_t unit = 0; unit < units; ++unit) sums.values[unit * units + unit] = 1;
  const BootstrapTotals bootstrap(sums, expected["draws"], expected["seed"]);
  for (size_t draw = 0; draw < bootstrap.draws(); ++draw) {
    for (size_t unit = 0; unit < units; ++unit) {
      EXPECT_EQ(bootstrap.at(draw, unit), expected["counts"][draw][unit].get<double>());
    }
  }
}

TEST(BootstrapTotals, DrawsEveryUnitEquallyOften) {
  constexpr size_t kUnits = 7;
  constexpr size_t kDraws = 5000;
  UnitSums sums{kUnits, kUnits, std::vector<double>(kUnits * kUnits, 0.0)};
  for (size_t unit = 0; unit < kUnits; ++unit) sums.values[unit * kUnits + unit] = 1;
  const BootstrapTotals bootstrap(sums, kDraws, 11);
  // Five standard deviations of Binomial(kUnits * kDraws, 1 / kUnits).
  const double band = 5 * std::sqrt(kDraws * (1 - 1.0 / kUnits));
  for (size_t unit = 0; unit < kUnits; ++unit) {
    double count = 0;
    for (size_t draw = 0; draw < kDraws; ++draw) count += bootstrap.at(draw, unit);
    EXPECT_NEAR(count, kDraws, band);
  }
}

TEST(BootstrapTotals, DrawsIdenticalColumnsIdenticallyWhereverTheyStand) {
  Random random(5);
  Columns columns;
  for (size_t column = 0; column < 201; ++column) columns.push_back(random.normals(23));
  columns[70] = columns[0];
  columns[200] = columns[0];
  const BootstrapTotals among_others(sums_of(columns), 100, 9);
  const BootstrapTotals alone(sums_of({columns[0]}), 100, 9);
  for (size_t draw = 0; draw < 100; ++draw) {
    EXPECT_EQ(among_others.at(draw, 0), among_others.at(draw, 70));
    EXPECT_EQ(among_others.at(draw, 0), among_others.at(draw, 200));
    EXPECT_EQ(among_others.at(draw, 0), alone.at(draw, 0));
  }
}

TEST(BootstrapTotals, IsTheSameForTheSameSeedAndAnotherForAnother) {
  Random random(6);
  const UnitSums sums = sums_of({random.normals(20)});
  const BootstrapTotals once(sums, 200, 1);
  const BootstrapTotals again(sums, 200, 1);
  const BootstrapTotals fewer(sums, 90, 1);
  const BootstrapTotals other(sums, 200, 2);
  size_t equal_to_other = 0;
  for (size_t draw = 0; draw < 200; ++draw) {
    EXPECT_EQ(once.at(draw, 0), again.at(draw, 0));
    if (draw < fewer.draws()) {
      EXPECT_EQ(once.at(draw, 0), fewer.at(draw, 0));
    }
    equal_to_other += once.at(draw, 0) == other.at(draw, 0) ? 1 : 0;
  }
  EXPECT_LT(equal_to_other, 3U);
}

TEST(BootstrapTotals, RefusesToDrawNothingOrFromNothing) {
  const UnitSums none{0, 1, {}};
  const UnitSums one{1, 1, {2.5}};
  EXPECT_EQ(code_of([&] { BootstrapTotals(none, 10, 1); }), ErrorCode::kBadArgument);
  EXPECT_EQ(code_of([&] { BootstrapTotals(one, 0, 1); }), ErrorCode::kBadArgument);
  EXPECT_EQ(BootstrapTotals(one, 10, 1).at(9, 0), 2.5);
}

TEST(BootstrapTotals, MayHaveNoColumns) {
  const BootstrapTotals bootstrap(UnitSums{3, 0, {}}, 10, 1);
  EXPECT_TRUE(bootstrap.row(9).empty());
}

TEST(BootstrapStream, GivesTheRowsOfTheTotalsHoweverItIsCut) {
  Random random(17);
  Columns columns;
  for (size_t column = 0; column < 70; ++column) columns.push_back(random.normals(23));
  const UnitSums sums = sums_of(columns);
  const BootstrapTotals totals(sums, 300, 9);
  const std::vector<std::vector<size_t>> cuts = {
      {300}, {1, 63, 64, 65, 0, 107}, {150, 150}, std::vector<size_t>(300, 1)};
  for (const std::vector<size_t>& cut : cuts) {
    BootstrapStream stream(sums, 9);
    ASSERT_EQ(stream.columns(), columns.size());
    size_t draw = 0;
    for (const size_t count : cut) {
      const std::span<const double> rows = stream.next(count);
      ASSERT_EQ(rows.size(), count * columns.size());
      for (size_t row = 0; row < count; ++row, ++draw) {
        for (size_t column = 0; column < columns.size(); ++column) {
          ASSERT_EQ(rows[row * columns.size() + column], totals.at(draw, column)) << draw;
        }
      }
    }
    ASSERT_EQ(draw, totals.draws());
  }
}

TEST(BootstrapStream, DrawsTheUnitsOfAnotherOfItsSeed) {
  // A column that both hold, between different ones.
  Random random(18);
  const std::vector<double> shared = random.normals(31);
  const UnitSums narrow = sums_of({shared});
  const UnitSums wide = sums_of({random.normals(31), random.normals(31), shared});
  BootstrapStream one(narrow, 5);
  BootstrapStream other(wide, 5);
  for (size_t draw = 0; draw < 200; ++draw) EXPECT_EQ(one.next(1)[0], other.next(1)[2]);
}

TEST(BootstrapStream, GoesOnAfterItIsMoved) {
  Random random(19);
  const UnitSums sums = sums_of({random.normals(20)});
  const BootstrapTotals totals(sums, 3, 2);
  BootstrapStream stream(sums, 2);
  EXPECT_EQ(stream.next(1)[0], totals.at(0, 0));
  BootstrapStream moved = std::move(stream);
  EXPECT_EQ(moved.next(1)[0], totals.at(1, 0));
  stream = std::move(moved);
  EXPECT_EQ(stream.next(1)[0], totals.at(2, 0));
}

TEST(BootstrapStream, RefusesToDrawFromNothing) {
  EXPECT_EQ(code_of([] { BootstrapStream(UnitSums{0, 1, {}}, 1); }), ErrorCode::kBadArgument);
  BootstrapStream of_one(UnitSums{1, 1, {2.5}}, 1);
  EXPECT_EQ(of_one.next(10)[9], 2.5);
  BootstrapStream without_columns(UnitSums{3, 0, {}}, 1);
  EXPECT_TRUE(without_columns.next(10).empty());
}

TEST(Intervals, AgreeWithScipy) {
  const nlohmann::json expected = reference();
  const size_t draws = expected["resamples"];
  for (const nlohmann::json& data_set : expected["data_sets"]) {
    const std::string name = data_set["statistic"];
    Columns columns = data_set["columns"];
    if (name == "mean") columns.emplace_back(columns[0].size(), 1.0);
    const Statistic statistic = name == "log_ratio_of_ratios" ? log_ratio_of_ratios : ratio;
    const UnitSums sums = sums_of(columns);
    const BootstrapTotals bootstrap(sums, draws, 77);
    const auto check = [&](const std::optional<Estimate>& found, const char* method) {
      ASSERT_TRUE(found) << name;
      const std::vector<double> ends = data_set[method];
      const double tolerance = kReferenceTolerance * (ends[1] - ends[0]);
      EXPECT_NEAR(found->value, data_set["value"].get<double>(), kRounding) << name;
      EXPECT_NEAR(found->lo, ends[0], tolerance) << name << ", " << method;
      EXPECT_NEAR(found->hi, ends[1], tolerance) << name << ", " << method;
    };
    check(percentile_interval(sums, bootstrap, statistic), "percentile");
    check(bca_interval(sums, bootstrap, statistic), "bca");
  }
}

TEST(Intervals, HaveNoWidthWhenAllUnitsAreEqual) {
  const UnitSums sums = sums_of({std::vector<double>(30, 0.1), std::vector<double>(30, 0.3)});
  const BootstrapTotals bootstrap(sums, 500, 1);
  for (const auto& interval :
       {percentile_interval(sums, bootstrap, first_total), bca_interval(sums, bootstrap, ratio)}) {
    ASSERT_TRUE(interval);
    EXPECT_EQ(interval->lo, interval->value);
    EXPECT_EQ(interval->hi, interval->value);
  }
}

TEST(Intervals, TakeARatioThatOnlyRoundingMovesForConstant) {
  Random random(8);
  Columns columns(2, random.normals(50));
  for (double& value : columns[1]) value = std::abs(value);
  for (size_t unit = 0; unit < 50; ++unit) columns[0][unit] = 0.3 * columns[1][unit];
  const UnitSums sums = sums_of(columns);
  const auto interval = bca_interval(sums, BootstrapTotals(sums, 500, 1), ratio);
  ASSERT_TRUE(interval);
  EXPECT_EQ(interval->lo, interval->value);
  EXPECT_EQ(interval->hi, interval->value);
}

TEST(Intervals, MirrorWhenTheStatisticIsNegated) {
  Random random(9);
  // The second data set has few distinct totals: many draws tie with the sample.
  const Columns tied = {{0, 1, 0, 2, 1, 0, 1, 3, 0, 1}, std::vector<double>(10, 1.0)};
  const Statistic negated = [](std::span<const double> totals) { return -*ratio(totals); };
  for (const Columns& columns : {skewed_pair(random, 40, 1.0), tied}) {
    const UnitSums sums = sums_of(columns);
    const BootstrapTotals bootstrap(sums, 2000, 4);
    for (const auto interval : {percentile_interval, bca_interval}) {
      const auto plain = interval(sums, bootstrap, ratio);
      const auto mirrored = interval(sums, bootstrap, negated);
      ASSERT_TRUE(plain && mirrored);
      EXPECT_LT(plain->lo, plain->value);
      EXPECT_LT(plain->value, plain->hi);
      EXPECT_NEAR(mirrored->lo, -plain->hi, kRounding);
      EXPECT_NEAR(mirrored->hi, -plain->lo, kRounding);
    }
  }
}

TEST(Intervals, AreTheSameTwoWithoutBiasAndSkewness) {
  // Mirrored units have no skewness; the statistic puts the sample at the median of the draws.
  Random random(16);
  std::vector<double> values = random.normals(30);
  for (size_t unit = 0; unit < 30; ++unit) values.push_back(-values[unit]);
  const UnitSums sums = sums_of({values});
  const double total = std::accumulate(values.begin(), values.end(), 0.0);
  const BootstrapTotals bootstrap(sums, 1000, 1);
  std::vector<double> drawn;
  for (size_t draw = 0; draw < 1000; ++draw) drawn.push_back(bootstrap.at(draw, 0));
  std::sort(drawn.begin(), drawn.end());
  const double median = quantile(drawn, 0.5);
  const Statistic centred = [=](std::span<const double> totals) {
    return totals[0] == total ? median : totals[0];
  };
  const auto percentile = percentile_interval(sums, bootstrap, centred);
  const auto bca = bca_interval(sums, bootstrap, centred);
  ASSERT_TRUE(percentile && bca);
  // Rounding of the shares, times the distance of neighbouring draws times their number.
  EXPECT_NEAR(bca->lo, percentile->lo, 1000 * kRounding);
  EXPECT_NEAR(bca->hi, percentile->hi, 1000 * kRounding);
}

TEST(Intervals, SurviveAStatisticThatEveryUnitMovesAlike) {
  // Any unit left out moves the sum from 0 to a size of 1: the jackknife has no spread.
  std::vector<double> values(20, 1.0);
  std::fill(values.begin() + 10, values.end(), -1.0);
  const UnitSums sums = sums_of({values});
  const Statistic size = [](std::span<const double> totals) { return std::abs(totals[0]); };
  const auto interval = bca_interval(sums, BootstrapTotals(sums, 1000, 1), size);
  ASSERT_TRUE(interval);
  EXPECT_GE(interval->lo, 0);
  EXPECT_LE(interval->lo, interval->hi);
}

TEST(Intervals, AreRefusedWhenTheStatisticIsUndefinedOnTheSample) {
  const UnitSums nothing = sums_of({{1, 2, 3}, {0, 0, 0}});
  const UnitSums something = sums_of({{1, 2, 3}, {1, 1, 1}});
  for (const auto interval : {percentile_interval, bca_interval}) {
    EXPECT_FALSE(interval(nothing, BootstrapTotals(nothing, 100, 1), ratio));
    EXPECT_TRUE(interval(something, BootstrapTotals(something, 100, 1), ratio));
  }
}

// The ratio is over `carriers` of 100 units, so that exp(-carriers) of the draws, nearly, miss all.
UnitSums with_carriers(size_t carriers) {
  Random random(10);
  Columns columns(2, std::vector<double>(100));
  for (double& value : columns[0]) value = random.uniform();
  for (size_t unit = 0; unit < carriers; ++unit) columns[1][unit] = 1;
  return sums_of(columns);
}

TEST(Intervals, DropAFewUndefinedDrawsAndAreRefusedForMany) {
  const UnitSums few = with_carriers(5);   // 0.6 % undefined
  const UnitSums many = with_carriers(4);  // 1.7 %
  const BootstrapTotals of_few(few, 10000, 1);
  const BootstrapTotals of_many(many, 10000, 1);
  size_t undefined = 0;
  for (size_t draw = 0; draw < of_few.draws(); ++draw) undefined += ratio(of_few.row(draw)) ? 0 : 1;
  ASSERT_GT(undefined, 0U);
  for (const auto interval : {percentile_interval, bca_interval}) {
    EXPECT_TRUE(interval(few, of_few, ratio));
    EXPECT_FALSE(interval(many, of_many, ratio));
  }
}

TEST(Intervals, TakeAValueThatIsNotFiniteForUndefined) {
  const Statistic unguarded = [](std::span<const double> totals) { return totals[0] / totals[1]; };
  const UnitSums few = with_carriers(5);
  const BootstrapTotals bootstrap(few, 10000, 1);
  for (const auto interval : {percentile_interval, bca_interval}) {
    const auto guarded = interval(few, bootstrap, ratio);
    const auto found = interval(few, bootstrap, unguarded);
    ASSERT_TRUE(guarded && found);
    EXPECT_EQ(found->lo, guarded->lo);
    EXPECT_EQ(found->hi, guarded->hi);
  }
}

TEST(Intervals, StayWithinTheDrawsWhenTheSampleLiesOutsideThem) {
  Random random(12);
  const UnitSums sums = sums_of({random.normals(40)});
  const BootstrapTotals bootstrap(sums, 1000, 1);
  const double centre = std::accumulate(sums.values.begin(), sums.values.end(), 0.0);
  const Statistic peaked = [centre](std::span<const double> totals) {
    return -(totals[0] - centre) * (totals[0] - centre);
  };
  const auto interval = bca_interval(sums, bootstrap, peaked);
  ASSERT_TRUE(interval);
  EXPECT_TRUE(std::isfinite(interval->lo));
  EXPECT_LE(interval->lo, interval->hi);
  EXPECT_LE(interval->hi, 0);
}

TEST(Intervals, SurviveASampleThatOneUnitDominates) {
  std::vector<double> values(100, 1.0);
  values[0] = 1e6;
  values[1] = 2;
  const UnitSums sums = sums_of({values});
  const BootstrapTotals bootstrap(sums, 2000, 1);
  const auto interval = bca_interval(sums, bootstrap, first_total);
  ASSERT_TRUE(interval);
  EXPECT_TRUE(std::isfinite(interval->lo) && std::isfinite(interval->hi));
  EXPECT_LT(interval->lo, interval->value);
  EXPECT_LT(interval->value, interval->hi);
}

TEST(Intervals, KeepTheirEndsInOrderPastThePoleOfTheAcceleration) {
  // All draws above the sample (z0 near -4.6) and one unit far below the others (acceleration near
  // -1/6): 1 - acceleration * (z0 - 1.96) is negative.
  std::vector<double> values(40);
  for (size_t unit = 0; unit < 40; ++unit) values[unit] = std::sqrt(static_cast<double>(unit));
  values[0] = -1e6;
  const UnitSums sums = sums_of({values});
  const double total = std::accumulate(values.begin(), values.end(), 0.0);
  const Statistic lifted = [total](std::span<const double> totals) {
    return totals[0] == total ? totals[0] : totals[0] + 1e9;
  };
  const BootstrapTotals bootstrap(sums, 200000, 1);
  const auto interval = bca_interval(sums, bootstrap, lifted);
  ASSERT_TRUE(interval);
  EXPECT_LE(interval->lo, interval->hi);
}

bool covers(const std::optional<Estimate>& interval, double truth) {
  return interval && interval->lo <= truth && truth <= interval->hi;
}

TEST(Intervals, CoverTheTruthAsOftenAsTheySay) {
  constexpr size_t kUnits = 80;
  constexpr size_t kDraws = 800;
  constexpr double kSpread = 0.6;
  Random random(13);
  size_t mean_covered = 0;
  size_t ratio_covered = 0;
  for (size_t trial = 0; trial < kTrials; ++trial) {
    Columns columns = skewed_pair(random, kUnits, kSpread);
    columns.push_back(random.normals(kUnits));
    const UnitSums sums = sums_of(columns);
    const BootstrapTotals bootstrap(sums, kDraws, trial);
    const Statistic mean = [](std::span<const double> totals) { return totals[2] / kUnits; };
    mean_covered += covers(percentile_interval(sums, bootstrap, mean), 0) ? 1 : 0;
    const double truth = std::exp(kSpread * kSpread / 2);
    ratio_covered += covers(bca_interval(sums, bootstrap, ratio), truth) ? 1 : 0;
  }
  for (const size_t covered : {mean_covered, ratio_covered}) {
    const double share = static_cast<double>(covered) / kTrials;
    EXPECT_GT(share, kLeastCoverage);
    EXPECT_LT(share, kMostCoverage);
  }
}

TEST(Quantile, InterpolatesBetweenOrderStatistics) {
  const std::vector<double> values = {1, 2, 4, 8};
  EXPECT_EQ(quantile(values, 0), 1);
  EXPECT_EQ(quantile(values, 1), 8);
  EXPECT_EQ(quantile(values, 0.5), 3);
  EXPECT_NEAR(quantile(values, 0.1), 1.3, kRounding);
  EXPECT_NEAR(quantile(values, 0.75), 5, kRounding);
  EXPECT_EQ(quantile(std::vector<double>{7}, 0.3), 7);
}

TEST(Gini, IsZeroForEqualAndNearOneForOneOwner) {
  EXPECT_EQ(gini(std::vector<double>(7, 0.1)), 0);
  EXPECT_NEAR(gini(std::vector<double>{0, 5, 0, 0}), 0.75, kRounding);
  EXPECT_EQ(gini(std::vector<double>{0, 0, 0}), 0);
  EXPECT_EQ(gini(std::vector<double>{}), 0);
}

TEST(Gini, IsHalfTheMeanDifferenceOverTheMean) {
  // Differences of the pairs of {4, 1, 3, 2}: 3 of 1, 2 of 2, 1 of 3, in both orders; mean 2.5.
  EXPECT_NEAR(gini(std::vector<double>{4, 1, 3, 2}), 20.0 / (2 * 16 * 2.5), kRounding);
  EXPECT_NEAR(gini(std::vector<double>{40, 10, 30, 20}), 0.25, kRounding);
  EXPECT_NEAR(gini(std::vector<double>{1, 2, 6}), 10.0 / 27, kRounding);
}

TEST(Gini, RejectsValuesThatAreNoAmounts) {
  const double infinite = std::numeric_limits<double>::infinity();
  EXPECT_EQ(code_of([] { gini(std::vector<double>{1, -0.5}); }), ErrorCode::kBadArgument);
  EXPECT_EQ(code_of([&] { gini(std::vector<double>{1, infinite}); }), ErrorCode::kNotFinite);
  EXPECT_EQ(code_of([] { gini(std::vector<double>{1, 0.5}); }), std::nullopt);
}

TEST(MaxT, GivesTheValuesOfASmallCase) {
  // Deviations of the draws: -1/2, -3/2, -1/2, 1/2 for item 0, the negatives for item 1; about
  // their mean, -1/2, the squares sum to 2.
  const std::vector<double> point = {1, 2};
  const Columns draws = {{1, 2}, {0, 3}, {1, 2}, {2, 1}};
  const MaxTResult result = max_t_test(point, draws);
  const double error = std::sqrt(2.0 / 3);
  EXPECT_EQ(result.deviation, (std::vector<double>{-0.5, 0.5}));
  EXPECT_NEAR(result.statistic, 0.5 / error, kRounding);
  EXPECT_NEAR(result.p_value, 3.0 / 5, kRounding);
  // The null statistics are 0, 0, 1 / error and 1 / error.
  EXPECT_NEAR(result.lo[0], -0.5 - 1, kRounding);
  EXPECT_NEAR(result.hi[0], -0.5 + 1, kRounding);
  EXPECT_NEAR(result.hi[1], 0.5 + 1, kRounding);
}

// Means over units of items that share a part of each unit; `planted` is added to the last item.
MaxTResult test_of_simulated_items(Random& random, double planted, uint64_t seed) {
  constexpr size_t kUnits = 100;
  constexpr size_t kItems = 8;
  constexpr size_t kDraws = 300;
  const std::vector<double> shared = random.normals(kUnits);
  Columns columns(kItems, std::vector<double>(kUnits));
  for (size_t item = 0; item < kItems; ++item) {
    for (size_t unit = 0; unit < kUnits; ++unit) {
      columns[item][unit] =
          shared[unit] + (0.5 + 0.2 * static_cast<double>(item)) * random.normal();
      if (item + 1 == kItems) columns[item][unit] += planted;
    }
  }
  const BootstrapTotals bootstrap(sums_of(columns), kDraws, seed);
  std::vector<double> point(kItems, 0.0);
  for (size_t item = 0; item < kItems; ++item) {
    point[item] = std::accumulate(columns[item].begin(), columns[item].end(), 0.0);
  }
  Columns draws;
  for (size_t draw = 0; draw < kDraws; ++draw) {
    draws.emplace_back(bootstrap.row(draw).begin(), bootstrap.row(draw).end());
  }
  return max_t_test(point, draws);
}

TEST(MaxT, RaisesAsManyFalseAlarmsAsItsLevel) {
  Random random(14);
  size_t alarms = 0;
  size_t bands_that_hold = 0;
  for (size_t trial = 0; trial < kTrials; ++trial) {
    const MaxTResult result = test_of_simulated_items(random, 0, trial);
    alarms += result.p_value <= 1 - kConfidence ? 1 : 0;
    bool holds = true;
    for (size_t item = 0; item < result.lo.size(); ++item) {
      holds = holds && result.lo[item] <= 0 && 0 <= result.hi[item];
    }
    bands_that_hold += holds ? 1 : 0;
  }
  for (const size_t kept : {kTrials - alarms, bands_that_hold}) {
    const double share = static_cast<double>(kept) / kTrials;
    EXPECT_GT(share, kLeastCoverage);
    EXPECT_LT(share, kMostCoverage);
  }
}

TEST(MaxT, FindsAPlantedItem) {
  Random random(15);
  const MaxTResult result = test_of_simulated_items(random, 1.5, 1);
  EXPECT_LT(result.p_value, 0.01);
  EXPECT_GT(result.lo.back(), 0);
  const auto largest = std::max_element(result.deviation.begin(), result.deviation.end());
  EXPECT_EQ(largest, result.deviation.end() - 1);
}

TEST(MaxT, DoesNotDependOnAPartThatAllItemsShare) {
  const std::vector<double> point = {1, 2, 4};
  const Columns draws = {{1, 2, 5}, {0, 2, 4}, {2, 1, 3}, {1, 3, 4}};
  std::vector<double> moved_point = point;
  Columns moved_draws = draws;
  for (double& value : moved_point) value += 100;
  for (size_t draw = 0; draw < draws.size(); ++draw) {
    for (double& value : moved_draws[draw]) value += 50 * static_cast<double>(draw);
  }
  const MaxTResult plain = max_t_test(point, draws);
  const MaxTResult moved = max_t_test(moved_point, moved_draws);
  EXPECT_NEAR(moved.statistic, plain.statistic, kRounding * 100);
  EXPECT_EQ(moved.p_value, plain.p_value);
}

TEST(MaxT, SeesNoDifferenceBetweenEqualItems) {
  // 0.1 + 0.1 + 0.1 over 3 is not 0.1 in doubles: rounding must not count as a difference.
  const Columns draws = {{0.1, 0.1, 0.1}, {0.2, 0.2, 0.2}, {0.7, 0.7, 0.7}};
  const MaxTResult result = max_t_test(std::vector<double>{0.1, 0.1, 0.1}, draws);
  EXPECT_EQ(result.statistic, 0);
  EXPECT_EQ(result.p_value, 1);
}

TEST(MaxT, IsCertainOfADifferenceThatNeverVaries) {
  const Columns draws = {{1, 2}, {3, 4}, {0, 1}};
  const MaxTResult result = max_t_test(std::vector<double>{1, 2}, draws);
  EXPECT_EQ(result.statistic, std::numeric_limits<double>::infinity());
  EXPECT_EQ(result.p_value, 0.25);
  EXPECT_EQ(result.lo, result.deviation);
  EXPECT_EQ(result.hi, result.deviation);
}

TEST(MaxT, RejectsTooFewDrawsAndValuesThatAreNotFinite) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> point = {1, 2};
  const auto test = [](const std::vector<double>& values, const Columns& draws) {
    return code_of([&] { max_t_test(values, draws); });
  };
  EXPECT_EQ(test(point, {{1, 2}}), ErrorCode::kBadArgument);
  EXPECT_EQ(test(point, {{1, 2}, {1, nan}}), ErrorCode::kNotFinite);
  EXPECT_EQ(test({1, nan}, {{1, 2}, {1, 3}}), ErrorCode::kNotFinite);
  EXPECT_EQ(test(point, {{1, 2}, {1, 3}}), std::nullopt);
}

}  // namespace
}  // namespace isogloss
