// GGUF, versions 2 and 3, little-endian:
//   1. "GGUF"                         4 bytes
//   2. version                        u32
//   3. tensor count, key count        i64, i64
//   4. each key: name (string), value type (u32), value; a string is u64 length and bytes; an array
//      is element type (u32), count (u64), elements
//   5. each tensor: name (string), dimension count (u32), sizes innermost first (u64 each),
//      type (u32), offset into the data (u64)
//   6. padding to general.alignment (32), then the data; each tensor starts on the alignment
// Source: gguf.h of ggml.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <variant>

#include "isogloss/base/error.h"
#include "isogloss/base/suggest.h"
#include "isogloss/model/model_impl.h"

namespace isogloss {
namespace {

static_assert(std::endian::native == std::endian::little, "the readers map little-endian files");

enum class ValueType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};

// Bytes of a fixed-size value by ValueType; 0 for strings and arrays.
constexpr std::array<size_t, 13> kValueBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

struct Array {
  ValueType type;
  uint64_t count;
  std::span<const std::byte> bytes;       // fixed-size elements
  std::vector<std::string_view> strings;  // strings
};
using Value = std::variant<uint64_t, int64_t, double, bool, std::string_view, Array>;

ValueType read_value_type(ByteReader& reader, std::string_view key) {
  const auto type = reader.read<uint32_t>(key);
  if (type >= kValueBytes.size()) {
    fail(ErrorCode::kCorrupt, "{}: key '{}' has value type {}, expected 0..{}", reader.path(), key,
         type, kValueBytes.size() - 1);
  }
  return static_cast<ValueType>(type);
}

Array read_array(ByteReader& reader, std::string_view key) {
  Array array{read_value_type(reader, key), reader.read<uint64_t>(key), {}, {}};
  if (array.type == ValueType::kArray) {
    fail(ErrorCode::kUnsupported, "{}: key '{}' is an array of arrays", reader.path(), key);
  }
  if (array.type == ValueType::kString) {
    constexpr size_t kLeastBytes = sizeof(uint64_t);  // of a string: its length
    if (array.count > reader.remaining() / kLeastBytes) {
      fail(ErrorCode::kCorrupt, "{}: key '{}' claims {} strings in the {} bytes that are left",
           reader.path(), key, array.count, reader.remaining());
    }
    array.strings.reserve(array.count);
    for (uint64_t i = 0; i < array.count; ++i) array.strings.push_back(reader.read_string(key));
  } else {
    const size_t bytes = kValueBytes[static_cast<size_t>(array.type)];
    const std::string object = fmt::format("{}: key '{}'", reader.path(), key);
    array.bytes = reader.take(checked_multiply(array.count, bytes, object), key);
  }
  return array;
}

Value read_value(ByteReader& reader, std::string_view key) {
  switch (read_value_type(reader, key)) {
    case ValueType::kU8:
      return uint64_t{reader.read<uint8_t>(key)};
    case ValueType::kI8:
      return int64_t{reader.read<int8_t>(key)};
    case ValueType::kU16:
      return uint64_t{reader.read<uint16_t>(key)};
    case ValueType::kI16:
      return int64_t{reader.read<int16_t>(key)};
    case ValueType::kU32:
      return uint64_t{reader.read<uint32_t>(key)};
    case ValueType::kI32:
      return int64_t{reader.read<int32_t>(key)};
    case ValueType::kF32:
      return double{reader.read<float>(key)};
    case ValueType::kBool:
      return reader.read<uint8_t>(key) != 0;
    case ValueType::kString:
      return reader.read_string(key);
    case ValueType::kArray:
      return read_array(reader, key);
    case ValueType::kU64:
      return reader.read<uint64_t>(key);
    case ValueType::kI64:
      return reader.read<int64_t>(key);
    case ValueType::kF64:
      return reader.read<double>(key);
  }
  ISOGLOSS_ASSERT(false);
}

// Key-value pairs with checked access. find_x: nullopt when the key is absent; any value of another
// type is an error. get_x: an absent key is an error too.
class Metadata {
 public:
  Metadata(ByteReader& reader, uint64_t count) : path_(reader.path()) {
    for (uint64_t i = 0; i < count; ++i) {
      const std::string_view key = reader.read_string(fmt::format("key {} of {}", i, count));
      if (!values_.emplace(key, read_value(reader, key)).second) {
        fail(ErrorCode::kCorrupt, "{}: key '{}' is there twice", path_, key);
      }
    }
  }

  std::optional<uint64_t> find_unsigned(std::string_view key) const {
    const Value* value = find(key);
    if (!value) return std::nullopt;
    if (const auto* number = std::get_if<uint64_t>(value)) return *number;
    if (const auto* number = std::get_if<int64_t>(value); number && *number >= 0) {
      return static_cast<uint64_t>(*number);
    }
    wrong_type(key, "a number of at least 0");
  }
  size_t get_size(std::string_view key) const { return require(find_unsigned(key), key); }

  std::optional<double> find_float(std::string_view key) const {
    const Value* value = find(key);
    if (!value) return std::nullopt;
    if (const auto* number = std::get_if<double>(value)) return *number;
    wrong_type(key, "a floating-point number");
  }
  double get_float(std::string_view key) const { return require(find_float(key), key); }

  std::optional<bool> find_bool(std::string_view key) const {
    const Value* value = find(key);
    if (!value) return std::nullopt;
    if (const auto* flag = std::get_if<bool>(value)) return *flag;
    wrong_type(key, "a bool");
  }

  std::optional<std::string> find_string(std::string_view key) const {
    const Value* value = find(key);
    if (!value) return std::nullopt;
    if (const auto* text = std::get_if<std::string_view>(value)) return std::string(*text);
    wrong_type(key, "a string");
  }
  std::string get_string(std::string_view key) const { return require(find_string(key), key); }

  std::vector<std::string> find_strings(std::string_view key) const {
    const Array* array = find_array(key, ValueType::kString, "an array of strings");
    if (!array) return {};
    return {array->strings.begin(), array->strings.end()};
  }

  template <typename T>
  std::vector<T> find_numbers(std::string_view key, ValueType type) const {
    const Array* array = find_array(key, type, "an array of numbers of the usual type");
    if (!array) return {};
    std::vector<T> numbers(array->count);
    if (!numbers.empty()) std::memcpy(numbers.data(), array->bytes.data(), array->bytes.size());
    return numbers;
  }

  const std::string& path() const { return path_; }

 private:
  const Value* find(std::string_view key) const {
    const auto found = values_.find(key);
    return found == values_.end() ? nullptr : &found->second;
  }
  const Array* find_array(std::string_view key, ValueType type, const char* expected) const {
    const Value* value = find(key);
    if (!value) return nullptr;
    const auto* array = std::get_if<Array>(value);
    if (!array || array->type != type) wrong_type(key, expected);
    return array;
  }
  template <typename T>
  T require(std::optional<T> value, std::string_view key) const {
    if (!value) fail(ErrorCode::kCorrupt, "{}: key '{}' is missing", path_, key);
    return *value;
  }
  [[noreturn]] void wrong_type(std::string_view key, const char* expected) const {
    fail(ErrorCode::kCorrupt, "{}: key '{}' is not {}", path_, key, expected);
  }

  std::string path_;
  std::map<std::string_view, Value, std::less<>> values_;
};

struct TensorEntry {
  std::string name;
  StoredTensor tensor;
  uint64_t offset = 0;
  uint64_t size_bytes = 0;
};

// The bytes of a tensor of rows of whole blocks.
uint64_t stored_bytes(const std::string& path, const TensorEntry& entry,
                      const TensorTypeInfo& type) {
  const auto& shape = entry.tensor.shape;
  if (std::ranges::find(shape, uint64_t{0}) != shape.end()) {
    fail(ErrorCode::kCorrupt, "{}: tensor '{}' has shape [{}], expected sizes of at least 1", path,
         entry.name, fmt::join(shape, ", "));
  }
  if (shape.back() % type.block_size != 0) {
    fail(ErrorCode::kCorrupt, "{}: tensor '{}' has rows of {} numbers, and {} packs {} in a block",
         path, entry.name, shape.back(), type.name, type.block_size);
  }
  const std::string object = fmt::format("{}: tensor '{}'", path, entry.name);
  uint64_t count = 1;
  for (const uint64_t size : shape) count = checked_multiply(count, size, object);
  return checked_multiply(count / type.block_size, type.block_bytes, object);
}

TensorEntry read_tensor_entry(ByteReader& reader, uint64_t index) {
  TensorEntry entry;
  entry.name = reader.read_string(fmt::format("name of tensor {}", index));
  const auto dimensions = reader.read<uint32_t>(entry.name);
  constexpr uint32_t kMostDimensions = 4;
  if (dimensions == 0 || dimensions > kMostDimensions) {
    fail(ErrorCode::kCorrupt, "{}: tensor '{}' has {} dimensions, expected 1..{}", reader.path(),
         entry.name, dimensions, kMostDimensions);
  }
  auto& shape = entry.tensor.shape;
  for (uint32_t i = 0; i < dimensions; ++i) {
    shape.insert(shape.begin(), reader.read<uint64_t>(entry.name));
  }
  const auto type_id = reader.read<uint32_t>(entry.name);
  entry.tensor.type = static_cast<TensorType>(type_id);
  const auto type = find_tensor_type_info(entry.tensor.type);
  if (!type) {
    fail(ErrorCode::kUnsupported, "{}: tensor '{}' has type {}, which llama.cpp cannot decode",
         reader.path(), entry.name, type_id);
  }
  entry.size_bytes = stored_bytes(reader.path(), entry, *type);
  entry.offset = reader.read<uint64_t>(entry.name);
  return entry;
}

size_t read_alignment(const Metadata& metadata) {
  const uint64_t alignment = metadata.find_unsigned("general.alignment").value_or(32);
  constexpr uint64_t kMostAlignment = 1 << 20;
  if (!std::has_single_bit(alignment) || alignment > kMostAlignment) {
    fail(ErrorCode::kCorrupt, "{}: general.alignment is {}, expected a power of two up to {}",
         metadata.path(), alignment, kMostAlignment);
  }
  return alignment;
}

StoredTensors read_tensors(ByteReader& reader, const Metadata& metadata, uint64_t count) {
  std::vector<TensorEntry> entries;
  for (uint64_t i = 0; i < count; ++i) entries.push_back(read_tensor_entry(reader, i));
  const size_t alignment = read_alignment(metadata);
  const size_t past = reader.offset() % alignment;
  if (past != 0) reader.take(alignment - past, "padding before the tensor data");
  const auto data = reader.take(reader.remaining(), "tensor data");

  StoredTensors tensors;
  for (auto& entry : entries) {
    if (entry.offset % alignment != 0) {
      fail(ErrorCode::kCorrupt, "{}: tensor '{}' starts at {}, which is not a multiple of {}",
           reader.path(), entry.name, entry.offset, alignment);
    }
    if (entry.offset > data.size() || entry.size_bytes > data.size() - entry.offset) {
      fail(ErrorCode::kCorrupt,
           "{}: tensor '{}' needs {} bytes at {}, and the data ends at {}; perhaps the file is "
           "truncated",
           reader.path(), entry.name, entry.size_bytes, entry.offset, data.size());
    }
    entry.tensor.bytes = data.subspan(entry.offset, entry.size_bytes);
    if (!tensors.emplace(entry.name, std::move(entry.tensor)).second) {
      fail(ErrorCode::kCorrupt, "{}: tensor '{}' is there twice", reader.path(), entry.name);
    }
  }
  return tensors;
}

void check_header(ByteReader& reader) {
  const auto magic = reader.take(4, "magic");
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) {
    fail(ErrorCode::kCorrupt, "{}: is not a GGUF file (it does not begin with 'GGUF')",
         reader.path());
  }
  const auto version = reader.read<uint32_t>("version");
  if (version != 2 && version != 3) {
    fail(ErrorCode::kUnsupported, "{}: is GGUF version {}; versions 2 and 3 are read{}",
         reader.path(), version, (version & 0xffff) == 0 ? " (the file looks big-endian)" : "");
  }
}

void set_rope(const Metadata& metadata, const std::string& arch, ModelConfig& config) {
  const auto key = [&](const char* name) { return fmt::format("{}.rope.{}", arch, name); };
  config.rope.dims = metadata.find_unsigned(key("dimension_count")).value_or(config.head_dim);
  config.rope.base = static_cast<float>(metadata.find_float(key("freq_base")).value_or(10000));
  config.rope.windowed_base =
      static_cast<float>(metadata.find_float(key("freq_base_swa")).value_or(10000));
  const std::string scaling = metadata.find_string(key("scaling.type")).value_or("none");
  if (scaling == "linear") {
    const double factor = metadata.get_float(key("scaling.factor"));
    config.rope.frequency_scale = static_cast<float>(1 / factor);
  } else if (scaling != "none") {
    fail(ErrorCode::kUnsupported, "{}: rotary scaling '{}'; known are none and linear",
         metadata.path(), scaling);
  }
}

// The size of an attention head; `width` is split evenly where the file does not say.
size_t read_head_dim(const Metadata& metadata, const std::string& arch, const ModelConfig& config) {
  if (const auto size = metadata.find_unsigned(arch + ".attention.key_length")) return *size;
  if (config.heads == 0 || config.width % config.heads != 0) {
    fail(ErrorCode::kCorrupt, "{}: width {} does not divide into {} heads", metadata.path(),
         config.width, config.heads);
  }
  return config.width / config.heads;
}

// What a family fixes and files do not say.
void set_family_constants(const Metadata& metadata, const std::string& arch, ModelConfig& config) {
  const double head_scale = 1 / std::sqrt(static_cast<double>(config.head_dim));
  config.attention_scale = static_cast<float>(head_scale);
  switch (config.family) {
    case Family::kGpt2:
      config.norm = NormKind::kLayerNorm;
      config.activation = Activation::kGeluTanh;
      break;
    case Family::kLlama:
      config.norm = NormKind::kRmsNorm;
      config.activation = Activation::kSilu;
      set_rope(metadata, arch, config);
      config.rope.pairs = RopePairs::kNeighbours;
      break;
    case Family::kGemma3: {
      config.norm = NormKind::kRmsNorm;
      config.activation = Activation::kGeluTanh;
      set_rope(metadata, arch, config);
      config.embedding_scale = std::sqrt(static_cast<float>(config.width));
      config.window = metadata.find_unsigned(arch + ".attention.sliding_window").value_or(0);
      config.full_layer_period =
          metadata.find_unsigned(arch + ".attention.sliding_window_pattern").value_or(6);
      config.logit_softcap =
          static_cast<float>(metadata.find_float(arch + ".final_logit_softcapping").value_or(0));
      constexpr size_t kLayersOf27b = 62;  // the one size whose queries scale by width / heads
      if (config.layers == kLayersOf27b && config.heads != 0) {
        config.attention_scale = 1 / std::sqrt(static_cast<float>(config.width / config.heads));
      }
      break;
    }
  }
}

ModelConfig read_config(const Metadata& metadata) {
  const std::string arch = metadata.get_string("general.architecture");
  const auto family = find_family_by_gguf_name(arch);
  if (!family) {
    std::vector<std::string_view> known;
    for (const auto& info : known_families()) known.push_back(info.gguf_name);
    fail(ErrorCode::kUnsupported, "{}: architecture '{}' is not known; known are {}",
         metadata.path(), arch, fmt::join(known, ", "));
  }
  if (metadata.find_unsigned("split.count").value_or(1) > 1) {
    fail(ErrorCode::kUnsupported,
         "{}: is one part of a split model; join the parts with llama-gguf-split --merge",
         metadata.path());
  }
  const auto key = [&](const char* name) { return fmt::format("{}.{}", arch, name); };
  ModelConfig config;
  config.family = *family;
  config.name = metadata.find_string("general.name").value_or("");
  config.layers = metadata.get_size(key("block_count"));
  config.width = metadata.get_size(key("embedding_length"));
  config.heads = metadata.get_size(key("attention.head_count"));
  config.kv_heads = metadata.find_unsigned(key("attention.head_count_kv")).value_or(config.heads);
  config.ffn_width = metadata.get_size(key("feed_forward_length"));
  config.context_length = metadata.get_size(key("context_length"));
  config.head_dim = read_head_dim(metadata, arch, config);
  const char* epsilon = *family == Family::kGpt2 ? "attention.layer_norm_epsilon"
                                                 : "attention.layer_norm_rms_epsilon";
  config.norm_epsilon = static_cast<float>(metadata.get_float(key(epsilon)));
  set_family_constants(metadata, arch, config);
  return config;
}

std::optional<int32_t> find_token_id(const Metadata& metadata, std::string_view key) {
  const auto id = metadata.find_unsigned(key);
  if (!id) return std::nullopt;
  if (*id > static_cast<uint64_t>(std::numeric_limits<int32_t>::max())) {
    fail(ErrorCode::kCorrupt, "{}: key '{}' is {}, which is no token id", metadata.path(), key,
         *id);
  }
  return static_cast<int32_t>(*id);
}

Vocabulary read_vocabulary(const Metadata& metadata) {
  Vocabulary vocabulary;
  vocabulary.model = metadata.get_string("tokenizer.ggml.model");
  vocabulary.pre = metadata.find_string("tokenizer.ggml.pre").value_or("default");
  vocabulary.tokens = metadata.find_strings("tokenizer.ggml.tokens");
  vocabulary.scores = metadata.find_numbers<float>("tokenizer.ggml.scores", ValueType::kF32);
  if (vocabulary.model != "llama") vocabulary.scores.clear();
  for (const int32_t type :
       metadata.find_numbers<int32_t>("tokenizer.ggml.token_type", ValueType::kI32)) {
    if (type < static_cast<int32_t>(TokenType::kNormal) ||
        type > static_cast<int32_t>(TokenType::kByte)) {
      fail(ErrorCode::kCorrupt, "{}: tokenizer.ggml.token_type holds {}, expected 1..6",
           metadata.path(), type);
    }
    vocabulary.types.push_back(static_cast<TokenType>(type));
  }
  if (vocabulary.types.empty()) vocabulary.types.resize(vocabulary.size(), TokenType::kNormal);
  vocabulary.merges = metadata.find_strings("tokenizer.ggml.merges");
  vocabulary.bos = find_token_id(metadata, "tokenizer.ggml.bos_token_id");
  vocabulary.eos = find_token_id(metadata, "tokenizer.ggml.eos_token_id");
  vocabulary.unknown = find_token_id(metadata, "tokenizer.ggml.unknown_token_id");
  vocabulary.add_bos = metadata.find_bool("tokenizer.ggml.add_bos_token");
  vocabulary.add_eos = metadata.find_bool("tokenizer.ggml.add_eos_token");
  vocabulary.add_space_prefix = metadata.find_bool("tokenizer.ggml.add_space_prefix");
  return vocabulary;
}

std::optional<uint64_t> embedding_rows(const StoredTensors& stored) {
  const RoleInfo& role = get_role_info(Role::kTokenEmbedding);
  const auto found = stored.find(gguf_tensor_name(role, kNoLayer));
  if (found == stored.end() || found->second.shape.size() != 2) return std::nullopt;
  return found->second.shape.front();
}

}  // namespace

Model read_gguf_model(const std::filesystem::path& path) {
  auto file = MappedFile::open(path);
  ByteReader reader(file->bytes(), path.string());
  check_header(reader);
  const auto tensor_count = reader.read<uint64_t>("tensor count");
  const auto key_count = reader.read<uint64_t>("key count");
  const Metadata metadata(reader, key_count);
  const StoredTensors stored = read_tensors(reader, metadata, tensor_count);

  ModelConfig config = read_config(metadata);
  Vocabulary vocabulary = read_vocabulary(metadata);
  config.vocab_size = embedding_rows(stored).value_or(vocabulary.size());
  check_vocabulary_size(path.string(), config, vocabulary);
  check_config(path.string(), config);
  auto tensors = assign_roles(path.string(), config, stored, TensorNaming::kGguf);
  return {path, std::move(config), std::move(vocabulary), std::move(tensors), {std::move(file)}};
}

}  // namespace isogloss
