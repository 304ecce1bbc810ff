// SHA-256 against the digests that NIST published, and Python's hashlib for files.
#include "isogloss/base/sha256.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "model_files.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kDigestOfNothing =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr std::string_view kDigestOfMillion =
    "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

std::string digest(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.hex();
}

// Bytes that differ from block to block.
std::string counted(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i % 251);
  return bytes;
}

TEST(Sha256, HasTheDigestsOfTheStandard) {
  EXPECT_EQ(Sha256().hex(), kDigestOfNothing);
  EXPECT_EQ(digest(""), kDigestOfNothing);
  EXPECT_EQ(digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(digest(std::string(1'000'000, 'a')), kDigestOfMillion);
}

TEST(Sha256, DoesNotDependOnTheParts) {
  const std::string bytes(1'000'000, 'a');
  Random random(1);
  Sha256 hash;
  for (size_t place = 0; place < bytes.size();) {
    const size_t size = std::min<size_t>(random.below(3000), bytes.size() - place);
    const auto part = std::string_view(bytes).substr(place, size);
    if (random.below(2) == 0) {
      hash.update(part);
    } else {
      hash.update(std::as_bytes(std::span(part)));
    }
    place += size;
  }
  EXPECT_EQ(hash.hex(), kDigestOfMillion);
}

TEST(Sha256DeathTest, EndsWithItsDigest) {
  Sha256 hash;
  hash.hex();
  EXPECT_DEATH(hash.update("more"), "internal error");
  EXPECT_DEATH(hash.hex(), "internal error");
}

TEST(Sha256OfFile, IsThatOfItsBytesWhereverBlocksEnd) {
  const TemporaryDirectory directory;
  EXPECT_EQ(sha256_of_file(directory.write("several_blocks", counted(3'000'000))),
            "4d3870d4655ed773027a713ea136507d22e076248e0e9cc920a996039653b76f");
  constexpr size_t kBlock = size_t{1} << 20;
  for (const size_t size : {size_t{0}, size_t{1}, kBlock - 1, kBlock, kBlock + 1, 2 * kBlock}) {
    const std::string bytes = counted(size);
    EXPECT_EQ(sha256_of_file(directory.write("file", bytes)), digest(bytes)) << size;
  }
}

TEST(Sha256OfFile, RefusesWhatIsNoFile) {
  const TemporaryDirectory directory;
  const fs::path path = directory.path() / "file";
  EXPECT_TRUE(says(failure_of([&] { sha256_of_file(path); }), ErrorCode::kNotFound,
                   {path.string(), "cannot open", "No such file"}));
  EXPECT_TRUE(says(failure_of([&] { sha256_of_file(directory.path()); }), ErrorCode::kIo,
                   {directory.path().string(), "not a regular file"}));
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_TRUE(says(failure_of([&] { sha256_of_file(path); }), ErrorCode::kIo,
                   {path.string(), "not a regular file"}));
  fs::remove(path);
  EXPECT_EQ(sha256_of_file(directory.write("file", "")), kDigestOfNothing);
}

}  // namespace
}  // namespace isogloss
