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

}  // namespace

uint64_t gguf_padding(uint64_t size) {
  return (kGgufAlignment - size % kGgufAlignment) % kGgufAlignment;
}

uint64_t GgufTensor::count() const {
  uint64_t product = 1;
  for (const uint64_t size : shape) product *= size;
  return product;
}

uint64_t GgufTensor::size_bytes() const {
  const auto info = get_tensor_type_info(type);
  ISOGLOSS_ASSERT(shape.back() % info.block_size == 0);
  return count() / info.block_size * info.block_bytes;
}

std::string gguf_header(const GgufFields& fields, const std::vector<GgufTensor>& tensors) {
  constexpr uint32_t kVersion = 3;
  HeaderText header;
  header.text() = "GGUF";
  header.add(kVersion);
  header.add(uint64_t{tensors.size()});
  header.add(uint64_t{fields.size()});
  for (const auto& [name, value] : fields) {
    header.add_string(name);
    std::visit([&](const auto& typed) { header.add_field(typed); }, value);
  }
  uint64_t offset = 0;
  for (const GgufTensor& tensor : tensors) {
    header.add_string(tensor.name);
    header.add(static_cast<uint32_t>(tensor.shape.size()));
    for (size_t i = tensor.shape.size(); i > 0; --i) header.add(tensor.shape[i - 1]);
    header.add(static_cast<uint32_t>(tensor.type));
    header.add(offset);
    offset += tensor.size_bytes() + gguf_padding(tensor.size_bytes());
  }
  header.text().append(gguf_padding(header.text().size()), '\0');
  return std::move(header.text());
}

}  // namespace isogloss
