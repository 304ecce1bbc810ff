// Contract of isogloss/measure/kl_histogram.h.
#include "isogloss/measure/kl_histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "isogloss/base/random.h"
#include "isogloss/measure/statistics.h"

namespace isogloss {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// As KL divergences of tokens are: over many orders of magnitude, some of them 0.
std::vector<double> some_divergences(size_t count, uint64_t seed) {
  Random random(seed);
  std::vector<double> values;
  for (size_t i = 0; i < count; ++i) {
    const double kl = std::exp(-16 + 19 * random.uniform());
    values.push_back(static_cast<double>(static_cast<float>(i % 10 == 0 ? 0 : kl)));
  }
  return values;
}

KlHistogram histogram_of(const std::vector<double>& values) {
  KlHistogram histogram;
  for (const double value : values) histogram.add(static_cast<float>(value));
  return histogram;
}

TEST(KlHistogram, HasTheQuantilesOfItsNumbers) {
  for (const size_t count : {1, 2, 3, 10, 1000, 20000}) {
    auto values = some_divergences(count, count);
    const KlHistogram histogram = histogram_of(values);
    EXPECT_EQ(histogram.count(), count);
    std::ranges::sort(values);
    for (const double p : {0.0, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0}) {
      const double expected = quantile(values, p);
      EXPECT_NEAR(histogram.quantile(p), expected,
                  KlHistogram::kRelativeError * expected + double{KlHistogram::kLeast})
          << count << " numbers, p = " << p;
    }
    const KlQuantiles quantiles = histogram.quantiles();
    EXPECT_EQ(quantiles.median, histogram.quantile(0.5));
    EXPECT_EQ(quantiles.p99, histogram.quantile(0.99));
    EXPECT_EQ(quantiles.p999, histogram.quantile(0.999));
    EXPECT_EQ(quantiles.max, values.back());
  }
}

// The bound is one that numbers come near to.
TEST(KlHistogram, IsAsExactAsItSays) {
  double largest = 0;
  for (float kl = KlHistogram::kLeast; kl < 100; kl *= 1.0007F) {
    KlHistogram histogram;
    histogram.add(kl);
    histogram.add(std::numeric_limits<float>::max());
    largest = std::max(largest, std::abs(histogram.quantile(0) / double{kl} - 1));
  }
  EXPECT_LE(largest, KlHistogram::kRelativeError);
  EXPECT_GT(largest, 0.9 * KlHistogram::kRelativeError);
}

TEST(KlHistogram, IsNothingWithoutNumbers) {
  const KlHistogram empty;
  EXPECT_EQ(empty.count(), 0U);
  EXPECT_EQ(empty.quantile(0.5), 0);
  EXPECT_EQ(empty.quantiles().max, 0);
  EXPECT_EQ(KlHistogram::from_numbers(empty.to_numbers()), empty);
}

TEST(KlHistogram, AddsUpInAnyOrder) {
  const auto values = some_divergences(5000, 3);
  const KlHistogram whole = histogram_of(values);
  std::vector<KlHistogram> parts;
  for (size_t first = 0; first < values.size(); first += 700) {
    const size_t last = std::min(values.size(), first + 700);
    parts.push_back(histogram_of({values.begin() + static_cast<std::ptrdiff_t>(first),
                                  values.begin() + static_cast<std::ptrdiff_t>(last)}));
  }
  KlHistogram forward, backward;
  for (size_t i = 0; i < parts.size(); ++i) {
    forward.merge(parts[i]);
    backward.merge(parts[parts.size() - 1 - i]);
  }
  EXPECT_EQ(forward, whole);
  EXPECT_EQ(backward, whole);
}

TEST(KlHistogram, SurvivesBeingWritten) {
  for (const size_t count : {1, 17, 4000}) {
    const KlHistogram histogram = histogram_of(some_divergences(count, 9));
    EXPECT_EQ(KlHistogram::from_numbers(histogram.to_numbers()), histogram);
  }
}

TEST(KlHistogram, RefusesNumbersThatAreNoHistogram) {
  const auto good = histogram_of({0, 0.5, 2, 2}).to_numbers();
  ASSERT_EQ(good.size(), 7U);
  const auto with = [&](size_t place, double number) {
    auto numbers = good;
    numbers[place] = number;
    return numbers;
  };
  const double nan = std::nan("");
  std::vector<std::vector<double>> bad = {{}, {good.begin(), good.end() - 1}};
  for (const double number : {-1.0, nan, kInfinity}) {
    for (size_t place = 0; place < good.size(); ++place) bad.push_back(with(place, number));
  }
  bad.push_back(with(0, 3));        // larger than its bin
  bad.push_back(with(1, 0.5));      // no bin
  bad.push_back(with(2, 0));        // an empty bin
  bad.push_back(with(2, 1.5));      // no count
  bad.push_back(with(3, good[1]));  // the same bin twice
  bad.push_back(with(5, 1e9));      // no float is there
  bad.push_back({good[3], good[1], good[2]});
  for (const auto& numbers : bad) {
    EXPECT_EQ(KlHistogram::from_numbers(numbers), std::nullopt) << testing::PrintToString(numbers);
  }
  EXPECT_TRUE(KlHistogram::from_numbers(good).has_value());
}

}  // namespace
}  // namespace isogloss
