// Integer codes with scales, to floats.
#include <ggml.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "isogloss/base/error.h"
#include "isogloss/model/packed_impl.h"

namespace isogloss {
namespace {

constexpr size_t kWordBits = 32;

template <typename T>
T value_at(std::span<const std::byte> bytes, size_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

// 32 codes take `bits` whole words.
constexpr size_t kBlock = 32;

// Codes [block * kBlock, ...) of a line; those past its end come out as zeros.
void read_block(const PackedCodes& codes, int bits, size_t line, size_t block, uint32_t* out) {
  const auto width = static_cast<size_t>(bits);
  const size_t words = (codes.count * width + kWordBits - 1) / kWordBits;
  constexpr size_t kMostBits = 8;
  uint32_t stream[kMostBits + 1] = {};
  const size_t first = block * width;
  const size_t count = std::min(width, words - first);
  for (size_t i = 0; i < count; ++i) stream[i] = codes.word(line, first + i);
  const uint32_t mask = (uint32_t{1} << bits) - 1;
  for (size_t i = 0; i < kBlock; ++i) {
    const size_t bit = i * width;
    const uint64_t two = stream[bit / kWordBits] | uint64_t{stream[bit / kWordBits + 1]}
                                                       << kWordBits;
    out[i] = static_cast<uint32_t>(two >> bit % kWordBits) & mask;
  }
}

uint32_t zero_at(const PackedMatrix& matrix, size_t row, size_t group) {
  const auto width = static_cast<size_t>(matrix.bits);
  const size_t bit = row % kBlock * width;
  const size_t first = row / kBlock * width + bit / kWordBits;
  uint64_t two = matrix.zeros.word(group, first);
  if (bit % kWordBits + width > kWordBits) {
    two |= uint64_t{matrix.zeros.word(group, first + 1)} << kWordBits;
  }
  const uint32_t mask = (uint32_t{1} << matrix.bits) - 1;
  const uint32_t stored = static_cast<uint32_t>(two >> bit % kWordBits) & mask;
  return stored + matrix.zero_shift;
}

// A row's scales and zero points, by group.
class RowScales {
 public:
  RowScales(const PackedMatrix& matrix, size_t row)
      : scales_(matrix.groups), zeros_(matrix.groups) {
    const float middle = static_cast<float>(1 << (matrix.bits - 1));
    for (size_t group = 0; group < matrix.groups; ++group) {
      scales_[group] =
          scale_at(matrix, row * matrix.scale_row_step + group * matrix.scale_group_step);
      zeros_[group] =
          matrix.zeros.bytes.empty() ? middle : static_cast<float>(zero_at(matrix, row, group));
    }
  }

  float decode(uint32_t code, size_t group) const {
    return (static_cast<float>(code) - zeros_[group]) * scales_[group];
  }

 private:
  static float scale_at(const PackedMatrix& matrix, size_t index) {
    switch (matrix.scale_type) {
      case TensorType::kF32:
        return value_at<float>(matrix.scales, index);
      case TensorType::kF16:
        return ggml_fp16_to_fp32(value_at<ggml_fp16_t>(matrix.scales, index));
      default:
        return std::bit_cast<float>(uint32_t{value_at<uint16_t>(matrix.scales, index)} << 16);
    }
  }

  std::vector<float> scales_, zeros_;
};

}  // namespace

uint32_t PackedCodes::word(size_t line, size_t index) const {
  return value_at<uint32_t>(bytes, line * line_step + index * word_step);
}

uint64_t PackedMatrix::size_bytes() const {
  return codes.bytes.size() + zeros.bytes.size() + scales.size() + index_bytes;
}

std::string PackedMatrix::type_name() const {
  const std::string shared = groups == 1 ? "channel" : fmt::format("g{}", group_size);
  return fmt::format("int{} {}{}", bits, shared, asymmetric ? " asym" : "");
}

bool has_middle_zeros(const PackedMatrix& matrix) {
  const uint32_t middle = uint32_t{1} << (matrix.bits - 1);
  for (size_t group = 0; group < matrix.groups; ++group) {
    for (size_t row = 0; row < matrix.rows; ++row) {
      if (zero_at(matrix, row, group) != middle) return false;
    }
  }
  return true;
}

void decode_packed(const PackedMatrix& matrix, size_t first, size_t count, float* out) {
  std::vector<RowScales> scales;
  for (size_t i = 0; i < count; ++i) scales.emplace_back(matrix, first + i);
  // Block by block down the rows: words of neighbouring rows are neighbours in GPTQ's layout.
  for (size_t begin = 0; begin < matrix.cols; begin += kBlock) {
    const size_t end = std::min(begin + kBlock, matrix.cols);
    for (size_t i = 0; i < count; ++i) {
      uint32_t block[kBlock];
      read_block(matrix.codes, matrix.bits, first + i, begin / kBlock, block);
      for (size_t col = begin; col < end; ++col) {
        const size_t group =
            matrix.group_of_column.empty() ? col / matrix.group_size : matrix.group_of_column[col];
        out[i * matrix.cols + col] = scales[i].decode(block[col - begin], group);
      }
    }
  }
}

}  // namespace isogloss
