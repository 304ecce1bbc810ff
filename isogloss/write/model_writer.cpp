// The formats in which quantized models are stored.
#include <algorithm>

#include "isogloss/base/error.h"
#include "isogloss/base/suggest.h"
#include "isogloss/write/directory_impl.h"
#include "isogloss/write/gguf_impl.h"
#include "isogloss/write/write.h"

namespace isogloss {
namespace {

constexpr FileFormat kFormats[] = {FileFormat::kGguf, FileFormat::kCompressedTensors,
                                   FileFormat::kGptq};

}  // namespace

std::string_view to_string(FileFormat format) {
  switch (format) {
    case FileFormat::kGguf:
      return "gguf";
    case FileFormat::kCompressedTensors:
      return "compressed-tensors";
    case FileFormat::kGptq:
      return "gptq";
  }
  ISOGLOSS_ASSERT(false);
}

FileFormat parse_file_format(std::string_view name) {
  std::vector<std::string> names;
  for (const FileFormat format : kFormats) {
    if (to_string(format) == lower_case(name)) return format;
    names.emplace_back(to_string(format));
  }
  fail(ErrorCode::kBadArgument, "unknown format '{}'{}; formats are {}", name,
       did_you_mean(name, names), fmt::join(names, ", "));
}

TensorType scale_type(const Model& model, FileFormat format) {
  if (format != FileFormat::kCompressedTensors) return TensorType::kF16;
  const bool bf16 = std::ranges::any_of(model.tensors(), [](const TensorView& tensor) {
    return tensor.type == TensorType::kBf16 &&
           get_role_info(tensor.role).kind == TensorKind::kMatrix;
  });
  return bf16 ? TensorType::kBf16 : TensorType::kF16;
}

WritePlan plan_write(const WriteRequest& request) {
  return request.format == FileFormat::kGguf ? plan_gguf(request) : plan_directory(request);
}

std::unique_ptr<ModelWriter> open_writer(const WriteRequest& request,
                                         const std::filesystem::path& path) {
  return request.format == FileFormat::kGguf ? open_gguf_writer(request, path)
                                             : open_directory_writer(request, path);
}

}  // namespace isogloss
