// By oneDNN, which makes its kernels for the processor that it finds. OpenBLAS goes by a list: of
// version 0.3.21, processors newer than it get code for SSE3 and an eighth of the speed.
#include <algorithm>
#include <dnnl.hpp>

#include "isogloss/base/error.h"
#include "isogloss/device/gram.h"

namespace isogloss {

void add_gram(std::span<const float> rows, size_t cols, float factor, std::span<float> sums) {
  ISOGLOSS_ASSERT(rows.size() % cols == 0 && sums.size() == cols * cols);
  // A band of rows of the result from its first diagonal place on: wide enough for the product's
  // speed, and little of it lies below the diagonal.
  constexpr size_t kBand = 512;
  const auto stride = static_cast<dnnl_dim_t>(cols);
  for (size_t first = 0; first < cols; first += kBand) {
    const auto height = static_cast<dnnl_dim_t>(std::min(kBand, cols - first));
    const auto width = static_cast<dnnl_dim_t>(cols - first);
    const float* const part = rows.data() + first;
    const dnnl::status status = dnnl::sgemm(
        'T', 'N', height, width, static_cast<dnnl_dim_t>(rows.size() / cols), factor, part, stride,
        part, stride, 1.0F, &sums[first * (cols + 1)], stride);
    ISOGLOSS_ASSERT(status == dnnl::status::success);
  }
}

}  // namespace isogloss
