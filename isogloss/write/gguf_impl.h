// A GGUF file about to be written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "isogloss/base/file.h"
#include "isogloss/write/write.h"

namespace isogloss {

// A value of a key, in the types that llama.cpp's keys have.
using GgufField =
    std::variant<bool, uint32_t, float, std::string, std::vector<uint8_t>, std::vector<bool>,
                 std::vector<int32_t>, std::vector<float>, std::vector<std::string>>;

// By name.
using GgufFields = std::map<std::string, GgufField>;

// A model's hyper-parameters and tokenizer. `file_type`: llama.cpp's number.
GgufFields gguf_fields(const Model& model, uint32_t file_type);
GgufPair gguf_pair(std::string key, const GgufField& value);

// Types and names of file types; sources: llama.h's llama_ftype, tools/quantize/quantize.cpp.
struct GgufFileType {
  TensorType type = TensorType::kF32;  // of most weights
  uint32_t id = 0;                     // general.file_type
  std::string_view name;               // llama-quantize's; "": it has none
};
GgufFileType get_gguf_file_type(TensorType type);

// Whether the model is a Hugging Face directory; else it is a GGUF file.
bool is_directory(const Model& model);

// Norms, biases and positions: llama.cpp's converter writes them as F32 whatever the matrices are.
bool keeps_f32(const TensorView& tensor);

// The type of each tensor, in the order of the model: of the assignment, or as it is converted.
// Throws as plan_write.
std::vector<TensorType> assigned_types(const Model& model, const Assignment& assignment);
std::vector<TensorType> converted_types(const Model& model, TensorType type);
// The one that most numbers in the blocks' matrices have.
TensorType nominal_type(const Model& model, const std::vector<TensorType>& types);

// A tensor as the head lists it.
struct GgufEntry {
  std::string name;
  std::vector<uint64_t> shape;  // outermost first
  TensorType type = TensorType::kF32;

  uint64_t size_bytes() const;
  uint64_t padded_bytes() const;
};

// Hyper-parameters that GGUF keeps as F32 tensors: factors of rotary frequencies.
struct GgufList {
  std::string_view name;
  const std::vector<float>* numbers = nullptr;
};

struct GgufLayout {
  std::string head;                // keys and list of tensors, padded to where the data begins
  std::vector<GgufList> lists;     // come first
  std::vector<GgufEntry> tensors;  // of the model, in its order
  uint64_t file_bytes = 0;
};
GgufLayout gguf_layout(const Model& model, const std::vector<TensorType>& types,
                       const std::map<std::string, std::string>& provenance);

// Head of a file, version 3.
std::string gguf_head(const std::vector<GgufPair>& pairs, const std::vector<GgufEntry>& entries);
// Zeros up to the next multiple of the alignment.
std::string gguf_padding(uint64_t size);

// `numbers` as F32, F16 or BF16. Throws Error(kNotFinite) that names the tensor for what F16 cannot
// hold.
std::vector<std::byte> plain_bytes(const std::string& name, TensorType type,
                                   std::span<const float> numbers);
// Codes as rows of blocks of `type`, which must be the one of assigned_types().
std::vector<std::byte> block_bytes(const EncodedMatrix& matrix, TensorType type);

// Whether GGUF has the rows of the tensor in another order than `model`: in each head one of the
// first half, one of the second ... (RopePairs). And the bytes in that order.
bool swaps_rows(const Model& model, const TensorView& tensor);
std::vector<std::byte> halves_to_neighbours(const std::vector<std::byte>& rows, size_t row_bytes,
                                            size_t head_dim);

class GgufWriter : public ModelWriter {
 public:
  // Writes the head and the lists. `model` must live as long.
  GgufWriter(const Model& model, GgufLayout layout, const std::filesystem::path& path);

  void write(const FinishedTensor& tensor) override;
  void commit() override;

  double share_written() const;

 private:
  void write_padded(std::span<const std::byte> bytes);
  std::vector<std::byte> to_bytes(const FinishedTensor& tensor, const GgufEntry& entry) const;

  const Model& model_;
  bool from_directory_;
  GgufLayout layout_;
  FileWriter file_;
  size_t next_ = 0;
};

WritePlan plan_gguf(const WriteRequest& request);
std::unique_ptr<ModelWriter> open_gguf_writer(const WriteRequest& request,
                                              const std::filesystem::path& path);

}  // namespace isogloss
