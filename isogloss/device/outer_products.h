// Sums of outer products, outside of ggml's graphs.
#pragma once

#include <cstddef>

namespace isogloss {

// Rows of numbers, `stride` apart.
template <typename Number>
struct StridedRows {
  Number* data;
  size_t stride;
};

// sums[i][j] += factor * (sum over k < depth of left[k][i] * right[k][j]) for i < rows and j <
// cols. All threads of OpenMP; a few hundred terms are added up in registers before they go to
// `sums`.
void add_outer_products(size_t depth, size_t rows, size_t cols, float factor,
                        StridedRows<const float> left, StridedRows<const float> right,
                        StridedRows<float> sums);

}  // namespace isogloss
