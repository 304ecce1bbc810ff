// Files as untrusted bytes: mapped read-only, read through a reader that checks every length
// against what remains, and written under a temporary name until they are whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "isogloss/base/descriptor.h"
#include "isogloss/base/error.h"

namespace isogloss {

// A read-only memory map of a whole regular file, unmapped with the last owner. Pages are read on
// first use; a file that another process truncates meanwhile ends this one with SIGBUS.
class MappedFile {
 public:
  // Throws Error: kNotFound when there is no such file, kCorrupt when it is empty, kIo otherwise.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }

  // Lets the system take back the memory of a part that will not be read soon. Nothing changes: it
  // is read from the file again when it is needed. Parts of other memory are left alone.
  void forget(std::span<const std::byte> part) const;

 private:
  MappedFile(std::filesystem::path path, std::span<const std::byte> bytes)
      : path_(std::move(path)), bytes_(bytes) {}

  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
};

// Reads little-endian values from front to back. Every read is checked by subtraction against what
// remains; a read past the end throws Error(kCorrupt) that names the file, the object, the offset,
// the bytes wanted and the bytes left.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, std::string path)
      : bytes_(bytes), path_(std::move(path)) {}

  size_t offset() const { return offset_; }
  size_t remaining() const { return bytes_.size() - offset_; }
  const std::string& path() const { return path_; }

  // `what` names the object being read in the error message.
  template <typename T>
  T read(std::string_view what) {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }
  std::span<const std::byte> take(uint64_t count, std::string_view what);

  // A 64-bit length followed by that many bytes, as GGUF stores strings.
  std::string_view read_string(std::string_view what);

 private:
  std::span<const std::byte> bytes_;
  std::string path_;
  size_t offset_ = 0;
};

// a * b, or Error(kCorrupt) naming `what` when the product does not fit.
uint64_t checked_multiply(uint64_t a, uint64_t b, std::string_view what);

// The whole file as text. Throws as MappedFile::open.
std::string read_text_file(const std::filesystem::path& path);

// A file being written. Bytes go to a temporary name beside `path`, so that readers see the old
// file or the whole new one. Throws Error(kIo).
class FileWriter {
 public:
  explicit FileWriter(const std::filesystem::path& path);
  ~FileWriter();  // without commit(), nothing is left behind
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(std::string_view bytes);
  void write(std::span<const std::byte> bytes);
  template <typename T>
  void write_value(const T& value) {  // little-endian
    static_assert(std::is_trivially_copyable_v<T>);
    write(std::as_bytes(std::span(&value, 1)));
  }
  uint64_t written() const { return written_; }  // bytes

  void commit();  // syncs the file and gives it its name

 private:
  void start_writing();

  std::filesystem::path path_;
  std::string temporary_;
  Descriptor file_{-1};
  uint64_t written_ = 0;
  uint64_t begun_ = 0;  // bytes that are on their way to the disk
};

// Writes `content` to a temporary name beside `path`, syncs it and renames it over `path`: readers
// see the old file or the whole new one. Links are followed; a pipe or a device is written into as
// it is. Throws Error(kIo); then nothing is left behind.
void write_file(const std::filesystem::path& path, std::string_view content);

}  // namespace isogloss
