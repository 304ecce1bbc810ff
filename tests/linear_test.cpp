// Contract of linear() and product_type() in isogloss/device/device_impl.h.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/device_graph.h"

namespace isogloss {
namespace {

// Of the lengths of the two vectors of a product: float sums of 256 terms. Measured: 2e-7.
constexpr double kLinearTolerance = 1e-6;

struct LinearCase {
  size_t tokens, inputs, outputs;
};

// Numbers of tokens that no block divides, one beyond the largest block, and widths that no vector
// divides.
constexpr LinearCase kLinearCases[] = {{1, 64, 96},     {2, 7, 5},     {3, 33, 1},
                                       {300, 256, 768}, {517, 48, 31}, {1100, 40, 200}};

Numbers multiply(size_t threads, const LinearCase& shape, Numbers input, Numbers matrix,
                 Numbers bias) {
  Device device("cpu", threads);
  DeviceGraph graph(device);
  ggml_tensor* bias_row = bias.empty() ? nullptr : graph.input(bias, shape.outputs);
  return graph.compute(linear(graph.context(), graph.input(matrix, shape.inputs),
                              graph.input(input, shape.inputs), bias_row, ComputeType::kF32));
}

Numbers multiply_bf16(size_t threads, const LinearCase& shape, Numbers input,
                      const Numbers& matrix) {
  const auto inputs = static_cast<int64_t>(shape.inputs);
  std::vector<ggml_bf16_t> narrow(matrix.size());
  ggml_fp32_to_bf16_row_ref(matrix.data(), narrow.data(), static_cast<int64_t>(matrix.size()));
  Numbers rounded(matrix.size());
  ggml_bf16_to_fp32_row(narrow.data(), rounded.data(), static_cast<int64_t>(matrix.size()));
  const bool in_bf16 = product_type(ComputeType::kBf16) == TensorType::kBf16;
  Device device("cpu", threads);
  DeviceGraph graph(device);
  ggml_tensor* tensor =
      ggml_new_tensor_2d(graph.context(), in_bf16 ? GGML_TYPE_BF16 : GGML_TYPE_F32, inputs,
                         static_cast<int64_t>(shape.outputs));
  tensor->data = in_bf16 ? static_cast<void*>(narrow.data()) : rounded.data();
  return graph.compute(linear(graph.context(), tensor, graph.input(input, shape.inputs), nullptr,
                              ComputeType::kBf16));
}

TEST(Linear, EqualsAProductInDouble) {
  for (const LinearCase& shape : kLinearCases) {
    const Numbers input = some_numbers(shape.tokens * shape.inputs, 7);
    const Numbers matrix = some_numbers(shape.outputs * shape.inputs, 8);
    for (const Numbers& bias : {Numbers(), some_numbers(shape.outputs, 9)}) {
      for (const size_t threads : kThreadCounts) {
        const Numbers found = multiply(threads, shape, input, matrix, bias);
        ASSERT_EQ(found.size(), shape.tokens * shape.outputs);
        EXPECT_LT(largest_error(found, input, matrix, bias, shape.inputs), kLinearTolerance)
            << shape.tokens << " tokens, " << shape.inputs << " inputs, " << threads << " threads";
      }
    }
  }
}

TEST(Linear, RoundsItsFactorsToBf16WhereTheMatrixIs) {
  for (const LinearCase& shape : kLinearCases) {
    const Numbers input = some_numbers(shape.tokens * shape.inputs, 7);
    const Numbers matrix = some_numbers(shape.outputs * shape.inputs, 8);
    const auto rounded = [](Numbers numbers) {
      for (float& number : numbers) number = ggml_bf16_to_fp32(ggml_fp32_to_bf16(number));
      return numbers;
    };
    const Numbers found = multiply_bf16(2, shape, input, matrix);
    EXPECT_LT(largest_error(found, rounded(input), rounded(matrix), {}, shape.inputs),
              kLinearTolerance)
        << shape.tokens << " tokens, " << shape.inputs << " inputs";
  }
}

TEST(ProductType, IsF32UnlessBf16IsAskedForAndCanBeMultiplied) {
  EXPECT_EQ(product_type(ComputeType::kF32), TensorType::kF32);
  EXPECT_EQ(product_type(ComputeType::kBf16),
            onednn() == OneDnn::kF32 ? TensorType::kF32 : TensorType::kBf16);
}

}  // namespace
}  // namespace isogloss
