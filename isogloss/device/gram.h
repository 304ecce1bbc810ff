// Sums of outer products, outside of ggml's graphs.
#pragma once

#include <cstddef>
#include <span>

namespace isogloss {

// sums[i][j] += factor * (sum over r of rows[r][i] * rows[r][j]) for j >= i; `rows` is [count][cols]
// and `sums` [cols][cols], row-major. Below the diagonal any number can be left. All threads of
// OpenMP; a few hundred rows are summed in registers before they are added to `sums`.
void add_gram(std::span<const float> rows, size_t cols, float factor, std::span<float> sums);

}  // namespace isogloss
