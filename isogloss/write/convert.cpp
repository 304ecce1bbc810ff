// A model to a GGUF file.
#include <ggml.h>

#include <algorithm>
#include <cmath>

#include "isogloss/base/error.h"
#include "isogloss/base/file.h"
#include "isogloss/write/gguf_impl.h"
#include "isogloss/write/write.h"

namespace isogloss {
namespace {

std::vector<std::byte> encode(const GgufTensor& tensor, const std::vector<float>& numbers) {
  std::vector<std::byte> bytes(tensor.size_bytes());
  const auto count = static_cast<int64_t>(numbers.size());
  if (tensor.type == TensorType::kF32) {
    std::memcpy(bytes.data(), numbers.data(), bytes.size());
  } else if (tensor.type == TensorType::kBf16) {
    ggml_fp32_to_bf16_row_ref(numbers.data(), reinterpret_cast<ggml_bf16_t*>(bytes.data()), count);
  } else {
    constexpr float kMostF16 = 65504;
    const auto beyond =
        std::ranges::find_if(numbers, [](float n) { return std::abs(n) > kMostF16; });
    if (beyond != numbers.end()) {
      fail(ErrorCode::kNotFinite, "tensor '{}' holds {}, beyond what F16 can; use bf16 or f32",
           tensor.name, *beyond);
    }
    ggml_fp32_to_fp16_row(numbers.data(), reinterpret_cast<ggml_fp16_t*>(bytes.data()), count);
  }
  return bytes;
}

void check_source(const Model& model) {
  std::error_code unreadable;
  if (std::filesystem::is_directory(model.path(), unreadable)) return;
  fail(ErrorCode::kUnsupported, "{}: is a GGUF file already; a Hugging Face directory is converted",
       model.path().string());
}

uint64_t file_size(const std::string& header, const std::vector<GgufTensor>& tensors) {
  uint64_t size = header.size();
  for (const GgufTensor& tensor : tensors) {
    size += tensor.size_bytes() + gguf_padding(tensor.size_bytes());
  }
  return size;
}

}  // namespace

uint64_t gguf_size(const Model& model, const ConvertOptions& options) {
  const auto tensors = gguf_tensors(model, options.type);
  return file_size(gguf_header(gguf_fields(model, options.type), tensors), tensors);
}

void convert_to_gguf(const Model& model, const ConvertOptions& options,
                     const std::filesystem::path& path, const Progress& progress) {
  check_source(model);
  gguf_differences(model);
  const auto tensors = gguf_tensors(model, options.type);
  const std::string header = gguf_header(gguf_fields(model, options.type), tensors);
  const uint64_t total = file_size(header, tensors);
  FileWriter file(path);
  file.write(header);
  for (const GgufTensor& tensor : tensors) {
    progress("convert", static_cast<double>(file.written()) / static_cast<double>(total));
    file.write(std::span<const std::byte>(encode(tensor, tensor.numbers())));
    file.write(std::string(gguf_padding(file.written()), '\0'));
  }
  ISOGLOSS_ASSERT(file.written() == total);
  file.commit();
}

}  // namespace isogloss
