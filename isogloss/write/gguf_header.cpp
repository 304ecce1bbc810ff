// The head of a GGUF file, version 3 (layout: isogloss/model/gguf_read.cpp).
#include "isogloss/base/error.h"
#include "isogloss/write/gguf_impl.h"

namespace isogloss {
namespace {

// Type ids of values; source: gguf.h of ggml.
constexpr uint32_t kU8 = 0;
constexpr uint32_t kU32 = 4;
constexpr uint32_t kI32 = 5;
constexpr uint32_t kF32 = 6;
constexpr uint32_t kBool = 7;
constexpr uint32_t kString = 8;
constexpr uint32_t kArray = 9;

class HeaderText {
 public:
  template <typename T>
  void add(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    text_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  void add_string(std::string_view value) {
    add(uint64_t{value.size()});
    text_.append(value);
  }

  void add_field(bool value) { add_typed(kBool, uint8_t{value}); }
  void add_field(uint32_t value) { add_typed(kU32, value); }
  void add_field(float value) { add_typed(kF32, value); }
  void add_field(const std::string& value) {
    add(kString);
    add_string(value);
  }
  void add_field(const std::vector<uint8_t>& values) { add_numbers(kU8, values); }
  void add_field(const std::vector<int32_t>& values) { add_numbers(kI32, values); }
  void add_field(const std::vector<float>& values) { add_numbers(kF32, values); }
  void add_field(const std::vector<bool>& values) {
    add_numbers(kBool, std::vector<uint8_t>(values.begin(), values.end()));
  }
  void add_field(const std::vector<std::string>& values) {
    add_array(kString, values.size());
    for (const std::string& value : values) add_string(value);
  }

  std::string& text() { return text_; }

 private:
  template <typename T>
  void add_typed(uint32_t type, T value) {
    add(type);
    add(value);
  }
  void add_array(uint32_t type, size_t count) {
    add(kArray);
    add(type);
    add(uint64_t{count});
  }
  template <typename T>
  void add_numbers(uint32_t type, const std::vector<T>& values) {
    add_array(type, values.size());
    for (const T& value : values) add(value);
  }

  std::string text_;
};

constexpr uint64_t kAlignment = 32;

uint64_t bytes_to_alignment(uint64_t size) {
  return (kAlignment - size % kAlignment) % kAlignment;
}

}  // namespace

std::string gguf_padding(uint64_t size) {
  return std::string(bytes_to_alignment(size), '\0');
}

uint64_t GgufEntry::size_bytes() const {
  const auto info = get_tensor_type_info(type);
  ISOGLOSS_ASSERT(shape.back() % info.block_size == 0);
  uint64_t count = 1;
  for (const uint64_t size : shape) count *= size;
  return count / info.block_size * info.block_bytes;
}

uint64_t GgufEntry::padded_bytes() const {
  return size_bytes() + bytes_to_alignment(size_bytes());
}

GgufPair gguf_pair(std::string key, const GgufField& value) {
  HeaderText text;
  std::visit([&](const auto& typed) { text.add_field(typed); }, value);
  return {std::move(key), std::move(text.text())};
}

std::string gguf_head(const std::vector<GgufPair>& pairs, const std::vector<GgufEntry>& entries) {
  constexpr uint32_t kVersion = 3;
  HeaderText head;
  head.text() = "GGUF";
  head.add(kVersion);
  head.add(uint64_t{entries.size()});
  head.add(uint64_t{pairs.size()});
  for (const GgufPair& pair : pairs) {
    head.add_string(pair.key);
    head.text() += pair.value;
  }
  uint64_t offset = 0;
  for (const GgufEntry& entry : entries) {
    head.add_string(entry.name);
    head.add(static_cast<uint32_t>(entry.shape.size()));
    for (size_t i = entry.shape.size(); i > 0; --i) head.add(entry.shape[i - 1]);
    head.add(static_cast<uint32_t>(entry.type));
    head.add(offset);
    offset += entry.padded_bytes();
  }
  head.text() += gguf_padding(head.text().size());
  return std::move(head.text());
}

}  // namespace isogloss
