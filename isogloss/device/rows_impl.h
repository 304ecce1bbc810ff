// Rows of tensors, for operations inside ggml's graph.
#pragma once

#include <ggml.h>

#include <cstddef>

namespace isogloss {

// Rows of a [columns, tokens] tensor.
struct Rows {
  const char* data;
  size_t stride;

  explicit Rows(const ggml_tensor* tensor)
      : data(static_cast<const char*>(tensor->data)), stride(tensor->nb[1]) {}
  const float* operator[](size_t row) const {
    return reinterpret_cast<const float*>(data + row * stride);
  }
};

struct RowRange {
  size_t begin, end;
};

// The part of `count` rows that falls to a thread.
inline RowRange share_of(size_t count, int thread, int threads) {
  const auto t = static_cast<size_t>(thread);
  const auto all = static_cast<size_t>(threads);
  return {count * t / all, count * (t + 1) / all};
}

// compute(token, its row of the result) for the tokens that fall to a thread.
template <typename Compute>
void for_own_rows(ggml_tensor* result, int thread, int threads, const Compute& compute) {
  const size_t width = static_cast<size_t>(result->ne[0]);
  const auto [begin, end] = share_of(static_cast<size_t>(result->ne[1]), thread, threads);
  for (size_t token = begin; token < end; ++token) {
    compute(token, static_cast<float*>(result->data) + token * width);
  }
}

}  // namespace isogloss
