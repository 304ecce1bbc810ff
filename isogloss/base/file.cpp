#include "isogloss/base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <system_error>

namespace isogloss {
namespace {

// A pipe or a device takes bytes, and must not be replaced by a file.
void write_into(const std::filesystem::path& path, std::string_view content) {
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file.get() < 0) {
    fail(ErrorCode::kIo, "{}: cannot open: {}", path.string(), system_message(errno));
  }
  write_all(file, content, path.string());
}

void replace_file(const std::filesystem::path& path, std::string_view content) {
  FileWriter file(path);
  file.write(content);
  file.commit();
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  // Without O_NONBLOCK, opening a named pipe waits for its writer.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) {
    const ErrorCode code = errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo;
    fail(code, "{}: cannot open: {}", path.string(), system_message(errno));
  }
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) {
    fail(ErrorCode::kIo, "{}: cannot read its size: {}", path.string(), system_message(errno));
  }
  if (!S_ISREG(status.st_mode)) {
    fail(ErrorCode::kIo, "{}: is not a regular file", path.string());
  }
  const size_t size = static_cast<size_t>(status.st_size);
  if (size == 0) {
    fail(ErrorCode::kCorrupt, "{}: the file is empty; perhaps a download that did not finish",
         path.string());
  }
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) {
    fail(ErrorCode::kIo, "{}: cannot map {} bytes: {}", path.string(), size, system_message(errno));
  }
  const std::span<const std::byte> bytes(static_cast<const std::byte*>(address), size);
  return std::shared_ptr<const MappedFile>(new MappedFile(path, bytes));
}

void MappedFile::forget(std::span<const std::byte> part) const {
  const std::byte* const end = bytes_.data() + bytes_.size();
  if (part.data() < bytes_.data() || part.data() + part.size() > end) return;
  // Whole pages only: the others hold parts of neighbours.
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(part.data()) + page - 1) / page * page;
  const auto last = reinterpret_cast<uintptr_t>(part.data() + part.size()) / page * page;
  if (begin < last) ::madvise(reinterpret_cast<void*>(begin), last - begin, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

std::span<const std::byte> ByteReader::take(uint64_t count, std::string_view what) {
  if (count > remaining()) {
    fail(ErrorCode::kCorrupt,
         "{}: {} at byte {} needs {} bytes, and {} are left; perhaps the file is truncated", path_,
         what, offset_, count, remaining());
  }
  const auto taken = bytes_.subspan(offset_, static_cast<size_t>(count));
  offset_ += static_cast<size_t>(count);
  return taken;
}

std::string_view ByteReader::read_string(std::string_view what) {
  const auto length = read<uint64_t>(what);
  const auto bytes = take(length, what);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

uint64_t checked_multiply(uint64_t a, uint64_t b, std::string_view what) {
  if (b != 0 && a > std::numeric_limits<uint64_t>::max() / b) {
    fail(ErrorCode::kCorrupt, "{}: {} x {} does not fit in 64 bits", what, a, b);
  }
  return a * b;
}

std::string read_text_file(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  return {reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()};
}

FileWriter::FileWriter(const std::filesystem::path& path)
    : path_(path), temporary_(path.string() + ".XXXXXX") {
  file_ = Descriptor(::mkostemp(temporary_.data(), O_CLOEXEC));
  if (file_.get() < 0) {
    fail(ErrorCode::kIo, "{}: cannot create a file beside it: {}", path.string(),
         system_message(errno));
  }
}

FileWriter::~FileWriter() {
  if (file_.get() >= 0 && !temporary_.empty()) ::unlink(temporary_.c_str());
}

void FileWriter::write(std::string_view bytes) {
  write_all(file_, bytes, path_.string());
  written_ += bytes.size();
  start_writing();
}

void FileWriter::write(std::span<const std::byte> bytes) {
  write({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

// The disk takes what there is while more is being made, so that commit() waits for little.
void FileWriter::start_writing() {
  constexpr uint64_t kAtOnce = 8 << 20;
  if (written_ - begun_ < kAtOnce) return;
  ::sync_file_range(file_.get(), static_cast<off_t>(begun_), static_cast<off_t>(written_ - begun_),
                    SYNC_FILE_RANGE_WRITE);  // a hint: what it does not begin, commit() does
  begun_ = written_;
}

void FileWriter::commit() {
  constexpr mode_t kReadableByAll = 0644;
  if (::fchmod(file_.get(), kReadableByAll) != 0 || ::fsync(file_.get()) != 0 ||
      ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    fail(ErrorCode::kIo, "{}: cannot finish writing: {}", path_.string(), system_message(errno));
  }
  temporary_.clear();
}

void write_file(const std::filesystem::path& path, std::string_view content) {
  std::error_code not_there;  // the path as it is then names a new file
  const auto target = std::filesystem::canonical(path, not_there);
  if (not_there) return replace_file(path, content);
  std::error_code unreadable;
  const auto status = std::filesystem::status(target, unreadable);
  if (std::filesystem::is_other(status)) return write_into(target, content);
  replace_file(target, content);
}

}  // namespace isogloss
