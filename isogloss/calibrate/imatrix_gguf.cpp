// Importance matrices as GGUF files: general.type "imatrix", imatrix.datasets, chunk_count and
// chunk_size, and for each weight NAME.in_sum2 [matrices][cols] and NAME.counts [matrices][1], both
// F32. Sources: llama.cpp, tools/imatrix/imatrix.cpp and common/imatrix-loader.cpp; layout of GGUF:
// isogloss/model/gguf_read.cpp.
#include <array>
#include <bit>
#include <set>

#include "isogloss/base/error.h"
#include "isogloss/calibrate/imatrix_impl.h"

namespace isogloss {
namespace {

// Type ids of values and bytes of each, 0 for strings and arrays; source: gguf.h of ggml.
constexpr uint32_t kU32 = 4;
constexpr uint32_t kString = 8;
constexpr uint32_t kArray = 9;
constexpr std::array<size_t, 13> kValueBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

constexpr uint32_t kF32Tensor = 0;
constexpr uint32_t kVersion = 3;
constexpr uint64_t kUsualAlignment = 32;

constexpr std::string_view kSums = ".in_sum2";
constexpr std::string_view kCounts = ".counts";

uint64_t padding(uint64_t size, uint64_t alignment) {
  return (alignment - size % alignment) % alignment;
}

struct TensorPlace {
  std::string name;
  uint64_t cols = 0;
  uint64_t count = 0;  // numbers
  uint64_t offset = 0;
};

class Reader {
 public:
  explicit Reader(const MappedFile& file) : reader_(file.bytes(), file.path().string()) {}

  Imatrix read();

 private:
  template <typename... Args>
  [[noreturn]] void corrupt(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorCode::kCorrupt, "{}: {}", reader_.path(),
         fmt::format(format, std::forward<Args>(args)...));
  }
  void read_header();
  void read_key();
  void skip_value(const std::string& key, uint32_t type);
  uint32_t read_u32(const std::string& key, uint32_t type);
  std::vector<std::string> read_strings(const std::string& key, uint32_t type);
  TensorPlace read_place(uint64_t index);
  void add(const TensorPlace& place, std::string_view suffix, std::span<const std::byte> data);
  std::vector<float> numbers(const TensorPlace& place, std::span<const std::byte> data);

  ByteReader reader_;
  uint64_t tensor_count_ = 0;
  uint64_t taken_ = 0;  // bytes of the tensor data
  uint64_t alignment_ = kUsualAlignment;
  std::set<std::string> keys_, tensors_;
  std::map<std::string, uint64_t> cols_;  // of entries whose sums were read
  Imatrix imatrix_;
};

void Reader::skip_value(const std::string& key, uint32_t type) {
  if (type == kString) {
    reader_.read_string(key);
  } else if (type == kArray) {
    const auto element = reader_.read<uint32_t>(key);
    const auto count = reader_.read<uint64_t>(key);
    if (element == kString) {
      for (uint64_t i = 0; i < count; ++i) reader_.read_string(key);
    } else if (element < kValueBytes.size() && element != kArray) {
      reader_.take(checked_multiply(count, kValueBytes[element], key), key);
    } else {
      corrupt("key '{}' is an array of type {}", key, element);
    }
  } else if (type < kValueBytes.size()) {
    reader_.take(kValueBytes[type], key);
  } else {
    corrupt("key '{}' has value type {}, expected 0..{}", key, type, kValueBytes.size() - 1);
  }
}

uint32_t Reader::read_u32(const std::string& key, uint32_t type) {
  if (type != kU32) corrupt("key '{}' has value type {}, expected {} (u32)", key, type, kU32);
  return reader_.read<uint32_t>(key);
}

std::vector<std::string> Reader::read_strings(const std::string& key, uint32_t type) {
  const uint32_t element = type == kArray ? reader_.read<uint32_t>(key) : type;
  if (type != kArray || element != kString) corrupt("key '{}' is not an array of strings", key);
  const auto count = reader_.read<uint64_t>(key);
  std::vector<std::string> strings;
  for (uint64_t i = 0; i < count; ++i) strings.emplace_back(reader_.read_string(key));
  return strings;
}

void Reader::read_key() {
  const std::string key(reader_.read_string("a key"));
  if (!keys_.insert(key).second) corrupt("key '{}' is there twice", key);
  const auto type = reader_.read<uint32_t>(key);
  if (key == "general.type") {
    const std::string_view kind = type == kString ? reader_.read_string(key) : "of another type";
    if (kind != "imatrix") corrupt("is no importance matrix: its general.type is '{}'", kind);
  } else if (key == "general.alignment") {
    alignment_ = read_u32(key, type);
    if (!std::has_single_bit(alignment_)) corrupt("{} is {}, not a power of two", key, alignment_);
  } else if (key == "imatrix.chunk_count") {
    imatrix_.chunk_count = read_u32(key, type);
  } else if (key == "imatrix.chunk_size") {
    imatrix_.chunk_size = read_u32(key, type);
  } else if (key == "imatrix.datasets") {
    imatrix_.datasets = read_strings(key, type);
  } else {
    skip_value(key, type);
  }
}

void Reader::read_header() {
  reader_.take(4, "magic");
  const auto version = reader_.read<uint32_t>("version");
  if (version != 2 && version != kVersion) {
    fail(ErrorCode::kUnsupported, "{}: is GGUF version {}; versions 2 and 3 are read",
         reader_.path(), version);
  }
  tensor_count_ = reader_.read<uint64_t>("tensor count");
  const auto key_count = reader_.read<uint64_t>("key count");
  for (uint64_t i = 0; i < key_count; ++i) read_key();
  for (const char* key :
       {"general.type", "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"}) {
    if (!keys_.contains(key)) corrupt("is no importance matrix: it has no key '{}'", key);
  }
}

TensorPlace Reader::read_place(uint64_t index) {
  TensorPlace place;
  place.name = reader_.read_string(fmt::format("name of tensor {}", index));
  check_name(reader_.path(), place.name);
  if (!tensors_.insert(place.name).second) corrupt("tensor '{}' is there twice", place.name);
  const auto dimensions = reader_.read<uint32_t>(place.name);
  constexpr uint32_t kMostDimensions = 4;
  if (dimensions == 0 || dimensions > kMostDimensions) {
    corrupt("tensor '{}' has {} dimensions, expected 1..{}", place.name, dimensions,
            kMostDimensions);
  }
  place.count = place.cols = reader_.read<uint64_t>(place.name);
  for (uint32_t i = 1; i < dimensions; ++i) {
    place.count = checked_multiply(place.count, reader_.read<uint64_t>(place.name), place.name);
  }
  const auto type = reader_.read<uint32_t>(place.name);
  const bool used = place.name.ends_with(kSums) || place.name.ends_with(kCounts);
  if (used && type != kF32Tensor) {
    corrupt("tensor '{}' has type {}, expected {} (F32)", place.name, type, kF32Tensor);
  }
  place.offset = reader_.read<uint64_t>(place.name);
  return place;
}

std::vector<float> Reader::numbers(const TensorPlace& place, std::span<const std::byte> data) {
  const uint64_t bytes = checked_multiply(place.count, sizeof(float), place.name);
  if (place.offset > data.size() || bytes > data.size() - place.offset) {
    corrupt(
        "tensor '{}' needs {} bytes at {}, and the data ends at {}; perhaps the file is truncated",
        place.name, bytes, place.offset, data.size());
  }
  taken_ += bytes;
  if (taken_ > data.size()) corrupt("tensor '{}' overlaps with others", place.name);
  std::vector<float> numbers(place.count);
  if (bytes > 0) std::memcpy(numbers.data(), data.data() + place.offset, bytes);
  return numbers;
}

void Reader::add(const TensorPlace& place, std::string_view suffix,
                 std::span<const std::byte> data) {
  if (!place.name.ends_with(suffix)) return;
  const std::string name = place.name.substr(0, place.name.size() - suffix.size());
  ImatrixEntry& entry = imatrix_.entries[name];
  if (suffix == kSums) {
    entry.squares = numbers(place, data);
    cols_[name] = place.cols;
  } else {
    entry.counts = numbers(place, data);
  }
}

// Tensors of other names are passed over: what later versions of llama-imatrix may add.
Imatrix Reader::read() {
  read_header();
  std::vector<TensorPlace> places;
  for (uint64_t i = 0; i < tensor_count_; ++i) places.push_back(read_place(i));
  reader_.take(padding(reader_.offset(), alignment_), "padding before the tensor data");
  const auto data = reader_.take(reader_.remaining(), "tensor data");
  for (const TensorPlace& place : places) {
    add(place, kSums, data);
    add(place, kCounts, data);
  }
  if (imatrix_.entries.empty()) corrupt("has no entries");
  for (const auto& [name, entry] : imatrix_.entries) {
    check_entry(reader_.path(), name, entry);
    if (cols_[name] * entry.counts.size() == entry.squares.size()) continue;
    corrupt("entry '{}' has {} sums in rows of {}, and {} counts", name, entry.squares.size(),
            cols_[name], entry.counts.size());
  }
  return std::move(imatrix_);
}

class Writer {
 public:
  explicit Writer(const std::filesystem::path& path) : file_(path) {}

  void write(const Imatrix& imatrix);

 private:
  void string(std::string_view text) {
    file_.write_value(uint64_t{text.size()});
    file_.write(text);
  }
  void key(std::string_view name, uint32_t type) {
    string(name);
    file_.write_value(type);
  }
  void keys(const Imatrix& imatrix);
  void place(const std::string& name, uint64_t cols, uint64_t matrices);
  void pad() { file_.write(std::string(padding(file_.written(), kUsualAlignment), '\0')); }

  FileWriter file_;
  uint64_t offset_ = 0;
};

void Writer::keys(const Imatrix& imatrix) {
  key("general.type", kString);
  string("imatrix");
  key("imatrix.datasets", kArray);
  file_.write_value(kString);
  file_.write_value(uint64_t{imatrix.datasets.size()});
  for (const std::string& dataset : imatrix.datasets) string(dataset);
  key("imatrix.chunk_count", kU32);
  file_.write_value(imatrix.chunk_count);
  key("imatrix.chunk_size", kU32);
  file_.write_value(imatrix.chunk_size);
}

// ggml leaves out trailing dimensions of 1.
void Writer::place(const std::string& name, uint64_t cols, uint64_t matrices) {
  string(name);
  file_.write_value(uint32_t{matrices == 1 ? 1U : 2U});
  file_.write_value(cols);
  if (matrices != 1) file_.write_value(matrices);
  file_.write_value(kF32Tensor);
  file_.write_value(offset_);
  const uint64_t bytes = cols * matrices * sizeof(float);
  offset_ += bytes + padding(bytes, kUsualAlignment);
}

void Writer::write(const Imatrix& imatrix) {
  constexpr uint64_t kKeys = 4;
  file_.write(std::string_view("GGUF"));
  file_.write_value(kVersion);
  file_.write_value(uint64_t{2 * imatrix.entries.size()});
  file_.write_value(kKeys);
  keys(imatrix);
  for (const auto& [name, entry] : imatrix.entries) {
    const uint64_t matrices = entry.counts.size();
    place(name + std::string(kSums), entry.squares.size() / matrices, matrices);
    place(name + std::string(kCounts), 1, matrices);
  }
  for (const auto& [name, entry] : imatrix.entries) {
    for (const auto* numbers : {&entry.squares, &entry.counts}) {
      pad();
      file_.write(std::as_bytes(std::span(*numbers)));
    }
  }
  pad();
  file_.commit();
}

}  // namespace

Imatrix read_imatrix_gguf(const MappedFile& file) {
  return Reader(file).read();
}

void write_imatrix(const Imatrix& imatrix, const std::filesystem::path& path) {
  check_writable(imatrix, path, kSums.size());
  Writer(path).write(imatrix);
}

}  // namespace isogloss
