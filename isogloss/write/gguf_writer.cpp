// Models to GGUF files, tensor by tensor.
#include "isogloss/base/error.h"
#include "isogloss/write/gguf_impl.h"

namespace isogloss {
namespace {

GgufLayout layout_of(const WriteRequest& request) {
  if (is_directory(*request.model)) gguf_differences(*request.model);
  return gguf_layout(*request.model, assigned_types(*request.model, *request.assignment),
                     request.provenance);
}

// Numbers of a row, where rows change places: a bias has one for each of a matrix's rows.
size_t numbers_per_row(const TensorView& tensor) {
  return get_role_info(tensor.role).kind == TensorKind::kBias ? 1 : tensor.cols;
}

// Whether it is encoded to the bytes that the file takes.
bool is_whole(const FinishedTensor& tensor) {
  return tensor.encoded && tensor.encoded->scheme.kind == SchemeKind::kGgml;
}

// Whether it lies in a directory as the file takes it.
bool lies_whole(const Model& model, const TensorView& source, const GgufEntry& entry) {
  return lies_as(source, entry.type) && !swaps_rows(model, source);
}

}  // namespace

GgufWriter::GgufWriter(const Model& model, GgufLayout layout, const std::filesystem::path& path)
    : model_(model), from_directory_(is_directory(model)), layout_(std::move(layout)), file_(path) {
  file_.write(layout_.head);
  for (const GgufList& list : layout_.lists) write_padded(std::as_bytes(std::span(*list.numbers)));
}

void GgufWriter::write(const FinishedTensor& tensor) {
  ISOGLOSS_ASSERT(tensor.tensor == next_ && next_ < layout_.tensors.size());
  const GgufEntry& entry = layout_.tensors[next_++];
  const TensorView& source = model_.tensors()[tensor.tensor];
  const bool as_stored = !tensor.encoded && tensor.numbers.empty();
  if (as_stored && (!from_directory_ || lies_whole(model_, source, entry))) {
    ISOGLOSS_ASSERT(source.bytes.size() == entry.size_bytes());
    if (from_directory_) check_finite(source);
    write_padded(source.bytes);
  } else if (is_whole(tensor) && !swaps_rows(model_, source)) {
    ISOGLOSS_ASSERT(tensor.encoded->blocks.size() == entry.size_bytes());
    write_padded(tensor.encoded->blocks);
  } else {
    std::vector<std::byte> bytes = to_bytes(tensor, entry);
    ISOGLOSS_ASSERT(bytes.size() == entry.size_bytes());
    if (swaps_rows(model_, source)) {
      const TensorTypeInfo type = get_tensor_type_info(entry.type);
      const size_t row_bytes = numbers_per_row(source) / type.block_size * type.block_bytes;
      bytes = halves_to_neighbours(bytes, row_bytes, model_.config().head_dim);
    }
    write_padded(bytes);
  }
  model_.forget(source);
}

std::vector<std::byte> GgufWriter::to_bytes(const FinishedTensor& tensor,
                                            const GgufEntry& entry) const {
  if (tensor.encoded) return block_bytes(*tensor.encoded, entry.type);
  if (get_tensor_type_info(entry.type).quantized) {
    fail(ErrorCode::kUnsupported,
         "tensor '{}': its numbers were changed, and it is stored as {}, which would round them; "
         "give it a scheme of its own (f16)",
         entry.name, get_tensor_type_info(entry.type).name);
  }
  if (!tensor.numbers.empty()) return plain_bytes(entry.name, entry.type, tensor.numbers);
  const TensorView& source = model_.tensors()[tensor.tensor];
  std::vector<float> numbers(source.count());
  decode(source, numbers);
  return plain_bytes(entry.name, entry.type, numbers);
}

void GgufWriter::write_padded(std::span<const std::byte> bytes) {
  file_.write(bytes);
  file_.write(gguf_padding(bytes.size()));
}

void GgufWriter::commit() {
  ISOGLOSS_ASSERT(next_ == layout_.tensors.size() && file_.written() == layout_.file_bytes);
  file_.commit();
}

double GgufWriter::share_written() const {
  return static_cast<double>(file_.written()) / static_cast<double>(layout_.file_bytes);
}

WritePlan plan_gguf(const WriteRequest& request) {
  const GgufLayout layout = layout_of(request);
  WritePlan plan;
  uint64_t parameters = 0;
  for (size_t i = 0; i < layout.tensors.size(); ++i) {
    const GgufEntry& entry = layout.tensors[i];
    plan.tensors.push_back({i, get_tensor_type_info(entry.type).name, entry.size_bytes()});
    parameters += request.model->tensors()[i].count();
  }
  plan.file_bytes = layout.file_bytes;
  plan.bits_per_weight =
      8.0 * static_cast<double>(plan.file_bytes) / static_cast<double>(parameters);
  return plan;
}

std::unique_ptr<ModelWriter> open_gguf_writer(const WriteRequest& request,
                                              const std::filesystem::path& path) {
  return std::make_unique<GgufWriter>(*request.model, layout_of(request), path);
}

}  // namespace isogloss
