// Models to directories, tensor by tensor.
#include <sys/stat.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "isogloss/base/error.h"
#include "isogloss/base/file.h"
#include "isogloss/base/json.h"
#include "isogloss/write/directory_impl.h"
#include "isogloss/write/gguf_impl.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// Rows and columns as the tensor's file has them, less what decode() adds.
std::vector<float> in_storage_order(const TensorView& view, std::span<const float> numbers) {
  ISOGLOSS_ASSERT(numbers.size() == view.count());
  const bool list = view.rows == 1;
  const size_t rows = list ? view.cols : view.rows;
  const size_t cols = list ? 1 : view.cols;
  std::vector<float> stored(numbers.size());
  for (size_t row = 0; row < rows; ++row) {
    size_t place = row;
    if (view.order == StorageOrder::kQkvByHead) {
      const size_t heads = rows / (3 * view.head_dim);
      const size_t part = row / (heads * view.head_dim);
      const size_t head = row / view.head_dim % heads;
      place = (3 * head + part) * view.head_dim + row % view.head_dim;
    }
    for (size_t col = 0; col < cols; ++col) {
      const bool by_columns = view.order == StorageOrder::kColumns;
      stored[by_columns ? col * rows + place : place * cols + col] =
          numbers[row * cols + col] - view.offset;
    }
  }
  return stored;
}

Json read_config(const fs::path& path) {
  const std::string text = read_text_file(path);
  parse_json_object(text, path.string());  // what it refuses, the model's reader would have
  return Json::parse(text);
}

void write_json(const fs::path& path, const Json& json) {
  write_file(path, json.dump(2) + "\n");
}

void copy_if_there(const fs::path& from, const fs::path& to) {
  std::error_code error;
  if (!fs::exists(from, error)) return;
  constexpr mode_t kReadableByAll = 0644;
  if (fs::copy_file(from, to, error) && ::chmod(to.c_str(), kReadableByAll) == 0) return;
  fail(ErrorCode::kIo, "{}: cannot copy {}: {}", to.string(), from.string(),
       error ? error.message() : system_message(errno));
}

class DirectoryWriter : public ModelWriter {
 public:
  DirectoryWriter(const WriteRequest& request, const fs::path& path)
      : model_(*request.model),
        format_(request.format),
        scale_type_(scale_type(model_, format_)),
        layout_(directory_layout(request)),
        directory_(path, model_.path()) {}

  void write(const FinishedTensor& tensor) override {
    ISOGLOSS_ASSERT(tensor.tensor == next_ && next_ < layout_.entries.size());
    if (layout_.shard_of[next_] != shard_number_) open_next_shard();
    const TensorView& view = model_.tensors()[next_];
    ISOGLOSS_ASSERT(tensor.encoded.has_value() == layout_.formats[next_].has_value());
    if (tensor.encoded) {
      write_codes(view, *tensor.encoded);
    } else if (!tensor.numbers.empty()) {
      write_part(0, plain_bytes(view.hf_name, view.type, in_storage_order(view, tensor.numbers)));
    } else {
      write_part(0, view.bytes);
    }
    model_.forget(view);
    ++next_;
  }

  void commit() override {
    ISOGLOSS_ASSERT(next_ == layout_.entries.size());
    if (shard_) shard_->finish();
    shard_.reset();
    if (layout_.shards.size() > 1) write_index();
    write_configs();
    for (const std::string& name : copied_files()) {
      copy_if_there(model_.path() / name, directory_.path() / name);
    }
    directory_.commit();
  }

 private:
  void open_next_shard() {
    if (shard_) shard_->finish();
    const DirectoryShard& shard = layout_.shards[layout_.shard_of[next_]];
    shard_ = std::make_unique<SafetensorsWriter>(directory_.path() / shard.name, shard.layout);
    shard_number_ = layout_.shard_of[next_];
  }

  void write_part(size_t part, std::span<const std::byte> bytes) {
    shard_->write(layout_.entries[next_][part], bytes);
  }

  void write_codes(const TensorView& view, const EncodedMatrix& matrix) {
    const CodeFormat& format = *layout_.formats[next_];
    check_codes(matrix.scheme, format);
    const ModuleCodes codes(matrix, view);
    const auto parts = format_ == FileFormat::kGptq
                           ? gptq_bytes(codes, view)
                           : compressed_tensors_bytes(codes, format, scale_type_);
    for (size_t i = 0; i < parts.size(); ++i) write_part(i, parts[i]);
  }

  void check_codes(const Scheme& scheme, const CodeFormat& format) const {
    const bool grouped = scheme.granularity == Granularity::kGroup;
    ISOGLOSS_ASSERT(scheme.kind == SchemeKind::kInteger && scheme.method != Method::kHqq);
    ISOGLOSS_ASSERT(
        (format == CodeFormat{scheme.bits, grouped ? scheme.group_size : 0, scheme.asymmetric}));
  }

  void write_index() const {
    uint64_t bytes = 0;
    Json map = Json::object();
    std::map<std::string, std::string> shards;  // by tensor
    for (size_t i = 0; i < layout_.entries.size(); ++i) {
      for (const SafetensorsEntry& entry : layout_.entries[i]) {
        shards[entry.name] = layout_.shards[layout_.shard_of[i]].name;
        bytes += entry.size_bytes();
      }
    }
    for (const auto& [tensor, shard] : shards) map[tensor] = shard;
    write_json(directory_.path() / "model.safetensors.index.json",
               {{"metadata", {{"total_size", bytes}}}, {"weight_map", std::move(map)}});
  }

  void write_configs() const {
    Json config = read_config(model_.path() / "config.json");
    if (!layout_.quantization_config.is_null()) {
      config["quantization_config"] = layout_.quantization_config;
      if (format_ == FileFormat::kGptq) {
        write_json(directory_.path() / "quantize_config.json", layout_.quantization_config);
      }
    }
    write_json(directory_.path() / "config.json", config);
  }

  const Model& model_;
  FileFormat format_;
  TensorType scale_type_;
  DirectoryLayout layout_;
  NewDirectory directory_;
  std::unique_ptr<SafetensorsWriter> shard_;  // that is being filled
  size_t shard_number_ = static_cast<size_t>(-1);
  size_t next_ = 0;
};

}  // namespace

std::unique_ptr<ModelWriter> open_directory_writer(const WriteRequest& request,
                                                   const std::filesystem::path& path) {
  return std::make_unique<DirectoryWriter>(request, path);
}

}  // namespace isogloss
