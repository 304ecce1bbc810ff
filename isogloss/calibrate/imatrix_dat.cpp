// The older form: i32 entries; for each i32 length and name, i32 calls, i32 numbers, f32 numbers
// (mean of squares times calls); then i32 chunks, i32 length and the data set's name, which oldest
// files lack. Calls are chunks of text. Source: llama.cpp, tools/imatrix/imatrix.cpp and
// common/imatrix-loader.cpp.
#include <algorithm>
#include <cmath>
#include <limits>

#include "isogloss/base/error.h"
#include "isogloss/calibrate/imatrix_impl.h"

namespace isogloss {
namespace {

constexpr size_t kMost32 = std::numeric_limits<int32_t>::max();

size_t read_length(ByteReader& reader, const std::string& what) {
  const auto length = reader.read<int32_t>(what);
  if (length >= 0) return static_cast<size_t>(length);
  fail(ErrorCode::kCorrupt, "{}: {} is {}; the file is no importance matrix, or damaged",
       reader.path(), what, length);
}

std::string read_text(ByteReader& reader, const std::string& what) {
  const auto bytes = reader.take(read_length(reader, "length of " + what), what);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

ImatrixEntry read_entry(ByteReader& reader, const std::string& name) {
  ImatrixEntry entry;
  entry.counts = {static_cast<float>(read_length(reader, fmt::format("calls of '{}'", name)))};
  const size_t count = read_length(reader, fmt::format("count of numbers of '{}'", name));
  const auto bytes = reader.take(uint64_t{count} * sizeof(float), "numbers of '" + name + "'");
  entry.squares.resize(count);
  if (count > 0) std::memcpy(entry.squares.data(), bytes.data(), bytes.size());
  check_entry(reader.path(), name, entry);
  return entry;
}

class Writer {
 public:
  explicit Writer(const std::filesystem::path& path) : path_(path.string()), file_(path) {}

  void number(double value, const std::string& what) {
    if (value > static_cast<double>(kMost32)) {
      fail(ErrorCode::kBadArgument, "{}: {} is {}, and a .dat file holds up to {}", path_, what,
           value, kMost32);
    }
    file_.write_value(static_cast<int32_t>(value));
  }
  void text(const std::string& value, const std::string& what) {
    number(static_cast<double>(value.size()), "length of " + what);
    file_.write(value);
  }
  void entry(const std::string& name, const ImatrixEntry& entry, uint32_t chunk_size);
  void commit() { file_.commit(); }

 private:
  std::string path_;
  FileWriter file_;
};

// Means times calls; a matrix among several that nothing was counted of has ones, as llama-imatrix
// writes it.
void Writer::entry(const std::string& name, const ImatrixEntry& entry, uint32_t chunk_size) {
  text(name, "name");
  const auto most = static_cast<double>(*std::ranges::max_element(entry.counts));
  const double calls = std::ceil(most / std::max(chunk_size, 1U));
  number(calls, fmt::format("calls of '{}'", name));
  number(static_cast<double>(entry.squares.size()), fmt::format("count of numbers of '{}'", name));
  const size_t cols = entry.squares.size() / entry.counts.size();
  for (size_t i = 0; i < entry.squares.size(); ++i) {
    const auto count = static_cast<double>(entry.counts[i / cols]);
    const double mean = count == 0 ? 1 : static_cast<double>(entry.squares[i]) / count;
    file_.write_value(static_cast<float>(mean * calls));
  }
}

bool is_counted(const ImatrixEntry& entry) {
  return std::ranges::any_of(entry.counts, [](float count) { return count > 0; });
}

}  // namespace

Imatrix read_imatrix_dat(const MappedFile& file) {
  ByteReader reader(file.bytes(), file.path().string());
  Imatrix imatrix;
  const size_t entries = read_length(reader, "count of entries");
  if (entries == 0) fail(ErrorCode::kCorrupt, "{}: has no entries", reader.path());
  for (size_t i = 0; i < entries; ++i) {
    const std::string name = read_text(reader, fmt::format("name {} of {}", i, entries));
    check_name(reader.path(), name);
    if (!imatrix.entries.emplace(name, read_entry(reader, name)).second) {
      fail(ErrorCode::kCorrupt, "{}: entry '{}' is there twice", reader.path(), name);
    }
  }
  if (reader.remaining() == 0) return imatrix;
  imatrix.chunk_count = static_cast<uint32_t>(read_length(reader, "count of chunks"));
  const std::string dataset = read_text(reader, "name of the data set");
  if (!dataset.empty()) imatrix.datasets.push_back(dataset);
  if (reader.remaining() == 0) return imatrix;
  fail(ErrorCode::kCorrupt,
       "{}: has {} bytes after its end; it is no importance matrix, or damaged", reader.path(),
       reader.remaining());
}

void write_imatrix_dat(const Imatrix& imatrix, const std::filesystem::path& path) {
  check_writable(imatrix, path, 0);
  Writer writer(path);
  const auto counted = std::ranges::count_if(
      imatrix.entries, [](const auto& item) { return is_counted(item.second); });
  if (counted == 0) {
    fail(ErrorCode::kBadArgument, "{}: cannot write an importance matrix that counted nothing",
         path.string());
  }
  writer.number(static_cast<double>(counted), "count of entries");
  for (const auto& [name, entry] : imatrix.entries) {
    if (is_counted(entry)) writer.entry(name, entry, imatrix.chunk_size);
  }
  writer.number(imatrix.chunk_count, "count of chunks");
  writer.text(imatrix.datasets.empty() ? "" : imatrix.datasets.back(), "name of the data set");
  writer.commit();
}

}  // namespace isogloss
