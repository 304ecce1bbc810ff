#include "isogloss/base/descriptor.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "isogloss/base/error.h"

namespace isogloss {

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Descriptor open_regular_file(const std::filesystem::path& path, int flags) {
  constexpr mode_t kReadableByAll = 0644;
  // Without O_NONBLOCK, opening a named pipe waits for its other end.
  Descriptor file(::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK, kReadableByAll));
  if (file.get() < 0) {
    const ErrorCode code = errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo;
    fail(code, "{}: cannot open: {}", path.string(), system_message(errno));
  }
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) {
    fail(ErrorCode::kIo, "{}: cannot tell what it is: {}", path.string(), system_message(errno));
  }
  if (!S_ISREG(status.st_mode)) {
    fail(ErrorCode::kIo, "{}: is not a regular file", path.string());
  }
  return file;
}

size_t read_some(const Descriptor& file, std::span<char> block, const std::string& path) {
  for (;;) {
    const ssize_t count = ::read(file.get(), block.data(), block.size());
    if (count >= 0) return static_cast<size_t>(count);
    if (errno != EINTR) fail(ErrorCode::kIo, "{}: cannot read: {}", path, system_message(errno));
  }
}

void write_all(const Descriptor& file, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(ErrorCode::kIo, "{}: cannot write: {}", path, system_message(errno));
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

std::string system_message(int error) {
  return std::generic_category().message(error);
}

}  // namespace isogloss
