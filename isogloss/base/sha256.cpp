#include "isogloss/base/sha256.h"

#include <fcntl.h>
#include <openssl/evp.h>

#include <array>
#include <vector>

#include "isogloss/base/descriptor.h"
#include "isogloss/base/error.h"

namespace isogloss {

void Sha256::Free::operator()(evp_md_ctx_st* context) const {
  EVP_MD_CTX_free(context);
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) {
    fail(
        ErrorCode::kUnsupported,
        "SHA-256: libcrypto does not offer it; perhaps its configuration (OPENSSL_CONF) leaves out "
        "the default provider");
  }
}

void Sha256::update(std::string_view bytes) {
  update(std::as_bytes(std::span(bytes)));
}

void Sha256::update(std::span<const std::byte> bytes) {
  ISOGLOSS_ASSERT(context_);
  ISOGLOSS_ASSERT(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

std::string Sha256::hex() {
  ISOGLOSS_ASSERT(context_);
  std::array<unsigned char, 32> digest{};
  ISOGLOSS_ASSERT(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) == 1);
  context_.reset();
  std::string digits;
  for (const unsigned char byte : digest) digits += fmt::format("{:02x}", byte);
  return digits;
}

std::string sha256_of_file(const std::filesystem::path& path) {
  constexpr size_t kBlock = size_t{1} << 20;
  const Descriptor file = open_regular_file(path, O_RDONLY);
  Sha256 hash;
  std::vector<char> block(kBlock);
  while (const size_t count = read_some(file, block, path.string())) {
    hash.update(std::string_view(block.data(), count));
  }
  return hash.hex();
}

}  // namespace isogloss
