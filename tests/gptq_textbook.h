// GPTQ as its paper prints it, in double and without blocks, and problems to try it on.
#pragma once

#include <ggml.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "isogloss/base/random.h"
#include "isogloss/calibrate/solvers_impl.h"

namespace isogloss {

using Numbers = std::vector<float>;
using Doubles = std::vector<double>;

struct Problem {
  size_t tokens, rows, cols;
  Numbers inputs;   // [tokens][cols]
  Numbers weights;  // [rows][cols]
};

inline float uniform(Random& random) {
  return static_cast<float>(random.uniform()) - 0.5F;
}

// Inputs whose columns are of different sizes, and depend on their neighbours as a model's do.
inline Problem make_problem(uint64_t seed, size_t tokens, size_t rows, size_t cols) {
  Random random(seed);
  Problem problem{tokens, rows, cols, Numbers(tokens * cols), Numbers(rows * cols)};
  Numbers size(cols);
  for (float& s : size) s = std::exp2(4 * uniform(random));
  for (size_t token = 0; token < tokens; ++token) {
    float shared = 0;
    for (size_t col = 0; col < cols; ++col) {
      shared = 0.9F * shared + uniform(random);
      problem.inputs[token * cols + col] = size[col] * (shared + 0.3F * uniform(random));
    }
  }
  for (float& weight : problem.weights) weight = uniform(random) + uniform(random);
  return problem;
}

inline Doubles hessian_in_double(const Problem& problem) {
  const size_t cols = problem.cols;
  Doubles hessian(cols * cols);
  for (size_t token = 0; token < problem.tokens; ++token) {
    const float* const x = &problem.inputs[token * cols];
    for (size_t i = 0; i < cols; ++i) {
      for (size_t j = 0; j < cols; ++j) hessian[i * cols + j] += double{x[i]} * double{x[j]};
    }
  }
  for (double& entry : hessian) entry *= 2.0 / static_cast<double>(problem.tokens);
  return hessian;
}

// The inverse of a symmetric positive definite matrix, by Gauss and Jordan.
inline Doubles inverse(Doubles matrix, size_t size) {
  Doubles result(size * size);
  for (size_t i = 0; i < size; ++i) result[i * size + i] = 1;
  for (size_t pivot = 0; pivot < size; ++pivot) {
    const double scale = 1 / matrix[pivot * size + pivot];
    for (size_t col = 0; col < size; ++col) {
      matrix[pivot * size + col] *= scale;
      result[pivot * size + col] *= scale;
    }
    for (size_t row = 0; row < size; ++row) {
      const double factor = matrix[row * size + pivot];
      if (row == pivot || factor == 0) continue;
      for (size_t col = 0; col < size; ++col) {
        matrix[row * size + col] -= factor * matrix[pivot * size + col];
        result[row * size + col] -= factor * result[pivot * size + col];
      }
    }
  }
  return result;
}

// U of U^T U = the matrix, upper triangular.
inline Doubles upper_cholesky(const Doubles& matrix, size_t size) {
  Doubles upper(size * size);
  for (size_t i = 0; i < size; ++i) {
    for (size_t j = i; j < size; ++j) {
      double rest = matrix[i * size + j];
      for (size_t k = 0; k < i; ++k) rest -= upper[k * size + i] * upper[k * size + j];
      upper[i * size + j] = i == j ? std::sqrt(rest) : rest / upper[i * size + i];
    }
  }
  return upper;
}

inline float as_f16(float value) {
  return ggml_fp16_to_fp32(ggml_fp32_to_fp16(value));
}

struct Textbook {
  Doubles upper;              // [cols][cols] by place
  std::vector<size_t> order;  // place -> column
  EncodedMatrix encoded;
  Doubles places;  // [rows][cols] by column: what was rounded, in steps
};

inline Textbook factorise(const Problem& problem, const GptqOptions& options) {
  const size_t cols = problem.cols;
  const Doubles hessian = hessian_in_double(problem);
  Textbook book;
  book.order.resize(cols);
  std::iota(book.order.begin(), book.order.end(), size_t{0});
  const auto diagonal = [&](size_t col) { return hessian[col * cols + col]; };
  if (options.act_order) {
    std::ranges::stable_sort(book.order,
                             [&](size_t a, size_t b) { return diagonal(a) > diagonal(b); });
  }
  double mean = 0;
  for (size_t col = 0; col < cols; ++col) mean += diagonal(col) / static_cast<double>(cols);
  Doubles damped(cols * cols);
  for (size_t i = 0; i < cols; ++i) {
    for (size_t j = 0; j < cols; ++j) {
      damped[i * cols + j] = hessian[book.order[i] * cols + book.order[j]];
    }
    damped[i * cols + i] += options.damping * mean;
  }
  book.upper = upper_cholesky(inverse(damped, cols), cols);
  return book;
}

// The scale and zero point of `numbers`, as quantize.h defines them.
inline std::pair<float, float> scale_and_zero(const Scheme& scheme, const Numbers& numbers) {
  float low = 0, high = 0;
  for (const float number : numbers) {
    low = std::min(low, number);
    high = std::max(high, number);
  }
  const auto half = static_cast<float>(1 << (scheme.bits - 1));
  if (!scheme.asymmetric) return {as_f16(std::max(high, -low) / (half - 1)), half};
  const float scale = as_f16((high - low) / (2 * half - 1));
  return {scale, scale == 0 ? 0 : std::nearbyint(-low / scale)};
}

class Row {
 public:
  Row(const Scheme& scheme, const Problem& problem, size_t row, Textbook& book)
      : scheme_(scheme), cols_(problem.cols), row_(row), book_(book) {
    const float* const weights = &problem.weights[row * cols_];
    original_.assign(weights, weights + cols_);
    current_.assign(weights, weights + cols_);
  }

  void walk(bool act_order) {
    for (size_t place = 0; place < cols_; ++place) {
      const size_t col = book_.order[place];
      if (scheme_.granularity == Granularity::kGroup && (act_order || col % shared() == 0)) {
        fit(col / shared(), act_order);
      } else if (scheme_.granularity == Granularity::kChannel && place == 0) {
        fit(0, true);
      }
      round(place, col);
    }
  }

 private:
  size_t shared() const {
    return scheme_.granularity == Granularity::kGroup ? scheme_.group_size : cols_;
  }
  size_t scale_index(size_t col) const {
    return scheme_.granularity == Granularity::kTensor ? 0 : (row_ * cols_ + col) / shared();
  }
  void fit(size_t group, bool original) {
    const auto first = static_cast<std::ptrdiff_t>(group * shared());
    const auto last = first + static_cast<std::ptrdiff_t>(shared());
    Numbers numbers(original_.begin() + first, original_.begin() + last);
    if (!original) std::copy(current_.begin() + first, current_.begin() + last, numbers.begin());
    const auto [scale, zero] = scale_and_zero(scheme_, numbers);
    book_.encoded.scales[scale_index(group * shared())] = scale;
    book_.encoded.offsets[scale_index(group * shared())] = zero;
  }
  void round(size_t place, size_t col) {
    const double scale = book_.encoded.scales[scale_index(col)];
    const double zero = book_.encoded.offsets[scale_index(col)];
    const double top = (1 << scheme_.bits) - 1;
    const double steps = scale == 0 ? 0 : current_[col] / scale;
    const double code = std::clamp(std::nearbyint(steps) + zero, 0.0, top);
    book_.encoded.codes[row_ * cols_ + col] = static_cast<uint8_t>(code);
    book_.places[row_ * cols_ + col] = steps;
    const double* const upper = &book_.upper[place * cols_];
    const double error = (current_[col] - (code - zero) * scale) / upper[place];
    for (size_t later = place; later < cols_; ++later) {
      current_[book_.order[later]] -= error * upper[later];
    }
  }

  const Scheme& scheme_;
  const size_t cols_, row_;
  Textbook& book_;
  Numbers original_;
  Doubles current_;
};

inline Textbook by_the_book(const Problem& problem, const Scheme& scheme,
                            const GptqOptions& options) {
  Textbook book = factorise(problem, options);
  const size_t group = scheme.granularity == Granularity::kGroup ? scheme.group_size : problem.cols;
  const size_t scales =
      scheme.granularity == Granularity::kTensor ? 1 : problem.weights.size() / group;
  book.encoded = {scheme, problem.rows, problem.cols, {}, {}, Numbers(scales), Numbers(scales)};
  book.encoded.codes.resize(problem.weights.size());
  book.places.resize(problem.weights.size());
  if (scheme.granularity == Granularity::kTensor) {
    const auto [scale, zero] = scale_and_zero(scheme, problem.weights);
    book.encoded.scales[0] = scale;
    book.encoded.offsets[0] = zero;
  }
  for (size_t row = 0; row < problem.rows; ++row) {
    Row(scheme, problem, row, book).walk(options.act_order);
  }
  return book;
}

}  // namespace isogloss
