// The mathematics of calibrated codes, of one matrix at a time.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "isogloss/quantize/quantize.h"

namespace isogloss {

// H = 2 sum_l w_l / n_l sum over tokens of language l of x x^T, over what a matrix multiplies.
// Sums are kept in float: over 65536 tokens they are within 1e-6 sqrt(H_ii H_jj) of those in
// double, where damping adds 1e-2 of the mean of the diagonal.
class Hessian {
 public:
  explicit Hessian(size_t cols);

  // Adds factor * sum over the rows of x x^T; `rows` is [count][cols], `factor` positive. Many rows
  // at once are faster: 512 and more reach the machine's product peak. Throws Error(kNotFinite) for
  // the first place that is not finite, or whose square is not; the sums are lost then.
  void add(std::span<const float> rows, double factor);

  size_t cols() const { return cols_; }
  uint64_t tokens() const { return tokens_; }
  float at(size_t row, size_t col) const;  // symmetric

 private:
  friend class GptqSolver;
  size_t cols_;
  uint64_t tokens_ = 0;
  std::vector<float> upper_;  // [cols][cols] row-major, of which the upper triangle counts
};

struct GptqOptions {
  double damping = 0.01;   // share of the mean of the diagonal that is added to it, in [0, 1]
  bool act_order = false;  // columns in order of falling diagonal, with groups as they lie
};

// H factorised for the columns of one input, which several matrices may share.
class GptqSolver {
 public:
  // The Hessian is consumed. Dead columns, whose diagonal is 0, do not count in the mean that
  // damping is a share of. Where H is not positive definite, damping is raised tenfold (from 0 to
  // 0.01), up to 1. Throws Error: kNotFinite beyond that, kBadArgument for damping
  // outside [0, 1].
  GptqSolver(Hessian&& hessian, const GptqOptions& options);

  size_t cols() const { return cols_; }
  double damping() const { return damping_; }           // that was used
  size_t dead_columns() const { return dead_.size(); }  // that multiply nothing but zeros

  // The codes of `weights`, row-major [rows][cols], in `scheme` (kInteger, symmetric or not, of any
  // granularity, without calibrated clips) by Frantar et al. 2023, "GPTQ", algorithm 1; all
  // threads. Scales and zero points are those that fit_grid() gives the numbers that share them: a
  // group's as they are when its first column is reached; with act_order, and of a row or a whole
  // matrix, the original ones. Weights of dead columns become 0 first. Throws Error(kNotFinite) for
  // a weight that is not finite, and for a scale beyond what scale_type holds.
  EncodedMatrix quantize(const Scheme& scheme, std::span<const float> weights, size_t rows) const;

 private:
  void factorise(Hessian&& hessian, double damping);

  size_t cols_;
  bool act_order_;
  double damping_ = 0;
  std::vector<size_t> dead_;
  std::vector<size_t> order_;  // place -> column
  std::vector<float> factor_;  // upper Cholesky factor of the inverse, [cols][cols], in that order
};

}  // namespace isogloss
