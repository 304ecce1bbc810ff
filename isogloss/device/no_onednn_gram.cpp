// By OpenBLAS, where there is no oneDNN.
#include <cblas.h>

#include "isogloss/base/error.h"
#include "isogloss/device/gram.h"

namespace isogloss {

void add_gram(std::span<const float> rows, size_t cols, float factor, std::span<float> sums) {
  ISOGLOSS_ASSERT(rows.size() % cols == 0 && sums.size() == cols * cols);
  const auto width = static_cast<blasint>(cols);
  cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, width,
              static_cast<blasint>(rows.size() / cols), factor, rows.data(), width, 1.0F,
              sums.data(), width);
}

}  // namespace isogloss
