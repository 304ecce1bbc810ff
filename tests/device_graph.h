// What tests of a device's operations share: numbers, and graphs of ggml over them.
#pragma once

#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "isogloss/base/random.h"
#include "isogloss/device/device.h"
#include "isogloss/device/device_impl.h"

namespace isogloss {

using Numbers = std::vector<float>;

inline constexpr size_t kThreadCounts[] = {1, 2, 3, 7};

inline Numbers some_numbers(size_t count, uint64_t seed) {
  Random random(seed);
  Numbers numbers(count);
  for (float& number : numbers) number = static_cast<float>(2 * random.uniform() - 1);
  return numbers;
}

// Largest difference of a product from the one in double, over the lengths of its two vectors.
// input: [tokens][inputs]; matrix: [outputs][inputs]; bias: [outputs], or empty.
inline double largest_error(const Numbers& found, const Numbers& input, const Numbers& matrix,
                            const Numbers& bias, size_t inputs) {
  const size_t outputs = matrix.size() / inputs;
  double largest = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    double sum = bias.empty() ? 0 : static_cast<double>(bias[i % outputs]);
    double input_square = 0;
    double row_square = 0;
    for (size_t j = 0; j < inputs; ++j) {
      const auto a = static_cast<double>(input[i / outputs * inputs + j]);
      const auto b = static_cast<double>(matrix[i % outputs * inputs + j]);
      sum += a * b;
      input_square += a * a;
      row_square += b * b;
    }
    const double error = std::abs(static_cast<double>(found[i]) - sum);
    largest = std::max(largest, error / std::sqrt(input_square * row_square));
  }
  return largest;
}

// Tensors over numbers of the test, and what is computed from them on a device.
class DeviceGraph {
 public:
  explicit DeviceGraph(Device& device)
      : device_(device), context_(ggml_init({kMemory, nullptr, /*no_alloc=*/true})) {}
  ~DeviceGraph() { ggml_free(context_); }
  DeviceGraph(const DeviceGraph&) = delete;
  DeviceGraph& operator=(const DeviceGraph&) = delete;

  ggml_context* context() { return context_; }

  // Row-major [rows][cols].
  ggml_tensor* input(Numbers& numbers, size_t cols) {
    ggml_tensor* tensor = ggml_new_tensor_2d(context_, GGML_TYPE_F32, static_cast<int64_t>(cols),
                                             static_cast<int64_t>(numbers.size() / cols));
    tensor->data = numbers.data();
    return tensor;
  }

  // Columns first .. first + count of each row.
  ggml_tensor* columns(ggml_tensor* tensor, size_t first, size_t count) {
    return ggml_view_2d(context_, tensor, static_cast<int64_t>(count), tensor->ne[1], tensor->nb[1],
                        first * sizeof(float));
  }

  Numbers compute(ggml_tensor* result) {
    Numbers numbers(static_cast<size_t>(ggml_nelements(result)));
    result->data = numbers.data();
    ggml_cgraph* graph = ggml_new_graph(context_);
    ggml_build_forward_expand(graph, result);
    ggml_backend_t backend = device_.impl().backend;
    ggml_gallocr_t allocator = ggml_gallocr_new(ggml_backend_get_default_buffer_type(backend));
    EXPECT_TRUE(ggml_gallocr_alloc_graph(allocator, graph));
    EXPECT_EQ(ggml_backend_graph_compute(backend, graph), GGML_STATUS_SUCCESS);
    ggml_gallocr_free(allocator);
    return numbers;
  }

 private:
  static constexpr size_t kMemory = 1 << 20;

  Device& device_;
  ggml_context* context_;
};

}  // namespace isogloss
