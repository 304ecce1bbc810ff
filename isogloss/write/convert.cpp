// A model to a GGUF file.
#include "isogloss/base/error.h"
#include "isogloss/write/gguf_impl.h"
#include "isogloss/write/write.h"

namespace isogloss {
namespace {

GgufLayout converted_layout(const Model& model, const ConvertOptions& options) {
  return gguf_layout(model, converted_types(model, options.type), {});
}

}  // namespace

uint64_t gguf_size(const Model& model, const ConvertOptions& options) {
  return converted_layout(model, options).file_bytes;
}

void convert_to_gguf(const Model& model, const ConvertOptions& options,
                     const std::filesystem::path& path, const Progress& progress) {
  if (!is_directory(model)) {
    fail(ErrorCode::kUnsupported,
         "{}: is a GGUF file already; a Hugging Face directory is converted",
         model.path().string());
  }
  gguf_differences(model);
  GgufWriter writer(model, converted_layout(model, options), path);
  for (size_t i = 0; i < model.tensors().size(); ++i) {
    progress("convert", writer.share_written());
    writer.write({i});
  }
  writer.commit();
}

}  // namespace isogloss
