// The factor that GPTQ walks along: U with U^T U = H^-1, U upper triangular.
//
// Frantar et al. 2023 invert H and take the Cholesky factor of the inverse. Here H itself is
// factorised from its last column on, H = R R^T with R upper triangular; then U = R^-1, at half the
// operations and without the rounding of a whole inverse. LAPACK factorises from the first column,
// so both triangles lie reversed while it works: as the array is square, reversing it end to end
// reverses rows and columns. What is a lower triangle row by row is an upper one column by column,
// which is how LAPACK is told to see it.
#include <cblas.h>
#include <lapacke.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "isogloss/base/error.h"
#include "isogloss/calibrate/solvers_impl.h"

namespace isogloss {
namespace {

constexpr double kUsualDamping = 0.01;  // Frantar et al. 2023
constexpr double kDampingStep = 10;
constexpr double kMostDamping = 1;

// Of sums in a Hessian, as a share of its diagonal (solvers_impl.h).
constexpr float kSumRounding = 1e-6F;

constexpr size_t kTile = 64;  // a tile of floats and its mirror image fit a first-level cache

// The lower triangle from the upper one.
void mirror(std::span<float> matrix, size_t size) {
#pragma omp parallel for schedule(dynamic)
  for (size_t top = 0; top < size; top += kTile) {
    for (size_t left = 0; left <= top; left += kTile) {
      for (size_t row = top; row < std::min(top + kTile, size); ++row) {
        for (size_t col = left; col < std::min(left + kTile, row); ++col) {
          matrix[row * size + col] = matrix[col * size + row];
        }
      }
    }
  }
}

// [size][size] with rows and columns in `order`.
std::vector<float> reordered(std::span<const float> matrix, std::span<const size_t> order) {
  const size_t size = order.size();
  std::vector<float> result(matrix.size());
#pragma omp parallel for schedule(static)
  for (size_t row = 0; row < size; ++row) {
    const float* const from = &matrix[order[row] * size];
    for (size_t col = 0; col < size; ++col) result[row * size + col] = from[order[col]];
  }
  return result;
}

// The lower triangle, row by row, becomes L with L L^T = the matrix of this diagonal; false where
// what is left of a column after those before it is lost in rounding, and so the matrix is not
// positive definite for all that can be told.
bool cholesky(std::span<float> matrix, std::span<const float> diagonal) {
  const size_t size = diagonal.size();
  for (size_t i = 0; i < size; ++i) matrix[i * (size + 1)] = diagonal[i];
  const auto n = static_cast<lapack_int>(size);
  if (LAPACKE_spotrf_work(LAPACK_COL_MAJOR, 'U', n, matrix.data(), n) != 0) return false;
  for (size_t i = 0; i < size; ++i) {
    const float pivot = matrix[i * (size + 1)];
    const float least = kSumRounding * diagonal[i];
    if (!(pivot * pivot > least && std::isfinite(pivot))) return false;  // NaN passes LAPACK unseen
  }
  return true;
}

// A lower triangle, row by row, becomes its inverse.
void invert_triangle(std::span<float> matrix, size_t size) {
  const auto n = static_cast<lapack_int>(size);
  const auto info = LAPACKE_strtri_work(LAPACK_COL_MAJOR, 'U', 'N', n, matrix.data(), n);
  ISOGLOSS_ASSERT(info == 0);
}

double next_damping(double damping) {
  return damping == 0 ? kUsualDamping : std::min(damping * kDampingStep, kMostDamping);
}

// Damping is a share of the mean of what is not dead. Dead columns have no part in any other, so
// that any positive number serves for them.
std::vector<float> damped(std::span<const float> diagonal, size_t dead, double damping) {
  const size_t living = diagonal.size() - dead;
  const double sum = std::accumulate(diagonal.begin(), diagonal.end(), 0.0);
  const double mean = living == 0 ? 1.0 : sum / static_cast<double>(living);
  std::vector<float> result(diagonal.size());
  std::ranges::transform(diagonal, result.begin(), [&](double entry) {
    return static_cast<float>((entry == 0 ? mean : entry) + damping * mean);
  });
  return result;
}

}  // namespace

GptqSolver::GptqSolver(Hessian&& hessian, const GptqOptions& options)
    : cols_(hessian.cols()), act_order_(options.act_order) {
  if (!(options.damping >= 0 && options.damping <= kMostDamping)) {
    fail(ErrorCode::kBadArgument, "damping is {}, expected a number from 0 to {}", options.damping,
         kMostDamping);
  }
  for (size_t col = 0; col < cols_; ++col) {
    ISOGLOSS_ASSERT(std::isfinite(hessian.at(col, col)));
    if (hessian.at(col, col) == 0) dead_.push_back(col);
  }
  order_.resize(cols_);
  std::iota(order_.begin(), order_.end(), size_t{0});
  if (act_order_) {
    std::ranges::stable_sort(order_, std::ranges::greater{},
                             [&](size_t col) { return hessian.at(col, col); });
  }
  factorise(std::move(hessian), options.damping);
}

void GptqSolver::factorise(Hessian&& hessian, double damping) {
  factor_ = std::move(hessian.upper_);
  mirror(factor_, cols_);
  if (act_order_) factor_ = reordered(factor_, order_);
  std::ranges::reverse(factor_);

  std::vector<float> diagonal(cols_);
  for (size_t i = 0; i < cols_; ++i) diagonal[i] = factor_[i * (cols_ + 1)];
  damping_ = damping;
  while (!cholesky(factor_, damped(diagonal, dead_.size(), damping_))) {
    if (damping_ >= kMostDamping) {
      fail(ErrorCode::kNotFinite,
           "the Hessian of {} tokens over {} columns is not positive definite, even with its mean "
           "added to its diagonal; the model's activations are damaged",
           hessian.tokens(), cols_);
    }
    damping_ = next_damping(damping_);
    mirror(factor_, cols_);
  }
  invert_triangle(factor_, cols_);
  std::ranges::reverse(factor_);
}

}  // namespace isogloss
