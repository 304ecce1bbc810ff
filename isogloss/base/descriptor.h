// Open files of the operating system, for those in base/ that read and write them by hand.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace isogloss {

// Owns a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }

  int get() const { return fd_; }

 private:
  int fd_;  // -1: none
};

// Opens a regular file with open(2)'s `flags`; what these create is readable by all. Does not wait
// for a pipe's other end. Throws Error: kNotFound when there is no such file, kIo otherwise.
Descriptor open_regular_file(const std::filesystem::path& path, int flags);

// Up to block.size() bytes from where the last read ended; 0 at the end of the file. `path` names
// the file in the Error(kIo) of both.
size_t read_some(const Descriptor& file, std::span<char> block, const std::string& path);
// When it throws, some of the bytes may be written.
void write_all(const Descriptor& file, std::string_view bytes, const std::string& path);

// What errno's value means, in words.
std::string system_message(int error);

}  // namespace isogloss
