// Contracts of rotate(), normalize(), activate() and soft_cap() in isogloss/device/device_impl.h.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <numbers>
#include <string>
#include <utility>

#include "tests/device_graph.h"

namespace isogloss {
namespace {

// Of |x|, times |up|: vector_exp is off by 2e-7, and float roundings of a sigmoid's argument u move
// it by a few u s(u) (1 - s(u)) * 6e-8, at most 1.3e-8 each. Measured: 1.5e-7.
constexpr double kActivationTolerance = 4e-7;

// Of (|x| + |mean|) |scale| / deviation + |bias|: six roundings to float, of the mean, the distance
// from it, the factor, two products and the sum with the bias. Measured: 1.8e-7.
constexpr double kNormTolerance = 6 * 0x1p-24;

// Of the cap: 2 / (1 + e^u) is up to 2 and off by two roundings to float, and an error of e^u, of
// 2e-7 and two roundings of u, moves it by less than half as much. Measured: 2.1e-7.
constexpr double kSoftCapTolerance = 3e-7;

// Sines and cosines of places 0 to 9, for pairs of other frequencies.
Numbers rotation_table(size_t dims) {
  Numbers table;
  for (size_t place = 0; place < 10; ++place) {
    for (size_t pair = 0; pair < dims / 2; ++pair) {
      const double angle = static_cast<double>(place) / static_cast<double>(pair + 1);
      table.push_back(static_cast<float>(std::cos(angle)));
      table.push_back(static_cast<float>(std::sin(angle)));
    }
  }
  return table;
}

// A pair as a complex number times e^(i angle).
TEST(Rotate, TurnsThePairsOfEachHeadAndLeavesTheRest) {
  constexpr size_t kHeads = 3;
  constexpr size_t kHeadDim = 10;
  constexpr size_t kDims = 6;
  const std::vector<int32_t> places = {0, 1, 2, 0, 9, 5, 5};
  const Numbers table = rotation_table(kDims);
  const Numbers numbers = some_numbers(places.size() * kHeads * kHeadDim, 7);
  for (const RopePairs pairs : {RopePairs::kNeighbours, RopePairs::kHalves}) {
    Device device("cpu", 2);
    DeviceGraph graph(device);
    Numbers input = numbers;
    const RotationShape shape{table, places, kHeadDim, kDims, pairs};
    const Numbers found =
        graph.compute(rotate(graph.context(), graph.input(input, kHeads * kHeadDim), shape));
    for (size_t at = 0; at < numbers.size(); at += kHeadDim) {
      const auto place = static_cast<size_t>(places[at / (kHeads * kHeadDim)]);
      Numbers expected(numbers.begin() + static_cast<std::ptrdiff_t>(at),
                       numbers.begin() + static_cast<std::ptrdiff_t>(at + kHeadDim));
      for (size_t pair = 0; pair < kDims / 2; ++pair) {
        const bool halves = pairs == RopePairs::kHalves;
        const size_t first = halves ? pair : 2 * pair;
        const size_t second = halves ? pair + kDims / 2 : 2 * pair + 1;
        const float* angle = &table[place * kDims + 2 * pair];
        const std::complex<float> turned = std::complex(numbers[at + first], numbers[at + second]) *
                                           std::complex(angle[0], angle[1]);
        expected[first] = turned.real();
        expected[second] = turned.imag();
      }
      for (size_t i = 0; i < kHeadDim; ++i) EXPECT_NEAR(found[at + i], expected[i], 1e-6F);
    }
  }
}

struct NormCase {
  NormKind kind;
  size_t size, groups, scale_rows;
  bool bias;
};

// Norms of a whole row, of groups with one row of scales for all, and with a row for each; widths
// that no vector divides among them.
constexpr NormCase kNormCases[] = {
    {NormKind::kLayerNorm, 768, 1, 1, true}, {NormKind::kLayerNorm, 33, 1, 1, false},
    {NormKind::kLayerNorm, 16, 5, 1, true},  {NormKind::kLayerNorm, 16, 5, 5, true},
    {NormKind::kLayerNorm, 7, 3, 3, false},  {NormKind::kRmsNorm, 640, 1, 1, false},
    {NormKind::kRmsNorm, 33, 1, 1, true},    {NormKind::kRmsNorm, 64, 4, 1, false},
    {NormKind::kRmsNorm, 64, 4, 4, false},   {NormKind::kRmsNorm, 7, 4, 4, true}};

constexpr size_t kNormTokens = 37;
constexpr float kNormEpsilon = 1e-5F;

struct NormNumbers {
  explicit NormNumbers(const NormCase& norm)
      : input(some_numbers(kNormTokens * norm.size * norm.groups, 1)),
        scale(some_numbers(norm.size * norm.scale_rows, 2)),
        bias(norm.bias ? some_numbers(norm.size, 3) : Numbers()) {}

  Numbers input, scale, bias;
};

std::string name_of(const NormCase& norm) {
  return std::string(norm.kind == NormKind::kLayerNorm ? "layer norm" : "RMS norm") + " of " +
         std::to_string(norm.groups) + " groups of " + std::to_string(norm.size) + ", " +
         std::to_string(norm.scale_rows) + " rows of scales" + (norm.bias ? ", bias" : "");
}

// Of the columns from `first` on of an input that may be wider.
Numbers normalize_columns(size_t threads, const NormCase& norm, NormNumbers numbers, size_t first) {
  const size_t width = norm.size * norm.groups;
  Device device("cpu", threads);
  DeviceGraph graph(device);
  ggml_tensor* input = graph.input(numbers.input, numbers.input.size() / kNormTokens);
  ggml_tensor* scale = graph.input(numbers.scale, norm.size);
  ggml_tensor* bias = norm.bias ? graph.input(numbers.bias, norm.size) : nullptr;
  const NormShape shape{norm.kind, kNormEpsilon};
  return graph.compute(
      normalize(graph.context(), graph.columns(input, first, width), scale, bias, shape));
}

// The largest error of the group of `norm.size` numbers from `at` on, as kNormTolerance counts it.
double norm_error(const NormCase& norm, const NormNumbers& numbers, const Numbers& found,
                  size_t at) {
  const size_t scale_row = at / norm.size % norm.scale_rows;
  const auto count = static_cast<double>(norm.size);
  const auto number = [&](size_t i) { return static_cast<double>(numbers.input[at + i]); };
  double mean = 0;
  if (norm.kind == NormKind::kLayerNorm) {
    for (size_t i = 0; i < norm.size; ++i) mean += number(i) / count;
  }
  double variance = 0;
  for (size_t i = 0; i < norm.size; ++i) variance += std::pow(number(i) - mean, 2) / count;
  const double deviation = std::sqrt(variance + static_cast<double>(kNormEpsilon));
  double largest = 0;
  for (size_t i = 0; i < norm.size; ++i) {
    const double factor = static_cast<double>(numbers.scale[scale_row * norm.size + i]) / deviation;
    const double bias = norm.bias ? static_cast<double>(numbers.bias[i]) : 0;
    const double expected = (number(i) - mean) * factor + bias;
    const double terms = (std::abs(number(i)) + std::abs(mean)) * std::abs(factor) + std::abs(bias);
    largest = std::max(largest, std::abs(static_cast<double>(found[at + i]) - expected) / terms);
  }
  return largest;
}

// Numbers of mean 0, of a mean far above their deviation, of squares that no float holds, and of
// squares far below epsilon.
TEST(Normalize, EqualsItsFormulaInDouble) {
  for (const NormCase& norm : kNormCases) {
    for (const auto& [factor, offset] :
         {std::pair{1.0F, 0.0F}, {1.0F, 1000.0F}, {1e25F, 0.0F}, {1e-12F, 0.0F}}) {
      NormNumbers numbers(norm);
      for (float& number : numbers.input) number = factor * number + offset;
      const Numbers found = normalize_columns(2, norm, numbers, 0);
      ASSERT_EQ(found.size(), numbers.input.size());
      double largest = 0;
      for (size_t at = 0; at < found.size(); at += norm.size) {
        largest = std::max(largest, norm_error(norm, numbers, found, at));
      }
      EXPECT_LT(largest, kNormTolerance)
          << name_of(norm) << ", numbers of size " << factor << " about " << offset;
    }
  }
}

TEST(Normalize, ReadsTheColumnsOfAFusedProduct) {
  constexpr size_t kBefore = 5;
  constexpr size_t kAfter = 3;
  for (const NormCase& norm : kNormCases) {
    const NormNumbers numbers(norm);
    const size_t width = norm.size * norm.groups;
    NormNumbers fused = numbers;
    fused.input = some_numbers(kNormTokens * (kBefore + width + kAfter), 4);
    for (size_t token = 0; token < kNormTokens; ++token) {
      std::copy_n(&numbers.input[token * width], width,
                  &fused.input[token * (kBefore + width + kAfter) + kBefore]);
    }
    EXPECT_EQ(normalize_columns(2, norm, fused, kBefore), normalize_columns(2, norm, numbers, 0))
        << name_of(norm);
  }
}

TEST(Normalize, DoesNotDependOnTheNumberOfThreads) {
  for (const NormCase& norm : kNormCases) {
    const NormNumbers numbers(norm);
    const Numbers expected = normalize_columns(1, norm, numbers, 0);
    for (const size_t threads : kThreadCounts) {
      EXPECT_EQ(normalize_columns(threads, norm, numbers, 0), expected)
          << name_of(norm) << ", " << threads << " threads";
    }
  }
}

TEST(Normalize, MakesZerosOfZerosAndKeepsNaNInItsGroup) {
  for (const NormCase& norm : kNormCases) {
    NormNumbers numbers(norm);
    std::ranges::fill(numbers.input, 0.0F);
    const size_t bad = 2 * norm.size * norm.groups + norm.size - 1;
    numbers.input[bad] = std::numeric_limits<float>::quiet_NaN();
    const Numbers found = normalize_columns(2, norm, numbers, 0);
    for (size_t i = 0; i < found.size(); ++i) {
      if (i / norm.size == bad / norm.size) {
        EXPECT_TRUE(std::isnan(found[i])) << name_of(norm) << ", place " << i;
      } else {
        EXPECT_EQ(found[i], norm.bias ? numbers.bias[i % norm.size] : 0)
            << name_of(norm) << ", place " << i;
      }
    }
  }
}

constexpr Activation kActivations[] = {Activation::kGelu, Activation::kGeluTanh, Activation::kRelu,
                                       Activation::kSilu};

// From the far ends, where exponentials overflow, to the smallest numbers.
Numbers activation_inputs() {
  Numbers inputs = {0, -0.0F, 1e-30F, -1e-30F, 1e-6F, -1e-6F, 80, -80, 1e4F, -1e4F, 1e30F, -1e30F};
  for (int i = -2000; i <= 2000; ++i) inputs.push_back(static_cast<float>(i) * 0.01F);
  return inputs;
}

double plain_activation(Activation activation, double x) {
  if (activation == Activation::kRelu) return std::max(0.0, x);
  if (activation == Activation::kGelu) return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
  if (activation == Activation::kSilu) return x / (1 + std::exp(-x));
  const double inner = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  return 0.5 * x * (1 + std::tanh(inner));
}

Numbers apply(size_t threads, Activation activation, Numbers gate, Numbers up) {
  Device device("cpu", threads);
  DeviceGraph graph(device);
  ggml_tensor* up_tensor = up.empty() ? nullptr : graph.input(up, 1);
  return graph.compute(activate(graph.context(), activation, graph.input(gate, 1), up_tensor));
}

TEST(Activate, EqualsItsFormulaInDouble) {
  const Numbers inputs = activation_inputs();
  for (const Activation activation : kActivations) {
    for (const Numbers& up : {Numbers(), some_numbers(inputs.size(), 4)}) {
      const Numbers found = apply(2, activation, inputs, up);
      for (size_t i = 0; i < inputs.size(); ++i) {
        const auto x = static_cast<double>(inputs[i]);
        const double factor = up.empty() ? 1 : static_cast<double>(up[i]);
        const double expected = factor * plain_activation(activation, x);
        EXPECT_LE(std::abs(static_cast<double>(found[i]) - expected),
                  kActivationTolerance * std::abs(x * factor))
            << "of " << x << ", times " << factor;
      }
    }
  }
}

TEST(Activate, DoesNotDependOnTheNumberOfThreads) {
  const Numbers inputs = activation_inputs();
  const Numbers up = some_numbers(inputs.size(), 5);
  for (const Activation activation : kActivations) {
    const Numbers expected = apply(1, activation, inputs, up);
    for (const size_t threads : kThreadCounts) {
      EXPECT_EQ(apply(threads, activation, inputs, up), expected) << threads << " threads";
    }
  }
}

TEST(Activate, KeepsNaN) {
  for (const Activation activation : kActivations) {
    Numbers inputs = some_numbers(37, 6);
    inputs[20] = std::numeric_limits<float>::quiet_NaN();
    const Numbers found = apply(1, activation, inputs, {});
    for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(std::isnan(found[i]), i == 20) << i;
  }
}

constexpr float kCaps[] = {0.5F, 7, 30, 50};

Numbers cap_softly(size_t threads, float cap, Numbers numbers) {
  Device device("cpu", threads);
  DeviceGraph graph(device);
  return graph.compute(soft_cap(graph.context(), graph.input(numbers, 1), cap));
}

TEST(SoftCap, EqualsItsFormulaInDouble) {
  Numbers inputs = activation_inputs();
  for (int i = -30000; i <= 30000; ++i) inputs.push_back(static_cast<float>(i) * 0.005F);
  for (const float cap : kCaps) {
    const Numbers found = cap_softly(2, cap, inputs);
    double largest = 0;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const double ratio = static_cast<double>(inputs[i]) / static_cast<double>(cap);
      const double found_ratio = static_cast<double>(found[i]) / static_cast<double>(cap);
      largest = std::max(largest, std::abs(found_ratio - std::tanh(ratio)));
    }
    EXPECT_LT(largest, kSoftCapTolerance) << "cap " << cap;
  }
}

TEST(SoftCap, EndsAtTheCapAndKeepsNaN) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float cap : kCaps) {
    const Numbers found =
        cap_softly(1, cap, {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN(), 0});
    EXPECT_EQ(found[0], cap);
    EXPECT_EQ(found[1], -cap);
    EXPECT_TRUE(std::isnan(found[2]));
    EXPECT_EQ(found[3], 0);
  }
}

TEST(SoftCap, ReadsColumnsAndDoesNotDependOnTheNumberOfThreads) {
  constexpr size_t kCols = 7;
  constexpr float kCap = 2;
  Numbers numbers = some_numbers(13 * kCols, 8);
  const Numbers expected = cap_softly(1, kCap, numbers);
  for (const size_t threads : kThreadCounts) {
    Device device("cpu", threads);
    DeviceGraph graph(device);
    ggml_tensor* part = graph.columns(graph.input(numbers, kCols), 2, kCols - 2);
    const Numbers found = graph.compute(soft_cap(graph.context(), part, kCap));
    ASSERT_EQ(found.size(), 13 * (kCols - 2));
    for (size_t i = 0; i < found.size(); ++i) {
      const size_t place = i / (kCols - 2) * kCols + 2 + i % (kCols - 2);
      EXPECT_EQ(found[i], expected[place]) << "place " << i << ", " << threads << " threads";
    }
  }
}

}  // namespace
}  // namespace isogloss
