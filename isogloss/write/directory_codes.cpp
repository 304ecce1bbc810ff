// Codes of a matrix in the order of its module.
#include <ggml.h>

#include <numeric>

#include "isogloss/base/error.h"
#include "isogloss/write/directory_impl.h"

namespace isogloss {
namespace {

// Rows of ours, by row of the module: by head q, k, v of the first, then of the second.
std::vector<size_t> module_rows(const TensorView& view) {
  std::vector<size_t> rows(view.rows);
  std::iota(rows.begin(), rows.end(), size_t{0});
  if (view.order != StorageOrder::kQkvByHead) return rows;
  const size_t heads = view.rows / (3 * view.head_dim);
  for (size_t row = 0; row < view.rows; ++row) {
    const size_t head = row / (3 * view.head_dim);
    const size_t part = row / view.head_dim % 3;
    rows[row] = (part * heads + head) * view.head_dim + row % view.head_dim;
  }
  return rows;
}

}  // namespace

ModuleCodes::ModuleCodes(const EncodedMatrix& matrix, const TensorView& view)
    : matrix_(matrix), rows_(module_rows(view)) {
  ISOGLOSS_ASSERT(matrix.rows == view.rows && matrix.cols == view.cols);
  ISOGLOSS_ASSERT(matrix.codes.size() == view.count());
  if (matrix.scheme.granularity == Granularity::kGroup) {
    groups_ = matrix.cols / matrix.scheme.group_size;
  }
  const bool one = matrix.scheme.granularity == Granularity::kTensor;
  ISOGLOSS_ASSERT(matrix.scales.size() == (one ? 1 : matrix.rows * groups_));
  ISOGLOSS_ASSERT(!matrix.scheme.asymmetric || matrix.offsets.size() == matrix.scales.size());
}

size_t ModuleCodes::index(size_t row, size_t group) const {
  const bool one = matrix_.scheme.granularity == Granularity::kTensor;
  return one ? 0 : rows_[row] * groups_ + group;
}

uint16_t ModuleCodes::scale(size_t row, size_t group, TensorType type) const {
  const float scale = matrix_.scales[index(row, group)];
  if (type == TensorType::kBf16) {
    const ggml_bf16_t narrow = ggml_fp32_to_bf16(scale);
    ISOGLOSS_ASSERT(ggml_bf16_to_fp32(narrow) == scale);
    return narrow.bits;
  }
  const ggml_fp16_t narrow = ggml_fp32_to_fp16(scale);
  ISOGLOSS_ASSERT(ggml_fp16_to_fp32(narrow) == scale);
  return narrow;
}

uint32_t ModuleCodes::zero(size_t row, size_t group) const {
  if (!matrix_.scheme.asymmetric) return uint32_t{1} << (bits() - 1);
  return static_cast<uint32_t>(matrix_.offsets[index(row, group)]);
}

bool ModuleCodes::is_zero(size_t row, size_t group) const {
  return matrix_.scales[index(row, group)] == 0;
}

size_t packed_words(size_t count, int bits) {
  constexpr size_t kWordBits = 32;
  return (count * static_cast<size_t>(bits) + kWordBits - 1) / kWordBits;
}

}  // namespace isogloss
