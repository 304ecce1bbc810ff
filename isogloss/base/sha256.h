// SHA-256 (FIPS 180-4), computed by libcrypto.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace isogloss {

// The hash of all bytes that were passed to update(), in whatever parts.
class Sha256 {
 public:
  // Throws Error(kUnsupported) where libcrypto's configuration forbids SHA-256.
  Sha256();

  void update(std::string_view bytes);
  void update(std::span<const std::byte> bytes);

  // 64 lower-case hex digits. Ends the hash: nothing may be called after it.
  std::string hex();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

// The hash of a file's bytes, which are read a block at a time; a file without bytes has one too.
// Throws Error: kNotFound when there is no such file, kIo when it cannot be read or is not regular.
std::string sha256_of_file(const std::filesystem::path& path);

}  // namespace isogloss
