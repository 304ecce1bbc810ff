// Write: models to files that other programs run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "isogloss/base/progress.h"
#include "isogloss/quantize/quantize.h"

namespace isogloss {

struct ConvertOptions {
  // Of matrices and token embeddings; norms, biases and positions stay F32. F32, F16 or BF16.
  TensorType type = TensorType::kF16;
};

// What llama.cpp will do otherwise than transformers with the file that convert_to_gguf writes, a
// sentence each: sliding windows that it leaves out, an architecture that it does not have. Throws
// Error(kUnsupported) where it would compute another model on every text.
std::vector<std::string> gguf_differences(const Model& model);

// Bytes of the file that convert_to_gguf writes.
uint64_t gguf_size(const Model& model, const ConvertOptions& options);

// Writes a model, read from a Hugging Face directory, as a GGUF file, with the keys and the order
// of numbers that llama.cpp's own converter gives it; tensor by tensor, so that one is in memory at
// a time. Same model and options, same bytes. Throws Error: as gguf_differences; kUnsupported for a
// model that is a GGUF file already; kNotFinite for a number that `type` cannot hold; kIo.
void convert_to_gguf(const Model& model, const ConvertOptions& options,
                     const std::filesystem::path& path, const Progress& progress);

// How quantized models are stored.
enum class FileFormat {
  kGguf,               // one file, for llama.cpp
  kCompressedTensors,  // a directory, "pack-quantized": for vLLM and transformers
  kGptq,               // a directory, GPTQ's layout version 1: for vLLM and GPTQModel
};

// "gguf", "compressed-tensors", "gptq"; Error(kBadArgument) else.
FileFormat parse_file_format(std::string_view name);
std::string_view to_string(FileFormat format);

// A model about to be written. Does not own.
struct WriteRequest {
  const Model* model = nullptr;
  const Assignment* assignment = nullptr;
  FileFormat format = FileFormat::kGguf;
  // How it was made: keys ("isogloss.calibration.languages") and texts. Strings of a GGUF file's
  // head, or of "__metadata__" in safetensors files.
  std::map<std::string, std::string> provenance = {};
  uint64_t shard_bytes = 5'000'000'000;  // of a directory's files, at most, but for one tensor more
};

// The type that a format's scales have, which codes must be made with: F16; BF16 in
// compressed-tensors directories of BF16 models, whose runtimes would round them to it.
TensorType scale_type(const Model& model, FileFormat format);

// A tensor as it will lie in the file.
struct PlannedTensor {
  size_t tensor = 0;        // index into model.tensors()
  std::string type;         // "q4_0", "int4 g128", "bf16"
  uint64_t size_bytes = 0;  // of all that stands for it, without padding
};

struct WritePlan {
  std::vector<PlannedTensor> tensors;  // in the order of the model
  uint64_t file_bytes = 0;             // of all files of weights, heads and padding included
  double bits_per_weight = 0;          // 8 * file_bytes / parameters
};

// What will be written, to the byte. Throws Error(kUnsupported) that names tensor, scheme and what
// the format has in its place:
//   GGUF holds ggml's types, and integer codes exactly where rows are whole blocks of 32: symmetric
//   ones of up to 4 bits as q4_0, of 8 bits as q8_0, HQQ's of up to 4 bits as q4_1 (each block
//   repeats the scale of its group, channel or tensor); no others. Norms and biases stay as they
//   are stored, or F32. All keys of a GGUF source are kept but those about how it was made.
//   Directories hold integer codes of 4 and 8 bits over whole groups or channels, and tensors as
//   they are stored; GPTQ's also 2 and 3 bits.
WritePlan plan_write(const WriteRequest& request);

// Writes a model tensor by tensor; nothing has its final name before commit().
class ModelWriter {
 public:
  virtual ~ModelWriter() = default;
  // In the order of the model. Throws Error(kIo).
  virtual void write(const FinishedTensor& tensor) = 0;
  // After the last one. Throws Error(kIo); without it nothing is left behind.
  virtual void commit() = 0;
};

// `path`: the file, or the directory, which is made; what is there is written over. Throws as
// plan_write.
std::unique_ptr<ModelWriter> open_writer(const WriteRequest& request,
                                         const std::filesystem::path& path);

// The same types by llama-quantize: what follows its name, and what --tensor-type-file reads, an
// anchored pattern and a type for each tensor that it could quantize. `imatrix`: the file with what
// the numbers were encoded by; "": nothing. Throws Error: kUnsupported for schemes that are no type
// of ggml, for a tensor that llama-quantize leaves alone, and for a model that it cannot read (a
// directory, an architecture of our own); kBadArgument for types that it makes only with an
// importance matrix.
std::vector<std::string> llama_quantize_arguments(const Model& model, const Assignment& assignment,
                                                  const std::string& tensor_type_file,
                                                  const std::string& output,
                                                  const std::string& imatrix = "");
std::string tensor_type_file(const Model& model, const Assignment& assignment);

}  // namespace isogloss
