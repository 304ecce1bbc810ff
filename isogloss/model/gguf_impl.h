// A GGUF file's key-value pairs, for the code that reads them.
#pragma once

#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "isogloss/base/error.h"
#include "isogloss/base/file.h"
#include "isogloss/model/model_impl.h"

namespace isogloss {

enum class GgufType : uint32_t {
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

struct GgufArray {
  GgufType type;
  uint64_t count;
  std::span<const std::byte> bytes;       // fixed-size elements
  std::vector<std::string_view> strings;  // strings
};
using GgufValue = std::variant<uint64_t, int64_t, double, bool, std::string_view, GgufArray>;

// Checked access. find_x: nullopt when the key is absent; a value of another type is an error.
// get_x: an absent key is an error too. Views point into the file.
class Metadata {
 public:
  Metadata(ByteReader& reader, uint64_t count);

  std::optional<uint64_t> find_unsigned(std::string_view key) const;
  size_t get_size(std::string_view key) const { return require(find_unsigned(key), key); }

  std::optional<double> find_float(std::string_view key) const;
  double get_float(std::string_view key) const { return require(find_float(key), key); }

  std::optional<bool> find_bool(std::string_view key) const;

  std::optional<std::string> find_string(std::string_view key) const;
  std::string get_string(std::string_view key) const { return require(find_string(key), key); }

  std::vector<std::string> find_strings(std::string_view key) const;

  // Of an array of fixed-size elements of that type; empty when the key is absent.
  template <typename T>
  std::vector<T> find_numbers(std::string_view key, GgufType type) const {
    const GgufArray* array = find_array(key, type, "an array of numbers of the usual type");
    if (!array) return {};
    std::vector<T> numbers(array->count);
    if (!numbers.empty()) std::memcpy(numbers.data(), array->bytes.data(), array->bytes.size());
    return numbers;
  }
  bool is_array(std::string_view key) const {
    const GgufValue* value = find(key);
    return value && std::holds_alternative<GgufArray>(*value);
  }

  const std::string& path() const { return path_; }

 private:
  const GgufValue* find(std::string_view key) const;
  const GgufArray* find_array(std::string_view key, GgufType type, const char* expected) const;
  template <typename T>
  T require(std::optional<T> value, std::string_view key) const {
    if (!value) fail(ErrorCode::kCorrupt, "{}: key '{}' is missing", path_, key);
    return *value;
  }
  [[noreturn]] void wrong_type(std::string_view key, const char* expected) const {
    fail(ErrorCode::kCorrupt, "{}: key '{}' is not {}", path_, key, expected);
  }

  std::string path_;
  std::map<std::string_view, GgufValue, std::less<>> values_;
};

// The keys that `reader` is at, with their values as they lie in `file`, which it reads.
std::vector<GgufPair> read_pairs(ByteReader& reader, std::span<const std::byte> file,
                                 uint64_t count);

// Takes lists of rotary factors, which are hyper-parameters, out of the tensors.
ModelConfig read_gguf_config(const Metadata& metadata, StoredTensors& stored);
Vocabulary read_gguf_vocabulary(const Metadata& metadata);

}  // namespace isogloss
