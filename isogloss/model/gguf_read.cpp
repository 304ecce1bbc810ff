// GGUF, versions 2 and 3, little-endian:
//   1. "GGUF"                         4 bytes
//   2. version                        u32
//   3. tensor count, key count        i64, i64
//   4. each key (gguf_metadata.cpp)
//   5. each tensor: name (string), dimension count (u32), sizes innermost first (u64 each),
//      type (u32), offset into the data (u64)
//   6. padding to general.alignment (32), then the data; each tensor starts on the alignment
// Source: gguf.h of ggml.
#include <algorithm>
#include <bit>

#include "isogloss/model/gguf_impl.h"

namespace isogloss {
namespace {

static_assert(std::endian::native == std::endian::little, "the readers map little-endian files");

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

std::optional<uint64_t> embedding_rows(const StoredTensors& stored) {
  const RoleInfo& role = get_role_info(Role::kTokenEmbedding);
  const auto found = stored.find(gguf_tensor_name(role, kNoLayer));
  if (found == stored.end() || found->second.shape.size() != 2) return std::nullopt;
  return found->second.shape.front();
}

// A file shows which of the family's optional tensors the model has. All layers have them, or none.
void find_optional_roles(const StoredTensors& stored, ModelConfig& config) {
  for (const RoleInfo& role : tensor_roles()) {
    if (!get_family_info(config.family).optional.contains(role.role)) continue;
    const size_t first = role.per_layer() ? 0 : kNoLayer;
    if (stored.contains(gguf_tensor_name(role, first))) config.roles.insert(role.role);
  }
  config.tied_head = !config.roles.contains(Role::kHead);
}

}  // namespace

std::vector<GgufPair> read_gguf_pairs(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  ByteReader reader(file->bytes(), path.string());
  check_header(reader);
  reader.read<uint64_t>("tensor count");
  const auto key_count = reader.read<uint64_t>("key count");
  return read_pairs(reader, file->bytes(), key_count);
}

Model read_gguf_model(const std::filesystem::path& path) {
  auto file = MappedFile::open(path);
  ByteReader reader(file->bytes(), path.string());
  check_header(reader);
  const auto tensor_count = reader.read<uint64_t>("tensor count");
  const auto key_count = reader.read<uint64_t>("key count");
  const Metadata metadata(reader, key_count);
  StoredTensors stored = read_tensors(reader, metadata, tensor_count);

  ModelConfig config = read_gguf_config(metadata, stored);
  find_optional_roles(stored, config);
  Vocabulary vocabulary = read_gguf_vocabulary(metadata);
  config.vocab_size = embedding_rows(stored).value_or(vocabulary.size());
  check_vocabulary_size(path.string(), config, vocabulary);
  check_config(path.string(), config);
  auto tensors = assign_roles(path.string(), config, stored, TensorNaming::kGguf);
  return {path, std::move(config), std::move(vocabulary), std::move(tensors), {std::move(file)}};
}

}  // namespace isogloss
