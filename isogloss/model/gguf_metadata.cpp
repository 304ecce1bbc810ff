// Key-value pairs of GGUF: name (string), value type (u32), value; a string is u64 length and
// bytes; an array is element type (u32), count (u64), elements. Source: gguf.h of ggml.
#include <array>

#include "isogloss/model/gguf_impl.h"

namespace isogloss {
namespace {

// Bytes of a fixed-size value by GgufType; 0 for strings and arrays.
constexpr std::array<size_t, 13> kTypeBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

GgufType read_type(ByteReader& reader, std::string_view key) {
  const auto type = reader.read<uint32_t>(key);
  if (type >= kTypeBytes.size()) {
    fail(ErrorCode::kCorrupt, "{}: key '{}' has value type {}, expected 0..{}", reader.path(), key,
         type, kTypeBytes.size() - 1);
  }
  return static_cast<GgufType>(type);
}

GgufArray read_array(ByteReader& reader, std::string_view key) {
  GgufArray array{read_type(reader, key), reader.read<uint64_t>(key), {}, {}};
  if (array.type == GgufType::kArray) {
    fail(ErrorCode::kUnsupported, "{}: key '{}' is an array of arrays", reader.path(), key);
  }
  if (array.type == GgufType::kString) {
    constexpr size_t kLeastBytes = sizeof(uint64_t);  // of a string: its length
    if (array.count > reader.remaining() / kLeastBytes) {
      fail(ErrorCode::kCorrupt, "{}: key '{}' claims {} strings in the {} bytes that are left",
           reader.path(), key, array.count, reader.remaining());
    }
    array.strings.reserve(array.count);
    for (uint64_t i = 0; i < array.count; ++i) array.strings.push_back(reader.read_string(key));
  } else {
    const size_t bytes = kTypeBytes[static_cast<size_t>(array.type)];
    const std::string object = fmt::format("{}: key '{}'", reader.path(), key);
    array.bytes = reader.take(checked_multiply(array.count, bytes, object), key);
  }
  return array;
}

GgufValue read_value(ByteReader& reader, std::string_view key) {
  switch (read_type(reader, key)) {
    case GgufType::kU8:
      return uint64_t{reader.read<uint8_t>(key)};
    case GgufType::kI8:
      return int64_t{reader.read<int8_t>(key)};
    case GgufType::kU16:
      return uint64_t{reader.read<uint16_t>(key)};
    case GgufType::kI16:
      return int64_t{reader.read<int16_t>(key)};
    case GgufType::kU32:
      return uint64_t{reader.read<uint32_t>(key)};
    case GgufType::kI32:
      return int64_t{reader.read<int32_t>(key)};
    case GgufType::kF32:
      return double{reader.read<float>(key)};
    case GgufType::kBool:
      return reader.read<uint8_t>(key) != 0;
    case GgufType::kString:
      return reader.read_string(key);
    case GgufType::kArray:
      return read_array(reader, key);
    case GgufType::kU64:
      return reader.read<uint64_t>(key);
    case GgufType::kI64:
      return reader.read<int64_t>(key);
    case GgufType::kF64:
      return reader.read<double>(key);
  }
  ISOGLOSS_ASSERT(false);
}

std::string_view read_key(ByteReader& reader, uint64_t index, uint64_t count) {
  return reader.read_string(fmt::format("key {} of {}", index, count));
}

}  // namespace

std::vector<GgufPair> read_pairs(ByteReader& reader, std::span<const std::byte> file,
                                 uint64_t count) {
  std::vector<GgufPair> pairs;
  for (uint64_t i = 0; i < count; ++i) {
    const std::string_view key = read_key(reader, i, count);
    const size_t begin = reader.offset();
    read_value(reader, key);
    const auto value = file.subspan(begin, reader.offset() - begin);
    pairs.push_back(
        {std::string(key), {reinterpret_cast<const char*>(value.data()), value.size()}});
  }
  return pairs;
}

Metadata::Metadata(ByteReader& reader, uint64_t count) : path_(reader.path()) {
  for (uint64_t i = 0; i < count; ++i) {
    const std::string_view key = read_key(reader, i, count);
    if (!values_.emplace(key, read_value(reader, key)).second) {
      fail(ErrorCode::kCorrupt, "{}: key '{}' is there twice", path_, key);
    }
  }
}

std::optional<uint64_t> Metadata::find_unsigned(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* number = std::get_if<uint64_t>(value)) return *number;
  if (const auto* number = std::get_if<int64_t>(value); number && *number >= 0) {
    return static_cast<uint64_t>(*number);
  }
  wrong_type(key, "a number of at least 0");
}

std::optional<double> Metadata::find_float(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* number = std::get_if<double>(value)) return *number;
  wrong_type(key, "a floating-point number");
}

std::optional<bool> Metadata::find_bool(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* flag = std::get_if<bool>(value)) return *flag;
  wrong_type(key, "a bool");
}

std::optional<std::string> Metadata::find_string(std::string_view key) const {
  const GgufValue* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* text = std::get_if<std::string_view>(value)) return std::string(*text);
  wrong_type(key, "a string");
}

std::vector<std::string> Metadata::find_strings(std::string_view key) const {
  const GgufArray* array = find_array(key, GgufType::kString, "an array of strings");
  if (!array) return {};
  return {array->strings.begin(), array->strings.end()};
}

const GgufValue* Metadata::find(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

const GgufArray* Metadata::find_array(std::string_view key, GgufType type,
                                      const char* expected) const {
  const GgufValue* value = find(key);
  if (!value) return nullptr;
  const auto* array = std::get_if<GgufArray>(value);
  if (!array || array->type != type) wrong_type(key, expected);
  return array;
}

}  // namespace isogloss
