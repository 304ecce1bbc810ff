// Hugging Face directories of quantized models about to be written.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "isogloss/write/safetensors_impl.h"
#include "isogloss/write/write.h"

namespace isogloss {

WritePlan plan_directory(const WriteRequest& request);
std::unique_ptr<ModelWriter> open_directory_writer(const WriteRequest& request,
                                                   const std::filesystem::path& path);

// What a runtime must know of a matrix's codes.
struct CodeFormat {
  int bits = 0;
  size_t group_size = 0;  // inputs that share a scale; 0: all of a row's
  bool asymmetric = false;

  auto operator<=>(const CodeFormat&) const = default;
};
std::string to_string(const CodeFormat& format);  // "int4 g128 asym"

// By tensor, in the order of the model; nullopt: as it is stored.
using CodeFormats = std::vector<std::optional<CodeFormat>>;

// Throws as plan_write, also where matrices that vLLM joins have not the same format.
CodeFormats code_formats(const WriteRequest& request);

// Of a tensor's Hugging Face name, what modules and other tensors of it begin with: without
// ".weight".
std::string module_of(const std::string& hf_name);

// The matrices of the blocks, and the names of their modules in transformers' class.
struct ModuleName {
  size_t tensor = 0;
  std::string name;  // "model.layers.3.mlp.down_proj"
};
std::vector<ModuleName> block_modules(const Model& model);
// The other linear modules: the head, tied or not, and projections of OPT's embeddings.
std::string head_module(const Model& model);
std::vector<std::string> projection_modules(const Model& model);

// `text` as a regular expression.
std::string escaped(std::string_view text);
// Regular expressions that match the end of the names of these tensors' modules, and of those that
// vLLM joins them to: "layers\.(0|31)\.self_attn\.(q|k|v|qkv)_proj$".
std::vector<std::string> module_patterns(const Model& model, const std::vector<size_t>& tensors);

// Modules of the blocks by format, in the order in which they come; nullopt: unquantized.
struct FormatModules {
  std::optional<CodeFormat> format;
  std::vector<size_t> tensors;
};
std::vector<FormatModules> by_format(const Model& model, const CodeFormats& formats);

// A matrix's codes as a module has them: its own order of rows, a scale for each group.
class ModuleCodes {
 public:
  // `view`: the matrix in the model that codes were made from. Both must live as long.
  ModuleCodes(const EncodedMatrix& matrix, const TensorView& view);

  size_t rows() const { return matrix_.rows; }
  size_t cols() const { return matrix_.cols; }
  size_t groups() const { return groups_; }
  size_t group_size() const { return matrix_.cols / groups_; }
  int bits() const { return matrix_.scheme.bits; }

  const uint8_t* codes(size_t row) const { return &matrix_.codes[rows_[row] * matrix_.cols]; }
  uint16_t scale(size_t row, size_t group, TensorType type) const;
  uint32_t zero(size_t row, size_t group) const;
  bool is_zero(size_t row, size_t group) const;  // whether its scale is 0

 private:
  size_t index(size_t row, size_t group) const;

  const EncodedMatrix& matrix_;
  std::vector<size_t> rows_;  // of the matrix, by row of the module
  size_t groups_ = 1;
};

// Words of 32 bits that `count` codes of `bits` bits take.
size_t packed_words(size_t count, int bits);

// Codes code(0) .. code(count - 1), low bits first, into words[0], words[step] ...
template <typename Code>
void pack_line(size_t count, int bits, const Code& code, uint32_t* words, size_t step) {
  constexpr size_t kWordBits = 32;
  uint64_t waiting = 0;
  size_t filled = 0;  // bits that wait
  size_t word = 0;
  for (size_t i = 0; i < count; ++i) {
    waiting |= uint64_t{code(i)} << filled;
    filled += static_cast<size_t>(bits);
    if (filled < kWordBits) continue;
    words[word++ * step] = static_cast<uint32_t>(waiting);
    waiting >>= kWordBits;
    filled -= kWordBits;
  }
  if (filled > 0) words[word * step] = static_cast<uint32_t>(waiting);
}

using Bytes = std::vector<std::byte>;

template <typename T>
Bytes as_bytes_of(const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

// One layout: the tensors that stand for a matrix, their bytes in the same order, and
// "quantization_config".
std::vector<SafetensorsEntry> compressed_tensors_entries(const TensorView& view,
                                                         const CodeFormat& format,
                                                         TensorType scales);
std::vector<Bytes> compressed_tensors_bytes(const ModuleCodes& codes, const CodeFormat& format,
                                            TensorType scales);
nlohmann::ordered_json compressed_tensors_config(const Model& model, const CodeFormats& formats);

std::vector<SafetensorsEntry> gptq_entries(const TensorView& view, const CodeFormat& format);
// Throws Error(kUnsupported) for a zero point that version 1 of the layout cannot hold.
std::vector<Bytes> gptq_bytes(const ModuleCodes& codes, const TensorView& view);
nlohmann::ordered_json gptq_config(const Model& model, const CodeFormats& formats);

// The files of weights.
struct DirectoryShard {
  std::string name;
  SafetensorsLayout layout;
};

struct DirectoryLayout {
  CodeFormats formats;
  std::vector<std::vector<SafetensorsEntry>> entries;  // by tensor
  std::vector<size_t> shard_of;                        // by tensor
  std::vector<DirectoryShard> shards;
  nlohmann::ordered_json quantization_config;  // null: nothing is quantized

  uint64_t tensor_bytes(size_t tensor) const;
};
DirectoryLayout directory_layout(const WriteRequest& request);

// A directory that is made under a temporary name beside its own.
class NewDirectory {
 public:
  // Throws Error(kBadArgument) where `target` is not a place for it: the model itself, a file, or a
  // directory that holds anything but a quantized model.
  NewDirectory(const std::filesystem::path& target, const std::filesystem::path& source);
  ~NewDirectory();  // without commit(), nothing is left behind
  NewDirectory(const NewDirectory&) = delete;
  NewDirectory& operator=(const NewDirectory&) = delete;

  const std::filesystem::path& path() const { return temporary_; }
  // Takes the place of what is at the target, all of it.
  void commit();

 private:
  std::filesystem::path target_, temporary_;
};

// Files of a directory that are copied as they are, where they are there.
std::vector<std::string> copied_files();

}  // namespace isogloss
