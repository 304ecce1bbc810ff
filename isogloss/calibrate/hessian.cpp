// The Hessian of a matrix's squared output error: sums of x x^T over tokens.
#include <algorithm>
#include <cmath>
#include <limits>

#include "isogloss/base/error.h"
#include "isogloss/calibrate/solvers_impl.h"
#include "isogloss/device/outer_products.h"

namespace isogloss {
namespace {

// sqrt(2^128) rounded down: above it a square is beyond float.
constexpr float kLargest = 0x1.fffffep63F;

// A column that had a number that is not finite has such a place on the diagonal too.
bool is_finite(const Hessian& hessian) {
  for (size_t col = 0; col < hessian.cols(); ++col) {
    if (!std::isfinite(hessian.at(col, col))) return false;
  }
  return true;
}

[[noreturn]] void not_finite(std::span<const float> rows, size_t cols) {
  const auto bad = std::ranges::find_if_not(rows, [](float x) { return std::fabs(x) <= kLargest; });
  if (bad == rows.end()) {
    fail(ErrorCode::kNotFinite,
         "the activations' squares add up to more than float holds; the model is damaged");
  }
  const auto place = static_cast<size_t>(bad - rows.begin());
  fail(ErrorCode::kNotFinite,
       "activation of token {}, column {} is {}, and its square is no finite number; the model is "
       "damaged, or overflows in the type it computes in",
       place / cols, place % cols, *bad);
}

}  // namespace

Hessian::Hessian(size_t cols) : cols_(cols), upper_(cols * cols, 0.0F) {
  ISOGLOSS_ASSERT(cols > 0 && cols <= size_t{std::numeric_limits<int32_t>::max()});  // LAPACK's
}

void Hessian::add(std::span<const float> rows, double factor) {
  ISOGLOSS_ASSERT(rows.size() % cols_ == 0);
  ISOGLOSS_ASSERT(std::isfinite(factor) && factor > 0);
  const size_t count = rows.size() / cols_;
  tokens_ += count;
  // Tokens are summed in registers, a few hundred at a time, which is what keeps the rounding of
  // long sums small. A band of rows of the sums from its first diagonal place on is wide enough for
  // the speed of a product, and little of it lies below the diagonal.
  constexpr size_t kBand = 256;
  for (size_t first = 0; count > 0 && first < cols_; first += kBand) {
    const StridedRows<const float> part{rows.data() + first, cols_};
    add_outer_products(count, std::min(kBand, cols_ - first), cols_ - first,
                       static_cast<float>(factor), part, part,
                       {&upper_[first * (cols_ + 1)], cols_});
  }
  if (!is_finite(*this)) not_finite(rows, cols_);
}

float Hessian::at(size_t row, size_t col) const {
  ISOGLOSS_ASSERT(row < cols_ && col < cols_);
  return upper_[std::min(row, col) * cols_ + std::max(row, col)];
}

}  // namespace isogloss
