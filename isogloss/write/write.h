// Write: models to files that other programs run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "isogloss/base/progress.h"
#include "isogloss/model/model.h"

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

}  // namespace isogloss
