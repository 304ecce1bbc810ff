// Numbers and codes as the bytes of ggml's types.
#include <ggml.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "isogloss/base/error.h"
#include "isogloss/base/half.h"
#include "isogloss/write/gguf_impl.h"

namespace isogloss {
namespace {

// Numbers in a block of q4_0, q4_1 and q8_0.
constexpr size_t kBlock = 32;

uint16_t exact_f16(float number) {
  ISOGLOSS_ASSERT(round_to_f16(number) == number);
  return f16_bits(number);
}

void add(std::byte*& out, const void* bytes, size_t count) {
  std::memcpy(out, bytes, count);
  out += count;
}

// Writes the blocks of one row; source of the layouts: block_q4_0, block_q4_1 and block_q8_0 in
// ggml-common.h.
class RowPacker {
 public:
  RowPacker(const EncodedMatrix& matrix, TensorType type)
      : matrix_(matrix),
        offsets_(static_cast<ggml_type>(type) == GGML_TYPE_Q4_1),
        nibbles_(static_cast<ggml_type>(type) != GGML_TYPE_Q8_0),
        // Codes stand for code - 2^(B-1), nibbles of q4_0 for nibble - 8.
        shift_(offsets_ ? 0 : 8 - (1 << (matrix.scheme.bits - 1))) {}

  void pack(size_t row, std::byte* out) const {
    const uint8_t* codes = &matrix_.codes[row * matrix_.cols];
    const size_t per_scale = numbers_per_scale();
    size_t place = first_scale(row);
    for (size_t first = 0; first < matrix_.cols; first += per_scale, ++place) {
      for (size_t i = 0; i < per_scale; i += kBlock) pack_block(codes + first + i, place, out);
    }
  }

 private:
  // Of one row.
  size_t numbers_per_scale() const {
    const Scheme& scheme = matrix_.scheme;
    return scheme.granularity == Granularity::kGroup ? scheme.group_size : matrix_.cols;
  }

  size_t first_scale(size_t row) const {
    if (matrix_.scheme.granularity == Granularity::kTensor) return 0;
    return row * (matrix_.cols / numbers_per_scale());
  }

  void pack_block(const uint8_t* codes, size_t place, std::byte*& out) const {
    const uint16_t scale = exact_f16(matrix_.scales[place]);
    add(out, &scale, sizeof(scale));
    if (offsets_) {
      const uint16_t offset = exact_f16(matrix_.offsets[place]);
      add(out, &offset, sizeof(offset));
    }
    if (nibbles_) {
      pack_nibbles(codes, out);
    } else {
      pack_bytes(codes, out);
    }
  }

  // The first half of a block in the low nibbles, the second in the high ones.
  void pack_nibbles(const uint8_t* codes, std::byte*& out) const {
    constexpr size_t kHalf = kBlock / 2;
    std::array<uint8_t, kHalf> nibbles;
    const int shift = shift_;
#pragma omp simd
    for (size_t i = 0; i < kHalf; ++i) {
      nibbles[i] = static_cast<uint8_t>((codes[i] + shift) | (codes[i + kHalf] + shift) << 4);
    }
    add(out, nibbles.data(), nibbles.size());
  }

  static void pack_bytes(const uint8_t* codes, std::byte*& out) {
    std::array<uint8_t, kBlock> bytes;
#pragma omp simd
    for (size_t i = 0; i < kBlock; ++i) bytes[i] = static_cast<uint8_t>(codes[i] - 128);
    add(out, bytes.data(), bytes.size());
  }

  const EncodedMatrix& matrix_;
  bool offsets_, nibbles_;
  int shift_;
};

}  // namespace

std::vector<std::byte> plain_bytes(const std::string& name, TensorType type,
                                   std::span<const float> numbers) {
  const auto count = static_cast<int64_t>(numbers.size());
  std::vector<std::byte> bytes(numbers.size() * get_tensor_type_info(type).block_bytes);
  if (type == TensorType::kF32) {
    std::memcpy(bytes.data(), numbers.data(), bytes.size());
  } else if (type == TensorType::kBf16) {
    ggml_fp32_to_bf16_row_ref(numbers.data(), reinterpret_cast<ggml_bf16_t*>(bytes.data()), count);
  } else {
    ISOGLOSS_ASSERT(type == TensorType::kF16);
    constexpr float kMostF16 = 65504;
    const auto beyond =
        std::ranges::find_if(numbers, [](float n) { return std::abs(n) > kMostF16; });
    if (beyond != numbers.end()) {
      fail(ErrorCode::kNotFinite, "tensor '{}' holds {}, beyond what F16 can; use bf16 or f32",
           name, *beyond);
    }
    ggml_fp32_to_fp16_row(numbers.data(), reinterpret_cast<ggml_fp16_t*>(bytes.data()), count);
  }
  return bytes;
}

std::vector<std::byte> block_bytes(const EncodedMatrix& matrix, TensorType type) {
  if (matrix.scheme.kind == SchemeKind::kGgml) {
    ISOGLOSS_ASSERT(matrix.scheme.type == type);
    return matrix.blocks;
  }
  ISOGLOSS_ASSERT(matrix.cols % kBlock == 0 && matrix.codes.size() == matrix.rows * matrix.cols);
  const RowPacker packer(matrix, type);
  const TensorTypeInfo info = get_tensor_type_info(type);
  const size_t row_bytes = matrix.cols / kBlock * info.block_bytes;
  std::vector<std::byte> bytes(matrix.rows * row_bytes);
#pragma omp parallel for schedule(static)
  for (size_t row = 0; row < matrix.rows; ++row) packer.pack(row, &bytes[row * row_bytes]);
  return bytes;
}

bool swaps_rows(const Model& model, const TensorView& tensor) {
  const ModelConfig& config = model.config();
  const bool rotates = tensor.role == Role::kQuery || tensor.role == Role::kQueryBias ||
                       tensor.role == Role::kKey || tensor.role == Role::kKeyBias;
  return rotates && config.rope.pairs == RopePairs::kHalves &&
         get_family_info(config.family).gguf_neighbours;
}

std::vector<std::byte> halves_to_neighbours(const std::vector<std::byte>& rows, size_t row_bytes,
                                            size_t head_dim) {
  std::vector<std::byte> result(rows.size());
  const size_t half = head_dim / 2;
  for (size_t row = 0; row < rows.size() / row_bytes; ++row) {
    const size_t place = row % head_dim;
    const size_t from = row - place + place % 2 * half + place / 2;
    std::copy_n(&rows[from * row_bytes], row_bytes, &result[row * row_bytes]);
  }
  return result;
}

}  // namespace isogloss
