#include "isogloss/model/model.h"

#include <ggml.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <set>

#include "isogloss/base/error.h"
#include "isogloss/base/half.h"
#include "isogloss/base/parallel.h"
#include "isogloss/base/suggest.h"
#include "isogloss/model/packed_impl.h"

namespace isogloss {
namespace {

// As ggml's own, in vector code.
void f16_row(const void* halves, float* out, int64_t count) {
  const auto* bits = static_cast<const uint16_t*>(halves);
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) out[i] = f16_value(bits[i]);
}

// One row as stored, to float. ggml reads whole blocks through typed pointers, so a row of a
// safetensors file that is not aligned goes through a copy.
class RowDecoder {
 public:
  RowDecoder(TensorType type, size_t row_numbers)
      : to_float_(type == TensorType::kF16
                      ? f16_row
                      : ggml_get_type_traits(static_cast<ggml_type>(type))->to_float),
        numbers_(static_cast<int64_t>(row_numbers)),
        row_bytes_(ggml_row_size(static_cast<ggml_type>(type), numbers_)),
        plain_(type == TensorType::kF32) {}

  size_t row_bytes() const { return row_bytes_; }

  void decode(const std::byte* row, float* out) {
    if (plain_) {
      std::memcpy(out, row, row_bytes_);
      return;
    }
    constexpr uintptr_t kAlignment = alignof(uint64_t);
    if (reinterpret_cast<uintptr_t>(row) % kAlignment != 0) {
      aligned_.assign(row, row + row_bytes_);
      row = aligned_.data();
    }
    to_float_(row, out, numbers_);
  }

 private:
  ggml_to_float_t to_float_;
  int64_t numbers_;
  size_t row_bytes_;
  bool plain_;
  std::vector<std::byte> aligned_;
};

// How many rows one thread takes at a time.
size_t taken_at_once(size_t row_numbers) {
  return std::max<size_t>(1, kNumbersAtOnce / row_numbers);
}

void decode_columns(const TensorView& tensor, std::span<float> out) {
  constexpr size_t kAtOnce = 16;  // columns: a cache line of each row
  for_ranges(tensor.cols, kAtOnce, [&](size_t first, size_t count) {
    RowDecoder decoder(tensor.type, tensor.rows);
    std::vector<float> stored(count * tensor.rows);
    for (size_t c = 0; c < count; ++c) {
      decoder.decode(tensor.bytes.data() + (first + c) * decoder.row_bytes(),
                     &stored[c * tensor.rows]);
    }
    for (size_t row = 0; row < tensor.rows; ++row) {
      for (size_t c = 0; c < count; ++c) {
        out[row * tensor.cols + first + c] = stored[c * tensor.rows + row];
      }
    }
  });
}

// Rows of a matrix, or numbers of a bias, from q, k, v by head to q, k, v one after the other.
void decode_qkv_by_head(const TensorView& tensor, std::span<float> out) {
  const bool bias = tensor.rows == 1;
  const size_t total = bias ? tensor.cols : tensor.rows;
  const size_t size = bias ? 1 : tensor.cols;
  const size_t heads = total / (3 * tensor.head_dim);
  for_ranges(total, taken_at_once(size), [&](size_t first, size_t count) {
    RowDecoder decoder(tensor.type, size);
    for (size_t place = first; place < first + count; ++place) {
      const size_t part = place / (heads * tensor.head_dim);
      const size_t head = place / tensor.head_dim % heads;
      const size_t stored = (3 * head + part) * tensor.head_dim + place % tensor.head_dim;
      decoder.decode(tensor.bytes.data() + stored * decoder.row_bytes(), &out[place * size]);
    }
  });
}

void decode_rows(const TensorView& tensor, std::span<float> out) {
  for_ranges(tensor.rows, taken_at_once(tensor.cols), [&](size_t first, size_t count) {
    RowDecoder decoder(tensor.type, tensor.cols);
    for (size_t row = first; row < first + count; ++row) {
      decoder.decode(tensor.bytes.data() + row * decoder.row_bytes(), &out[row * tensor.cols]);
    }
  });
}

// Whatever their layout, the rows of one head's q, k or v lie together.
void decode_packed(const TensorView& tensor, std::span<float> out) {
  constexpr size_t kRowsAtOnce = 32;
  const bool by_head = tensor.order == StorageOrder::kQkvByHead;
  const size_t run = by_head ? tensor.head_dim : kRowsAtOnce;
  const size_t heads = by_head ? tensor.rows / (3 * tensor.head_dim) : 0;
  for_ranges(tensor.rows, run, [&](size_t first, size_t count) {
    const size_t place = first / run;
    const size_t stored = by_head ? (place % heads * 3 + place / heads) * run : first;
    decode_packed(*tensor.packed, tensor.packed_first + stored, count, &out[first * tensor.cols]);
  });
}

void decode_stored(const TensorView& tensor, std::span<float> out) {
  if (tensor.packed) return decode_packed(tensor, out);
  switch (tensor.order) {
    case StorageOrder::kRows:
      return decode_rows(tensor, out);
    case StorageOrder::kColumns:
      return decode_columns(tensor, out);
    case StorageOrder::kQkvByHead:
      return decode_qkv_by_head(tensor, out);
  }
}

// Number `place` of those that begin anywhere.
template <typename Number>
Number load(const std::byte* numbers, size_t place) {
  Number number;
  std::memcpy(&number, numbers + place * sizeof(Number), sizeof(Number));
  return number;
}

// The largest bits without the sign of numbers [begin, end): these are in the order of sizes, NaN
// above infinity. A function of its own, so that compilers make vector code of it.
template <typename Number>
[[gnu::noinline]] int32_t largest_size(size_t begin, size_t end, Number number) {
  int32_t most = 0;
  for (size_t i = begin; i < end; ++i) {
    most = std::max(most, std::bit_cast<int32_t>(number(i)) & INT32_MAX);
  }
  return most;
}

// Throws at the first of `count` numbers that is not finite.
template <typename Number>
void check_all_finite(const TensorView& tensor, size_t count, Number number) {
  std::atomic<bool> finite = true;
  for_ranges(count, kNumbersAtOnce, [&](size_t first, size_t length) {
    const int32_t most = largest_size(first, first + length, number);
    if (!std::isfinite(std::bit_cast<float>(most))) finite = false;
  });
  if (finite) return;
  size_t place = 0;
  while (std::isfinite(number(place))) ++place;
  fail(ErrorCode::kNotFinite,
       "tensor '{}' holds {} at row {}, column {}; the model is damaged (a bad conversion?)",
       tensor.name, number(place), place / tensor.cols, place % tensor.cols);
}

}  // namespace

std::optional<TensorTypeInfo> find_tensor_type_info(TensorType type) {
  const auto id = static_cast<int32_t>(type);
  if (id < 0 || id >= GGML_TYPE_COUNT) return std::nullopt;
  const ggml_type_traits* traits = ggml_get_type_traits(static_cast<ggml_type>(id));
  const bool decodable = type == TensorType::kF32 || traits->to_float != nullptr;
  if (traits->type_size == 0 || !decodable) return std::nullopt;
  return TensorTypeInfo{lower_case(traits->type_name), static_cast<size_t>(traits->blck_size),
                        traits->type_size, traits->is_quantized};
}

TensorTypeInfo get_tensor_type_info(TensorType type) {
  auto info = find_tensor_type_info(type);
  ISOGLOSS_ASSERT(info.has_value());
  return *std::move(info);
}

std::optional<TensorType> find_tensor_type(std::string_view name) {
  for (int32_t id = 0; id < GGML_TYPE_COUNT; ++id) {
    const auto info = find_tensor_type_info(static_cast<TensorType>(id));
    if (info && info->name == lower_case(name)) return static_cast<TensorType>(id);
  }
  return std::nullopt;
}

uint64_t TensorView::size_bytes() const {
  return packed ? packed->size_bytes() : bytes.size();
}

std::string TensorView::type_name() const {
  return packed ? packed->type_name() : get_tensor_type_info(type).name;
}

TensorView rows_of(const TensorView& tensor, size_t first, size_t count) {
  ISOGLOSS_ASSERT(tensor.order == StorageOrder::kRows && first + count <= tensor.rows);
  TensorView part = tensor;
  part.rows = count;
  if (tensor.packed) {
    part.packed_first += first;
  } else {
    const size_t row_bytes = tensor.bytes.size() / tensor.rows;
    part.bytes = tensor.bytes.subspan(first * row_bytes, count * row_bytes);
  }
  return part;
}

void decode(const TensorView& tensor, std::span<float> out) {
  ISOGLOSS_ASSERT(out.size() == tensor.count());
  decode_stored(tensor, out);
  if (tensor.offset != 0) {
    for (float& number : out) number += tensor.offset;
  }
  check_all_finite(tensor, out.size(), [numbers = out.data()](size_t i) { return numbers[i]; });
}

bool lies_as(const TensorView& tensor, TensorType type) {
  return !tensor.packed && tensor.type == type && tensor.order == StorageOrder::kRows &&
         tensor.offset == 0;
}

void check_finite(const TensorView& tensor) {
  const std::byte* const bytes = tensor.bytes.data();
  if (tensor.type == TensorType::kF32) {
    check_all_finite(tensor, tensor.count(), [=](size_t i) { return load<float>(bytes, i); });
  } else if (tensor.type == TensorType::kF16) {
    check_all_finite(tensor, tensor.count(),
                     [=](size_t i) { return f16_value(load<uint16_t>(bytes, i)); });
  } else {
    ISOGLOSS_ASSERT(tensor.type == TensorType::kBf16);
    check_all_finite(tensor, tensor.count(), [=](size_t i) {
      return std::bit_cast<float>(static_cast<uint32_t>(load<uint16_t>(bytes, i)) << 16);
    });
  }
}

Model::Model(std::filesystem::path path, ModelConfig config, Vocabulary vocabulary,
             std::vector<TensorView> tensors, std::vector<std::shared_ptr<const MappedFile>> files)
    : path_(std::move(path)),
      config_(std::move(config)),
      vocabulary_(std::move(vocabulary)),
      tensors_(std::move(tensors)),
      files_(std::move(files)),
      index_((config_.layers + 1) * kRoles, kNoLayer) {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const size_t slot = tensors_[i].layer + 1;  // kNoLayer + 1 == 0
    index_[slot * kRoles + static_cast<size_t>(tensors_[i].role)] = i;
  }
}

void Model::forget(const TensorView& tensor) const {
  const auto forget_part = [&](std::span<const std::byte> part) {
    for (const auto& file : files_) file->forget(part);
  };
  if (!tensor.packed) return forget_part(tensor.bytes);
  forget_part(tensor.packed->codes.bytes);
  forget_part(tensor.packed->zeros.bytes);
  forget_part(tensor.packed->scales);
}

std::vector<std::filesystem::path> Model::source_files() const {
  std::vector<std::filesystem::path> paths;
  for (const auto& file : files_) paths.push_back(file->path());
  std::error_code error;
  if (!std::filesystem::is_directory(path_, error)) return paths;
  for (const char* name : {"config.json", "tokenizer.json", "tokenizer_config.json"}) {
    if (std::filesystem::exists(path_ / name, error)) paths.push_back(path_ / name);
  }
  return paths;
}

std::optional<size_t> Model::find_tensor(Role role, size_t layer) const {
  ISOGLOSS_ASSERT(layer == kNoLayer || layer < config_.layers);
  const size_t index = index_[(layer + 1) * kRoles + static_cast<size_t>(role)];
  if (index == kNoLayer) return std::nullopt;
  return index;
}

std::string Model::quantized_blocks() const {
  std::set<std::string> types;
  size_t bytes = 0;
  size_t count = 0;
  for (const auto& tensor : tensors_) {
    const RoleInfo& role = get_role_info(tensor.role);
    if (!role.per_layer() || role.kind != TensorKind::kMatrix) continue;
    const bool quantized = tensor.packed || get_tensor_type_info(tensor.type).quantized;
    if (quantized) types.insert(tensor.type_name());
    bytes += tensor.size_bytes();
    count += tensor.count();
  }
  if (types.empty()) return "";
  const double bits = 8.0 * static_cast<double>(bytes) / static_cast<double>(count);
  return fmt::format("{:.2f} bits per weight: {}", bits, fmt::join(types, ", "));
}

Model read_model(const std::filesystem::path& path) {
  std::error_code unreadable;  // is reported when the path is opened
  if (std::filesystem::is_directory(path, unreadable)) return read_hf_model(path);
  return read_gguf_model(path);
}

void check_same_model(const Model& reference, const Model& candidate) {
  const auto differ = [&](const char* what, const auto& expected, const auto& found) {
    if (expected == found) return;
    fail(ErrorCode::kMismatch, "{}: is not a version of {}: its {} is {}, not {}",
         candidate.path().string(), reference.path().string(), what, found, expected);
  };
  const ModelConfig& a = reference.config();
  const ModelConfig& b = candidate.config();
  differ("family", get_family_info(a.family).gguf_name, get_family_info(b.family).gguf_name);
  differ("layer count", a.layers, b.layers);
  differ("width", a.width, b.width);
  differ("head count", a.heads, b.heads);
  differ("key/value head count", a.kv_heads, b.kv_heads);
  differ("head size", a.head_dim, b.head_dim);
  differ("feed-forward width", a.ffn_width, b.ffn_width);
  differ("vocabulary size", a.vocab_size, b.vocab_size);
  const auto& tokens = reference.vocabulary().tokens;
  const auto& others = candidate.vocabulary().tokens;
  const auto [token, other] = std::ranges::mismatch(tokens, others);
  if (token != tokens.end()) {
    fail(ErrorCode::kMismatch, "{}: is not a version of {}: token {} is '{}', not '{}'",
         candidate.path().string(), reference.path().string(), token - tokens.begin(), *other,
         *token);
  }
}

}  // namespace isogloss
