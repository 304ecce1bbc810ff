// What goes into which file of a directory.
#include "isogloss/base/error.h"
#include "isogloss/write/directory_impl.h"

namespace isogloss {
namespace {

SafetensorsEntry stored_entry(const TensorView& view, bool vector) {
  SafetensorsEntry entry{view.hf_name, view.type, {view.rows, view.cols}};
  if (view.order == StorageOrder::kColumns) std::swap(entry.shape[0], entry.shape[1]);
  if (vector) entry.shape.erase(entry.shape.begin());
  return entry;
}

// Norms and biases are lists, but for norms of q and k that each head has its own of.
bool is_list(const Model& model, const TensorView& view) {
  const RoleInfo& role = get_role_info(view.role);
  const bool of_heads = role.rows == Dim::kQueryNorms || role.rows == Dim::kKeyNorms;
  return role.rows == Dim::kOne || (of_heads && !model.config().norm_per_head);
}

std::vector<SafetensorsEntry> entries_of(const WriteRequest& request, const TensorView& view,
                                         const std::optional<CodeFormat>& format) {
  if (!format) return {stored_entry(view, is_list(*request.model, view))};
  if (request.format == FileFormat::kGptq) return gptq_entries(view, *format);
  const TensorType scales = scale_type(*request.model, request.format);
  return compressed_tensors_entries(view, *format, scales);
}

SafetensorsMetadata metadata_of(const WriteRequest& request) {
  SafetensorsMetadata metadata = request.provenance;
  metadata["format"] = "pt";  // transformers asks for it
  return metadata;
}

// The files that tensors fill one after the other, none beyond shard_bytes but for a single tensor.
std::vector<std::vector<size_t>> divide(const WriteRequest& request,
                                        const DirectoryLayout& layout) {
  const uint64_t empty = most_file_bytes(metadata_of(request));
  std::vector<std::vector<size_t>> shards;
  uint64_t filled = 0;
  for (size_t i = 0; i < layout.entries.size(); ++i) {
    uint64_t bytes = 0;
    for (const SafetensorsEntry& entry : layout.entries[i]) bytes += most_entry_bytes(entry);
    if (shards.empty() || filled + bytes > request.shard_bytes) {
      shards.emplace_back();
      filled = empty;
    }
    shards.back().push_back(i);
    filled += bytes;
  }
  return shards;
}

void lay_out(const WriteRequest& request, DirectoryLayout& layout) {
  const auto shards = divide(request, layout);
  layout.shard_of.resize(layout.entries.size());
  for (size_t shard = 0; shard < shards.size(); ++shard) {
    std::vector<SafetensorsEntry> entries;
    for (const size_t tensor : shards[shard]) {
      layout.shard_of[tensor] = shard;
      entries.insert(entries.end(), layout.entries[tensor].begin(), layout.entries[tensor].end());
    }
    const std::string name = shards.size() == 1 ? "model.safetensors"
                                                : fmt::format("model-{:05}-of-{:05}.safetensors",
                                                              shard + 1, shards.size());
    layout.shards.push_back({name, safetensors_layout(std::move(entries), metadata_of(request))});
  }
}

}  // namespace

uint64_t DirectoryLayout::tensor_bytes(size_t tensor) const {
  uint64_t bytes = 0;
  for (const SafetensorsEntry& entry : entries[tensor]) bytes += entry.size_bytes();
  return bytes;
}

DirectoryLayout directory_layout(const WriteRequest& request) {
  const Model& model = *request.model;
  DirectoryLayout layout;
  layout.formats = code_formats(request);
  bool quantized = false;
  for (size_t i = 0; i < layout.formats.size(); ++i) {
    layout.entries.push_back(entries_of(request, model.tensors()[i], layout.formats[i]));
    quantized = quantized || layout.formats[i];
  }
  lay_out(request, layout);
  if (quantized) {
    layout.quantization_config = request.format == FileFormat::kGptq
                                     ? gptq_config(model, layout.formats)
                                     : compressed_tensors_config(model, layout.formats);
  }
  return layout;
}

WritePlan plan_directory(const WriteRequest& request) {
  const DirectoryLayout layout = directory_layout(request);
  WritePlan plan;
  uint64_t parameters = 0;
  for (size_t i = 0; i < layout.entries.size(); ++i) {
    const TensorView& view = request.model->tensors()[i];
    const auto& format = layout.formats[i];
    plan.tensors.push_back(
        {i, format ? to_string(*format) : view.type_name(), layout.tensor_bytes(i)});
    parameters += view.count();
  }
  for (const DirectoryShard& shard : layout.shards) plan.file_bytes += shard.layout.file_bytes;
  plan.bits_per_weight =
      8.0 * static_cast<double>(plan.file_bytes) / static_cast<double>(parameters);
  return plan;
}

}  // namespace isogloss
