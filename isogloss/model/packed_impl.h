// Matrices that a Hugging Face directory holds as integer codes with scales.
//
// Two layouts are read, of a matrix of outputs by inputs. Codes of B bits lie one after another in
// little-endian words of 32 bits, low bits first.
//
// compressed-tensors, "pack-quantized" (compressors/pack_quantized/helpers.py):
//   weight_packed      I32 [outputs][words]   the codes of a row
//   weight_scale       [outputs][groups], [outputs][1] or [1]
//   weight_shape       I64 [2]                outputs, inputs
//   weight_zero_point  I32 [words][groups]    down the rows; absent: 2^(B-1)
//   weight_g_idx       I32 [inputs]           the group of each; absent: inputs / group size
// GPTQ (GPTQModel, nn_modules/qlinear; all of it is there):
//   qweight            I32 [words][outputs]   the codes of a row, down a column of words
//   qzeros             I32 [groups][words]    along the outputs; version 1 holds them less 1
//   scales             [groups][outputs]
//   g_idx              I32 [inputs]
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "isogloss/model/model_impl.h"

namespace isogloss {

// Lines of codes. `line_step` and `word_step` count words of 32 bits.
struct PackedCodes {
  std::span<const std::byte> bytes;  // unaligned
  size_t count = 0;                  // codes in a line
  size_t line_step = 0;
  size_t word_step = 0;

  uint32_t word(size_t line, size_t index) const;
};

struct PackedMatrix {
  int bits = 0;
  size_t rows = 0, cols = 0;  // outputs, inputs
  size_t groups = 0;          // of inputs
  size_t group_size = 0;      // inputs; cols: a channel is one group
  bool asymmetric = false;
  PackedCodes codes;        // a line for each row
  PackedCodes zeros;        // a line for each group; no bytes: all are 2^(bits - 1)
  uint32_t zero_shift = 0;  // is added to stored zero points
  TensorType scale_type = TensorType::kF16;
  std::span<const std::byte> scales;
  size_t scale_row_step = 0, scale_group_step = 0;  // numbers
  std::vector<uint32_t> group_of_column;            // empty: column / group_size
  uint64_t index_bytes = 0;                         // of weight_shape, weight_g_idx and g_idx

  uint64_t size_bytes() const;
  std::string type_name() const;
};

// (code - zero point) * scale of `count` rows from `first` on, each step rounded to float; `out`
// has count * cols places.
void decode_packed(const PackedMatrix& matrix, size_t first, size_t count, float* out);

enum class PackedLayout { kCompressedTensors, kGptq };

// Whether every zero point is 2^(bits - 1).
bool has_middle_zeros(const PackedMatrix& matrix);

// What config.json says of codes. Everything else is in the shapes of the tensors.
struct Packing {
  PackedLayout layout = PackedLayout::kCompressedTensors;
  std::set<int> bits;       // that codes may have
  uint32_t zero_shift = 0;  // kGptq
};

// nullopt for a model that is not quantized. Throws Error(kUnsupported) for other quantizers and
// other forms of these.
std::optional<Packing> read_packing(const std::filesystem::path& config_json);

// The tensors that stand for a matrix become one, "x.weight". Throws Error(kCorrupt) for parts that
// are missing or do not fit each other; whether they fit the model, assign_roles says.
StoredTensors join_packed(const std::string& path, const Packing& packing, StoredTensors stored);

}  // namespace isogloss
