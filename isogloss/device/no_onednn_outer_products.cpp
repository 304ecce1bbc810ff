// By OpenBLAS, where there is no oneDNN.
#include <cblas.h>

#include "isogloss/device/outer_products.h"

namespace isogloss {

void add_outer_products(size_t depth, size_t rows, size_t cols, float factor,
                        StridedRows<const float> left, StridedRows<const float> right,
                        StridedRows<float> sums) {
  const auto number = [](size_t size) { return static_cast<blasint>(size); };
  cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, number(rows), number(cols), number(depth),
              factor, left.data, number(left.stride), right.data, number(right.stride), 1.0F,
              sums.data, number(sums.stride));
}

}  // namespace isogloss
