// Contracts of round_as_read() and of activate() as llama.cpp computes it, in
// isogloss/device/device_impl.h: ggml's own operations on the CPU are what they stand for.
#include <ggml-cpu.h>
#include <gtest/gtest.h>

#include <cmath>

#include "isogloss/quantize/encode_impl.h"
#include "tests/device_graph.h"

namespace isogloss {
namespace {

// Of the lengths of the two vectors of a product: float sums of 512 terms, in both.
constexpr double kProductTolerance = 2e-6;
// The same for types with an offset, of which ggml keeps the sums of the blocks that are read in
// F16: 16 of them, off by 2^-12 of up to half the length of a row.
constexpr double kOffsetTolerance = 1e-4;

constexpr size_t kInputs = 512;
constexpr size_t kOutputs = 24;
constexpr size_t kTokens = 9;

// Weights in the blocks of a type, and the numbers that those hold.
struct Blocks {
  std::vector<std::byte> bytes;
  Numbers numbers;
};

Blocks blocks_of(TensorType type) {
  const Numbers numbers = some_numbers(kInputs * kOutputs, 1);
  Blocks blocks;
  blocks.bytes.resize(ggml_row_size(static_cast<ggml_type>(type), kInputs) * kOutputs);
  blocks.numbers.resize(numbers.size());
  const Numbers even(kInputs, 1);  // some types cannot be made without importance
  encode_rows(type, numbers, kInputs, even, blocks.bytes.data());
  decode_rows(type, blocks.bytes.data(), kInputs, blocks.numbers);
  return blocks;
}

Numbers product_of_ggml(TensorType type, Blocks& blocks, Numbers input) {
  Device device("cpu", 1);
  DeviceGraph graph(device);
  ggml_tensor* matrix =
      ggml_new_tensor_2d(graph.context(), static_cast<ggml_type>(type), kInputs, kOutputs);
  matrix->data = blocks.bytes.data();
  return graph.compute(ggml_mul_mat(graph.context(), matrix, graph.input(input, kInputs)));
}

Numbers rounded(TensorType type, Numbers input, size_t threads = 1) {
  Device device("cpu", threads);
  DeviceGraph graph(device);
  // A product by one: what is rounded is no result of its own where nothing is.
  return graph.compute(ggml_scale(
      graph.context(), round_as_read(graph.context(), graph.input(input, kInputs), type), 1));
}

class RoundAsRead : public testing::TestWithParam<const char*> {};

TEST_P(RoundAsRead, IsWhatProductsOfGgmlRead) {
  const TensorType type = *find_tensor_type(GetParam());
  Blocks blocks = blocks_of(type);
  Numbers input = some_numbers(kInputs * kTokens, 2);
  for (size_t i = 0; i < kInputs; ++i) input[i] = 0;  // a token of zeros
  const Numbers found = product_of_ggml(type, blocks, input);
  const Numbers read = rounded(type, input);
  for (size_t i = 0; i < kInputs; ++i) EXPECT_EQ(read[i], 0);
  const auto without_zeros = [](const Numbers& numbers, size_t width) {
    return Numbers(numbers.begin() + static_cast<std::ptrdiff_t>(width), numbers.end());
  };
  const auto error_of = [&](const Numbers& factors) {
    return largest_error(without_zeros(found, kOutputs), without_zeros(factors, kInputs),
                         blocks.numbers, {}, kInputs);
  };
  const bool offset = std::string_view(GetParam()).ends_with("_1");
  EXPECT_LT(error_of(read), offset ? kOffsetTolerance : kProductTolerance);
  // The product of what is not rounded is another.
  if (type == TensorType::kF32) return;
  EXPECT_GT(error_of(input), 5 * error_of(read));
}

TEST_P(RoundAsRead, DoesNotDependOnTheNumberOfThreads) {
  const TensorType type = *find_tensor_type(GetParam());
  const Numbers input = some_numbers(kInputs * kTokens, 3);
  const Numbers expected = rounded(type, input);
  for (const size_t threads : kThreadCounts) EXPECT_EQ(rounded(type, input, threads), expected);
}

INSTANTIATE_TEST_SUITE_P(, RoundAsRead,
                         testing::Values("f32", "f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1",
                                         "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl",
                                         "iq4_xs", "mxfp4"),
                         [](const auto& test) { return std::string(test.param); });

// Every number that has an entry of its own in ggml's table, those between, and those beyond it.
Numbers gates() {
  Numbers numbers = {0, -0.0F, 1e-6F, -1e-6F, 10, -10, 9.996F, -9.996F, 80, -80, 1e5F, -1e5F};
  for (int i = -3000; i <= 3000; ++i) numbers.push_back(static_cast<float>(i) * 0.00391F);
  return numbers;
}

void expect_equal_but_for_ties(const Numbers& found, const Numbers& expected) {
  // A unit of F16 in its last place: formulas that differ by a rounding of F32 can end on the other
  // side of a tie. And what is lost where ggml's 1 + tanh(u) cancels, half an ulp of 1 times x.
  constexpr float kUlp = 0x1p-10F;
  constexpr float kCancelled = 10 * 0x1p-24F;
  ASSERT_EQ(found.size(), expected.size());
  size_t other = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    other += std::abs(found[i] - expected[i]) > kCancelled ? 1 : 0;
    EXPECT_NEAR(found[i], expected[i], kUlp * std::abs(expected[i]) + kCancelled) << gates()[i];
  }
  EXPECT_LT(other, found.size() / 100);
}

TEST(ActivateAsLlama, LooksGeluUpWhereGgmlDoes) {
  Numbers gate = gates();
  Numbers up = some_numbers(gate.size(), 4);
  Device device("cpu", 2);
  const auto found = [&](bool gated) {
    DeviceGraph graph(device);
    return graph.compute(activate(graph.context(), Activation::kGeluTanh, graph.input(gate, 1),
                                  gated ? graph.input(up, 1) : nullptr, Values::kAsLlama));
  };
  DeviceGraph plain(device), gated(device);
  expect_equal_but_for_ties(found(false),
                            plain.compute(ggml_gelu(plain.context(), plain.input(gate, 1))));
  expect_equal_but_for_ties(
      found(true),
      gated.compute(ggml_geglu_split(gated.context(), gated.input(gate, 1), gated.input(up, 1))));
}

TEST(ActivateAsLlama, LeavesOtherActivations) {
  Numbers gate = gates();
  Device device("cpu", 1);
  for (const Activation activation : {Activation::kGelu, Activation::kRelu, Activation::kSilu}) {
    DeviceGraph exact(device), as_llama(device);
    EXPECT_EQ(as_llama.compute(activate(as_llama.context(), activation, as_llama.input(gate, 1),
                                        nullptr, Values::kAsLlama)),
              exact.compute(activate(exact.context(), activation, exact.input(gate, 1), nullptr)));
  }
}

}  // namespace
}  // namespace isogloss
