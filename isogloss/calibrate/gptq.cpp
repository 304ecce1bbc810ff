// GPTQ's walk over the columns of a matrix: each is rounded in turn, and its error is spread over
// the columns that are still to come, as the Hessian says they make up for it best. Frantar et al.
// 2023, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
// algorithm 1.
//
// The matrix lies transposed, a column in one piece, so that a step works on many rows at once.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "isogloss/base/error.h"
#include "isogloss/calibrate/solvers_impl.h"
#include "isogloss/device/outer_products.h"
#include "isogloss/quantize/grid.h"

namespace isogloss {
namespace {

// Columns whose errors are kept back and spread over the rest as one product.
constexpr size_t kBlockCols = 128;
// Rows that a thread takes through a block: 16 KB of numbers, half a first-level cache.
constexpr size_t kChunkRows = 32;
// Floats after each column, so that the columns of a chunk do not all fall into the same places of
// a cache where the number of rows is a multiple of 1024.
constexpr size_t kSkew = 16;

using Chunk = std::array<float, kChunkRows>;

// Columns [begin, end), in the order of the walk.
struct Range {
  size_t begin, end;
};

class Walk {
 public:
  // `order` has the column of each place, `factor` is [cols][cols] by place.
  Walk(const Scheme& scheme, std::span<const float> weights, size_t rows,
       std::span<const size_t> order, std::span<const float> factor, bool fixed_scales);

  EncodedMatrix run() &&;

 private:
  float* values(size_t place, size_t row) { return &values_[place * stride_ + row]; }
  float* errors(size_t place, size_t row) {  // of a place in the block at hand
    return &errors_[place % block_cols_ * stride_ + row];
  }

  void load(std::span<const float> weights);
  // Of scales or zero points, those of a column in kChunkRows rows; 0 past the last row.
  Chunk chunk_of(const std::vector<float>& by_scale, size_t place, size_t first_row) const;
  void fit_original(std::span<const float> weights);
  void fit_group(size_t begin);
  void set_grid(size_t scale, const IntegerGrid& grid);
  void walk_block(Range block);
  void walk_chunk(Range columns, size_t block_end, size_t first_row);
  Chunk round_column(size_t place, size_t first_row);
  void spread(Range block);

  const size_t rows_, cols_;
  const std::span<const size_t> order_;
  const std::span<const float> factor_;
  const bool fixed_scales_;  // known before the walk
  const size_t stride_;      // floats from one column to the next
  const size_t block_cols_;
  const float top_;            // the largest code
  std::vector<float> values_;  // [cols][stride], by place: weights as they are by now
  std::vector<float> errors_;  // [block_cols][stride], over the factor's diagonal
  EncodedMatrix result_;
};

// Groups begin where a block does or lie in one whole: a group's scale is that of its numbers after
// every column before it was made up for, and that is done for the columns of a block only.
size_t block_width(const Scheme& scheme) {
  if (scheme.granularity != Granularity::kGroup) return kBlockCols;
  const size_t group = scheme.group_size;
  return group > kBlockCols ? std::gcd(group, kBlockCols) : kBlockCols / group * group;
}

size_t count_scales(const Scheme& scheme, size_t rows, size_t cols) {
  switch (scheme.granularity) {
    case Granularity::kTensor:
      return 1;
    case Granularity::kChannel:
      return rows;
    case Granularity::kGroup:
      return rows * cols / scheme.group_size;
  }
  ISOGLOSS_ASSERT(false);
}

void check_finite(std::span<const float> weights, size_t cols) {
  const auto bad = std::ranges::find_if_not(weights, [](float x) { return std::isfinite(x); });
  if (bad == weights.end()) return;
  const auto place = static_cast<size_t>(bad - weights.begin());
  fail(ErrorCode::kNotFinite,
       "the number at row {}, column {} is {}; the model is damaged (a bad conversion?)",
       place / cols, place % cols, *bad);
}

void check_scales(const EncodedMatrix& matrix) {
  const auto bad =
      std::ranges::find_if_not(matrix.scales, [](float scale) { return std::isfinite(scale); });
  if (bad == matrix.scales.end()) return;
  const auto place = static_cast<size_t>(bad - matrix.scales.begin());
  const size_t in_row = std::max<size_t>(matrix.scales.size() / matrix.rows, 1);
  fail(ErrorCode::kNotFinite,
       "the numbers of row {}, group {} need a scale beyond what {} holds; the model is damaged (a "
       "bad conversion?)",
       place / in_row, place % in_row, get_tensor_type_info(matrix.scheme.scale_type).name);
}

Walk::Walk(const Scheme& scheme, std::span<const float> weights, size_t rows,
           std::span<const size_t> order, std::span<const float> factor, bool fixed_scales)
    : rows_(rows),
      cols_(order.size()),
      order_(order),
      factor_(factor),
      fixed_scales_(fixed_scales || scheme.granularity != Granularity::kGroup),
      stride_((rows + kChunkRows - 1) / kChunkRows * kChunkRows + kSkew),
      block_cols_(block_width(scheme)),
      top_(static_cast<float>((1 << scheme.bits) - 1)),
      values_(cols_ * stride_),
      errors_(block_cols_ * stride_) {
  result_.scheme = scheme;
  result_.rows = rows;
  result_.cols = cols_;
  result_.codes.resize(rows * cols_);
  const size_t scales = count_scales(scheme, rows, cols_);
  result_.scales.resize(scales);
  if (scheme.asymmetric) result_.offsets.resize(scales);
  if (fixed_scales_) fit_original(weights);
  load(weights);
}

void Walk::load(std::span<const float> weights) {
#pragma omp parallel for schedule(static) if (rows_ > kChunkRows)
  for (size_t first = 0; first < rows_; first += kChunkRows) {
    for (size_t place = 0; place < cols_; ++place) {
      for (size_t row = first; row < std::min(first + kChunkRows, rows_); ++row) {
        *values(place, row) = weights[row * cols_ + order_[place]];
      }
    }
  }
}

EncodedMatrix Walk::run() && {
  for (Range block{0, 0}; block.begin < cols_; block.begin = block.end) {
    block.end = std::min(block.begin + block_cols_, cols_);
    walk_block(block);
    spread(block);
  }
  check_scales(result_);
  return std::move(result_);
}

Chunk Walk::chunk_of(const std::vector<float>& by_scale, size_t place, size_t first_row) const {
  const Granularity granularity = result_.scheme.granularity;
  const bool grouped = granularity == Granularity::kGroup;
  const size_t groups = grouped ? cols_ / result_.scheme.group_size : 1;
  const size_t group = grouped ? order_[place] / result_.scheme.group_size : 0;
  const size_t step = granularity == Granularity::kTensor ? 0 : groups;
  Chunk chunk{};
  for (size_t row = first_row; row < std::min(first_row + kChunkRows, rows_); ++row) {
    chunk[row - first_row] = by_scale[row * step + group];
  }
  return chunk;
}

void Walk::set_grid(size_t scale, const IntegerGrid& grid) {
  result_.scales[scale] = grid.scale;
  if (result_.scheme.asymmetric) result_.offsets[scale] = grid.zero;
}

void Walk::fit_original(std::span<const float> weights) {
  const size_t scales = result_.scales.size();
  const size_t shared = weights.size() / scales;
#pragma omp parallel for schedule(static) if (scales > 1)  // one is fitted by all threads
  for (size_t i = 0; i < scales; ++i) {
    set_grid(i, fit_grid(result_.scheme, weights.subspan(i * shared, shared)));
  }
}

// Of the group that begins at `begin`, by its numbers as they are by now.
void Walk::fit_group(size_t begin) {
  const size_t group = result_.scheme.group_size;
#pragma omp parallel for schedule(static) if (rows_ > kChunkRows)
  for (size_t row = 0; row < rows_; ++row) {
    std::vector<float> numbers(group);
    for (size_t i = 0; i < group; ++i) numbers[i] = *values(begin + i, row);
    set_grid((row * cols_ + begin) / group, fit_grid(result_.scheme, numbers));
  }
}

void Walk::walk_block(Range block) {
  const size_t group = result_.scheme.group_size;
  for (Range part{block.begin, 0}; part.begin < block.end; part.begin = part.end) {
    part.end = fixed_scales_ ? block.end : std::min(part.begin + group, block.end);
    if (!fixed_scales_ && part.begin % group == 0) fit_group(part.begin);
#pragma omp parallel for schedule(static) if (rows_ > kChunkRows)
    for (size_t row = 0; row < rows_; row += kChunkRows) walk_chunk(part, block.end, row);
  }
}

// Rounds `columns` of kChunkRows rows; the error of each goes to all that follow in the block.
void Walk::walk_chunk(Range columns, size_t block_end, size_t first_row) {
  for (size_t place = columns.begin; place < columns.end; ++place) {
    const Chunk error = round_column(place, first_row);
    std::ranges::copy(error, errors(place, first_row));
    const float* const factors = &factor_[place * cols_];
    for (size_t later = place + 1; later < block_end; ++later) {
      float* const value = values(later, first_row);
#pragma omp simd
      for (size_t i = 0; i < kChunkRows; ++i) value[i] -= error[i] * factors[later];
    }
  }
}

// The error over the factor's diagonal.
Chunk Walk::round_column(size_t place, size_t first_row) {
  const Chunk scales = chunk_of(result_.scales, place, first_row);
  Chunk zeros;
  zeros.fill(static_cast<float>(1 << (result_.scheme.bits - 1)));
  if (result_.scheme.asymmetric) zeros = chunk_of(result_.offsets, place, first_row);
  const float* const value = values(place, first_row);
  const float pivot = factor_[place * (cols_ + 1)];
  Chunk codes, error;
#pragma omp simd
  for (size_t i = 0; i < kChunkRows; ++i) {
    const float steps = scales[i] == 0 ? 0.0F : std::nearbyint(value[i] / scales[i]);
    codes[i] = std::clamp(steps + zeros[i], 0.0F, top_);
    error[i] = (value[i] - (codes[i] - zeros[i]) * scales[i]) / pivot;
  }
  for (size_t row = first_row; row < std::min(first_row + kChunkRows, rows_); ++row) {
    result_.codes[row * cols_ + order_[place]] = static_cast<uint8_t>(codes[row - first_row]);
  }
  return error;
}

// What the errors of a block take from all columns after it.
void Walk::spread(Range block) {
  if (block.end == cols_) return;
  add_outer_products(block.end - block.begin, cols_ - block.end, rows_, -1,
                     {&factor_[block.begin * cols_ + block.end], cols_},
                     {errors(block.begin, 0), stride_}, {values(block.end, 0), stride_});
}

}  // namespace

EncodedMatrix GptqSolver::quantize(const Scheme& scheme, std::span<const float> weights,
                                   size_t rows) const {
  ISOGLOSS_ASSERT(scheme.kind == SchemeKind::kInteger && rows > 0);
  ISOGLOSS_ASSERT(weights.size() == rows * cols_ && fitting_scheme(scheme, cols_) == scheme);
  check_finite(weights, cols_);
  std::vector<float> living;
  if (!dead_.empty()) {
    living.assign(weights.begin(), weights.end());
    for (const size_t col : dead_) {
      for (size_t row = 0; row < rows; ++row) living[row * cols_ + col] = 0;
    }
    weights = living;
  }
  return Walk(scheme, weights, rows, order_, factor_, act_order_).run();
}

}  // namespace isogloss
