// By oneDNN, which makes its kernels for the processor that it finds. OpenBLAS goes by a list: of
// version 0.3.21, processors newer than it get code for SSE3 and an eighth of the speed.
#include <dnnl.hpp>

#include "isogloss/base/error.h"
#include "isogloss/device/outer_products.h"

namespace isogloss {

void add_outer_products(size_t depth, size_t rows, size_t cols, float factor,
                        StridedRows<const float> left, StridedRows<const float> right,
                        StridedRows<float> sums) {
  const auto number = [](size_t size) { return static_cast<dnnl_dim_t>(size); };
  const dnnl::status status = dnnl::sgemm(
      'T', 'N', number(rows), number(cols), number(depth), factor, left.data, number(left.stride),
      right.data, number(right.stride), 1.0F, sums.data, number(sums.stride));
  ISOGLOSS_ASSERT(status == dnnl::status::success);
}

}  // namespace isogloss
