// Contracts of isogloss/base: untrusted bytes, files, chance, and elementary functions.
#include <fcntl.h>
#include <ggml.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cmath>
#include <csignal>
#include <cstring>
#include <limits>
#include <set>

#include "isogloss/base/file.h"
#include "isogloss/base/half.h"
#include "isogloss/base/random.h"
#include "isogloss/base/vector_math.h"
#include "model_files.h"
#include "tests/file_size_limit.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;
constexpr uint64_t kMost64 = std::numeric_limits<uint64_t>::max();

ByteReader reader_of(const std::string& bytes) {
  return {std::as_bytes(std::span(bytes)), "some/file.bin"};
}

Strings files_in(const fs::path& directory) {
  Strings names;
  for (const auto& entry : fs::directory_iterator(directory))
    names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

std::string content_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(ByteReader, ReadsLittleEndianValuesFrontToBack) {
  const std::string bytes("\x01\x02\x03\x04\xff\x05\0\0\0\0\0\0\0hello", 18);
  ByteReader reader = reader_of(bytes);
  EXPECT_EQ(reader.read<uint16_t>("first"), 0x0201);
  EXPECT_EQ(reader.read<uint16_t>("second"), 0x0403);
  EXPECT_EQ(reader.read<int8_t>("third"), -1);
  EXPECT_EQ(reader.offset(), 5U);
  EXPECT_EQ(reader.read_string("text"), "hello");
  EXPECT_EQ(reader.remaining(), 0U);
}

TEST(ByteReader, ReadsAValueThatEndsWhereTheBytesEnd) {
  const std::string bytes = bytes_of(1.5F);
  EXPECT_EQ(reader_of(bytes).read<float>("all of it"), 1.5F);
  const std::string shorter = bytes.substr(0, 3);
  EXPECT_TRUE(says(failure_of([&] { reader_of(shorter).read<float>("all of it"); }),
                   ErrorCode::kCorrupt,
                   {"some/file.bin", "all of it", "at byte 0", "needs 4 bytes", "3 are left"}));
}

TEST(ByteReader, NamesTheOffsetOfAReadPastTheEnd) {
  const std::string bytes(10, 'x');
  ByteReader reader = reader_of(bytes);
  reader.take(6, "head");
  EXPECT_TRUE(says(failure_of([&] { reader.take(5, "tail"); }), ErrorCode::kCorrupt,
                   {"some/file.bin", "tail", "at byte 6", "needs 5 bytes", "4 are left"}));
  EXPECT_EQ(reader.take(4, "tail").size(), 4U);
}

TEST(ByteReader, RefusesLengthsThatWouldWrapAround) {
  for (const uint64_t length : {kMost64, kMost64 - 7, uint64_t{1} << 63, uint64_t{1} << 32}) {
    const std::string bytes = bytes_of(length) + "text";
    ByteReader reader = reader_of(bytes);
    EXPECT_TRUE(says(failure_of([&] { reader.read_string("name"); }), ErrorCode::kCorrupt,
                     {"some/file.bin", "name", std::to_string(length), "4 are left"}));
  }
  const std::string valid = bytes_of(uint64_t{4}) + "text";
  EXPECT_EQ(reader_of(valid).read_string("name"), "text");
}

TEST(ByteReader, ReadsEmptyStringsAndNothing) {
  const std::string bytes = bytes_of(uint64_t{0});
  ByteReader reader = reader_of(bytes);
  EXPECT_EQ(reader.read_string("name"), "");
  EXPECT_EQ(reader.take(0, "nothing").size(), 0U);
}

TEST(CheckedMultiply, GivesTheProductUpToTheLastThatFits) {
  EXPECT_EQ(checked_multiply(6, 7, "x"), 42U);
  EXPECT_EQ(checked_multiply(0, kMost64, "x"), 0U);
  EXPECT_EQ(checked_multiply(kMost64, 0, "x"), 0U);
  EXPECT_EQ(checked_multiply(kMost64, 1, "x"), kMost64);
  EXPECT_EQ(checked_multiply(kMost64 / 3, 3, "x"), kMost64);
}

TEST(CheckedMultiply, RefusesTheFirstThatDoesNotFitAndNamesIt) {
  constexpr uint64_t kHalf = uint64_t{1} << 32;
  EXPECT_TRUE(says(failure_of([] { checked_multiply(kHalf, kHalf, "m.gguf: tensor 'w'"); }),
                   ErrorCode::kCorrupt, {"m.gguf: tensor 'w'", "4294967296 x 4294967296"}));
  EXPECT_TRUE(says(failure_of([] { checked_multiply(kMost64 / 3 + 1, 3, "x"); }),
                   ErrorCode::kCorrupt, {"does not fit"}));
}

class Files : public testing::Test {
 protected:
  Failure failure_of_opening(const fs::path& path) {
    return failure_of([&] { MappedFile::open(path); });
  }
  TemporaryDirectory directory_;
};

TEST_F(Files, MapTheWholeFile) {
  const fs::path path = directory_.write("a.bin", std::string("a\0b", 3));
  const auto file = MappedFile::open(path);
  EXPECT_EQ(file->path(), path);
  EXPECT_EQ(file->bytes().size(), 3U);
  EXPECT_EQ(read_text_file(path), std::string("a\0b", 3));
}

TEST_F(Files, ForgetsAPartAndReadsItAgain) {
  std::string content(50'000, 'x');
  for (size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i % 251);
  const auto file = MappedFile::open(directory_.write("pages", content));
  const auto all = file->bytes();
  const std::string other = content;
  for (const auto part : {all, all.subspan(1), all.subspan(5000, 20'000), all.subspan(7, 3),
                          std::as_bytes(std::span(other))}) {
    file->forget(part);
    EXPECT_EQ(std::memcmp(all.data(), content.data(), content.size()), 0);
    EXPECT_EQ(other, content);
  }
}

TEST_F(Files, StayMappedAfterTheyAreDeleted) {
  const auto file = MappedFile::open(directory_.write("a.bin", "abc"));
  fs::remove(file->path());
  EXPECT_EQ(static_cast<char>(file->bytes()[2]), 'c');
}

TEST_F(Files, ThatAreMissingAreNotFound) {
  EXPECT_TRUE(says(failure_of_opening(directory_.path() / "none.bin"), ErrorCode::kNotFound,
                   {"none.bin", "cannot open", "No such file"}));
  EXPECT_TRUE(says(failure_of([&] { read_text_file(directory_.path() / "none.txt"); }),
                   ErrorCode::kNotFound, {"none.txt"}));
}

TEST_F(Files, ThatAreEmptyAreCorrupt) {
  EXPECT_TRUE(says(failure_of_opening(directory_.write("empty.bin", "")), ErrorCode::kCorrupt,
                   {"empty.bin", "is empty"}));
}

TEST_F(Files, ThatAreNotRegularAreRefused) {
  EXPECT_TRUE(says(failure_of_opening(directory_.path()), ErrorCode::kIo,
                   {directory_.path().string(), "not a regular file"}));
}

TEST_F(Files, ThatArePipesAreRefusedWithoutWaitingForAWriter) {
  const fs::path pipe = directory_.path() / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_TRUE(says(failure_of_opening(pipe), ErrorCode::kIo, {"pipe", "not a regular file"}));
}

TEST_F(Files, WithNamesTheSystemRefusesAreErrors) {
  const fs::path loop = directory_.path() / "loop";
  fs::create_symlink(loop, loop);
  EXPECT_TRUE(says(failure_of_opening(loop), ErrorCode::kIo, {"loop", "cannot open"}));
  EXPECT_TRUE(says(failure_of_opening(directory_.path() / std::string(300, 'x')), ErrorCode::kIo,
                   {"xxx", "cannot open"}));
}

TEST_F(Files, AreWrittenWholeAndReadableByAll) {
  const fs::path path = directory_.path() / "out.json";
  const std::string content(100'000, 'x');
  write_file(path, content);
  EXPECT_EQ(content_of(path), content);
  EXPECT_EQ(fs::status(path).permissions(), fs::perms(0644));
  EXPECT_EQ(files_in(directory_.path()), Strings{"out.json"});
}

TEST_F(Files, AreOverwrittenByLongerAndShorterAndEmptyContent) {
  const fs::path path = directory_.path() / "out.json";
  for (const std::string content : {"old", "newer and longer", "new", ""}) {
    write_file(path, content);
    EXPECT_EQ(content_of(path), content);
  }
  EXPECT_EQ(files_in(directory_.path()), Strings{"out.json"});
}

TEST_F(Files, AreReplacedAndNotWrittenInto) {
  const fs::path path = directory_.write("out.json", "old");
  std::ifstream reader(path, std::ios::binary);
  write_file(path, "new");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(reader), {}), "old");
  EXPECT_EQ(content_of(path), "new");
}

TEST_F(Files, ThatAreLinksAreWrittenWhereTheyPoint) {
  const fs::path path = directory_.write("out.json", "old");
  const fs::path link = directory_.path() / "link";
  fs::create_symlink("out.json", link);
  write_file(link, "new");
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_EQ(content_of(path), "new");
  EXPECT_EQ(files_in(directory_.path()), (Strings{"link", "out.json"}));
}

TEST_F(Files, ThatArePipesAreWrittenIntoAndNotReplaced) {
  const fs::path pipe = directory_.path() / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const int reader = open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  write_file(pipe, "text");
  std::array<char, 8> received{};
  EXPECT_EQ(read(reader, received.data(), received.size()), 4);
  EXPECT_EQ(close(reader), 0);
  EXPECT_STREQ(received.data(), "text");
  EXPECT_TRUE(fs::is_fifo(pipe));
  EXPECT_EQ(files_in(directory_.path()), Strings{"pipe"});
}

TEST_F(Files, ThatCannotBeWrittenLeaveNothingBehind) {
  const fs::path missing = directory_.path() / "no" / "out.json";
  EXPECT_TRUE(says(failure_of([&] { write_file(missing, "x"); }), ErrorCode::kIo,
                   {missing.string(), "No such file"}));
  const fs::path taken = directory_.path() / "taken";
  fs::create_directory(taken);
  EXPECT_TRUE(says(failure_of([&] { write_file(taken, "x"); }), ErrorCode::kIo,
                   {taken.string(), "cannot finish writing"}));
  EXPECT_EQ(files_in(directory_.path()), Strings{"taken"});
}

TEST_F(Files, KeepTheirOldContentWhenWritingStopsHalfway) {
  const fs::path path = directory_.write("out.json", "old");
  Failure failure;
  {
    const FileSizeLimit limit(4096);
    failure = failure_of([&] { write_file(path, std::string(100'000, 'x')); });
  }
  EXPECT_TRUE(says(failure, ErrorCode::kIo, {path.string(), "cannot write", "File too large"}));
  EXPECT_EQ(content_of(path), "old");
  EXPECT_EQ(files_in(directory_.path()), Strings{"out.json"});
  write_file(path, std::string(100'000, 'x'));
  EXPECT_EQ(content_of(path).size(), 100'000U);
}

TEST(Random, IsSplitMix64) {
  // The first numbers of Steele, Lea & Flood's generator (Vigna's splitmix64.c) for two seeds.
  constexpr std::array<uint64_t, 5> kSeed1234567 = {6457827717110365317U, 3203168211198807973U,
                                                    9817491932198370423U, 4593380528125082431U,
                                                    16408922859458223821U};
  Random random(1234567);
  for (const uint64_t expected : kSeed1234567) EXPECT_EQ(random.next(), expected);
  constexpr std::array<uint64_t, 3> kSeed0 = {0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4,
                                              0x06c45d188009454f};
  Random zero(0);
  for (const uint64_t expected : kSeed0) EXPECT_EQ(zero.next(), expected);
}

TEST(Random, BelowStaysInsideItsBoundsAndReachesBothEnds) {
  for (const uint64_t bound : {uint64_t{1}, uint64_t{2}, uint64_t{3}, uint64_t{10}}) {
    Random random(7);
    std::set<uint64_t> seen;
    for (int i = 0; i < 1000; ++i) seen.insert(random.below(bound));
    EXPECT_EQ(seen.size(), bound);
    EXPECT_EQ(*seen.begin(), 0U);
    EXPECT_EQ(*seen.rbegin(), bound - 1);
  }
}

TEST(Random, BelowIsUniform) {
  constexpr size_t kBound = 10;
  constexpr int kDraws = 100'000;
  std::array<int, kBound> counts{};
  Random random(42);
  for (int i = 0; i < kDraws; ++i) ++counts[random.below(kBound)];
  // Five standard deviations of a binomial count with p = 1/10.
  const double band = 5 * std::sqrt(kDraws * 0.1 * 0.9);
  for (const int count : counts) EXPECT_NEAR(count, kDraws / static_cast<double>(kBound), band);
}

TEST(Random, BelowHasNoBiasForBoundsNearAPowerOfTwo) {
  // Without rejection, 2^64 numbers on 3 * 2^62 places put half of all draws on a third of them,
  // those divisible by 3.
  constexpr uint64_t kBound = uint64_t{3} << 62;
  constexpr int kDraws = 30'000;
  Random random(3);
  int divisible = 0;
  for (int i = 0; i < kDraws; ++i) {
    const uint64_t drawn = random.below(kBound);
    ASSERT_LT(drawn, kBound);
    divisible += drawn % 3 == 0 ? 1 : 0;
  }
  const double band = 5 * std::sqrt(kDraws * (1.0 / 3) * (2.0 / 3));
  EXPECT_NEAR(divisible, kDraws / 3.0, band);
}

TEST(Random, UniformFillsTheUnitInterval) {
  constexpr int kDraws = 100'000;
  Random random(11);
  double sum = 0;
  double least = 1;
  double most = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double drawn = random.uniform();
    ASSERT_GE(drawn, 0);
    ASSERT_LT(drawn, 1);
    sum += drawn;
    least = std::min(least, drawn);
    most = std::max(most, drawn);
  }
  const double band = 5 * std::sqrt(1.0 / 12 / kDraws);  // five standard deviations of the mean
  EXPECT_NEAR(sum / kDraws, 0.5, band);
  EXPECT_LT(least, 1e-3);
  EXPECT_GT(most, 1 - 1e-3);
}

// What vector_math.h promises.
constexpr double kExpTolerance = 2e-7;

double relative_error(float x) {
  const double expected = std::exp(static_cast<double>(x));
  return std::abs(static_cast<double>(vector_exp(x)) - expected) / expected;
}

TEST(VectorExp, IsAsExactAsPromisedOverItsRange) {
  constexpr int kSteps = 2'000'000;
  double worst = 0;
  float worst_at = 0;
  for (int i = 0; i <= kSteps; ++i) {
    const auto x = static_cast<float>(-87 + 174.0 * i / kSteps);
    const double error = relative_error(x);
    if (error > worst) {
      worst = error;
      worst_at = x;
    }
  }
  EXPECT_LT(worst, kExpTolerance) << "at " << worst_at;
}

TEST(VectorExp, IsExactAtZeroAndCloseForTinyArguments) {
  EXPECT_EQ(vector_exp(0.0F), 1.0F);
  EXPECT_EQ(vector_exp(-0.0F), 1.0F);
  for (const float x : {1e-30F, -1e-30F, 1e-8F, -1e-8F, 1e-3F}) {
    EXPECT_LT(relative_error(x), kExpTolerance);
  }
}

TEST(VectorExp, ClampsOutsideOfItsRange) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_LT(relative_error(-87.0F), kExpTolerance);
  EXPECT_LT(relative_error(87.0F), kExpTolerance);
  for (const float x : {-87.5F, -104.0F, -1e30F, -kInfinity}) {
    EXPECT_EQ(vector_exp(x), vector_exp(-87.0F));
  }
  for (const float x : {87.5F, 200.0F, 1e30F, kInfinity}) {
    EXPECT_EQ(vector_exp(x), vector_exp(87.0F));
  }
  EXPECT_TRUE(std::isnan(vector_exp(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_TRUE(std::isnan(vector_exp(-std::numeric_limits<float>::quiet_NaN())));
}

TEST(VectorRange, HasTheExtremesWhereverTheyAre) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  Random random(4);
  for (const size_t count : {1, 2, 15, 16, 17, 100}) {
    for (size_t place = 0; place < count; ++place) {
      std::vector<float> values;
      for (size_t i = 0; i < count; ++i) values.push_back(static_cast<float>(-random.uniform()));
      EXPECT_EQ(vector_max(values), *std::ranges::max_element(values));
      EXPECT_EQ(vector_range(values).high, *std::ranges::max_element(values));
      EXPECT_EQ(vector_range(values).low, *std::ranges::min_element(values));
      EXPECT_EQ(vector_max_abs(values), -*std::ranges::min_element(values));
      values[place] = 1e-40F;
      EXPECT_EQ(vector_max(values), 1e-40F) << place << " of " << count;
      values[place] = kInfinity;
      EXPECT_EQ(vector_max(values), kInfinity);
      std::ranges::fill(values, -kInfinity);
      EXPECT_EQ(vector_max(values), -kInfinity);
      values[place] = -3;
      EXPECT_EQ(vector_max(values), -3);
      EXPECT_EQ(vector_range(values).low, count == 1 ? -3 : -kInfinity);
      EXPECT_EQ(vector_max_abs(values), count == 1 ? 3 : kInfinity);
    }
  }
}

// Whether a number becomes what ggml's BF16 makes of it, NaN any NaN.
testing::AssertionResult rounds_as_ggml(uint32_t bits) {
  const auto number = std::bit_cast<float>(bits);
  const float found = round_to_bf16(number);
  const float expected = ggml_bf16_to_fp32(ggml_fp32_to_bf16(number));
  const bool same = std::isnan(number)
                        ? std::isnan(found) && std::isnan(expected)
                        : std::bit_cast<uint32_t>(found) == std::bit_cast<uint32_t>(expected);
  if (same) return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << std::hex << "0x" << bits << " becomes " << found << ", not " << expected;
}

TEST(RoundToBf16, RoundsAsGgmlDoes) {
  constexpr int kDraws = 1'000'000;
  Random random(5);
  for (int i = 0; i < kDraws; ++i) {
    ASSERT_TRUE(rounds_as_ggml(static_cast<uint32_t>(random.next())));
  }
}

// With every upper half there are denormals, infinities and NaN of both signs; the lower halves are
// those on either side of each decision.
TEST(RoundToBf16, RoundsAsGgmlDoesAboutEveryBf16Number) {
  for (uint32_t upper = 0; upper <= 0xffff; ++upper) {
    for (const uint32_t lower : {0x0000U, 0x0001U, 0x7fffU, 0x8000U, 0x8001U, 0xffffU}) {
      ASSERT_TRUE(rounds_as_ggml(upper << 16 | lower));
    }
  }
}

TEST(RoundToBf16, RoundsTiesToEvenAndTheLargestToInfinity) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kUlp = 0x1p-7F;  // of BF16 numbers from 1 to 2
  EXPECT_EQ(round_to_bf16(1 + kUlp / 2), 1);
  EXPECT_EQ(round_to_bf16(1 + 3 * kUlp / 2), 1 + 2 * kUlp);
  EXPECT_EQ(round_to_bf16(-1 - kUlp / 2), -1);
  EXPECT_EQ(round_to_bf16(0x1p-134F), 0);              // half of the least denormal
  EXPECT_EQ(round_to_bf16(0x1.8p-133F), 0x1p-132F);    // one and a half of it
  EXPECT_EQ(round_to_bf16(0x1.fep127F), 0x1.fep127F);  // the largest
  EXPECT_EQ(round_to_bf16(std::nextafter(0x1.ffp127F, 0.0F)), 0x1.fep127F);
  EXPECT_EQ(round_to_bf16(0x1.ffp127F), kInfinity);
  EXPECT_EQ(round_to_bf16(-std::numeric_limits<float>::max()), -kInfinity);
}

TEST(RoundToBf16, KeepsInfinitiesZerosAndNaN) {
  for (const float x : {std::numeric_limits<float>::infinity(), 0.0F, 1.0F}) {
    EXPECT_EQ(std::bit_cast<uint32_t>(round_to_bf16(x)), std::bit_cast<uint32_t>(x));
    EXPECT_EQ(std::bit_cast<uint32_t>(round_to_bf16(-x)), std::bit_cast<uint32_t>(-x));
  }
  // Adding to the last two, whose upper halves are those of infinity and of all ones, would
  // overflow.
  for (const uint32_t bits : {0x7fc00000U, 0xffc00000U, 0x7f800001U, 0x7fffffffU, 0xffffffffU}) {
    EXPECT_TRUE(std::isnan(round_to_bf16(std::bit_cast<float>(bits)))) << std::hex << bits;
  }
}

// Every F16, in both directions; ggml's conversions are the reference.
TEST(F16, EveryNumberIsReadAndWrittenAsByGgml) {
  for (uint32_t bits = 0; bits <= UINT16_MAX; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = f16_value(half);
    if (std::isnan(ggml_fp16_to_fp32(half))) {
      EXPECT_TRUE(std::isnan(value)) << std::hex << bits;
      continue;
    }
    EXPECT_EQ(std::bit_cast<uint32_t>(value), std::bit_cast<uint32_t>(ggml_fp16_to_fp32(half)))
        << std::hex << bits;
    EXPECT_EQ(f16_bits(value), half) << std::hex << bits;
  }
}

// Halfway to the next F16, and on either side of it.
TEST(F16, RoundsAsGgmlDoes) {
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {  // to the largest
    const float value = f16_value(static_cast<uint16_t>(bits));
    const float next = bits == 0x7bff ? 65536 : f16_value(static_cast<uint16_t>(bits + 1));
    const float halfway = value + (next - value) / 2;
    for (const float x :
         {halfway, std::nextafter(halfway, 0.0F), std::nextafter(halfway, 65536.0F)}) {
      EXPECT_EQ(f16_bits(x), ggml_fp32_to_fp16(x)) << x;
      EXPECT_EQ(f16_bits(-x), ggml_fp32_to_fp16(-x)) << x;
      EXPECT_EQ(round_to_f16(x), ggml_fp16_to_fp32(ggml_fp32_to_fp16(x))) << x;
    }
  }
}

}  // namespace
}  // namespace isogloss
