// Contract of isogloss/calibrate/imatrix.h.
//
// tests/data/imatrix holds what llama-imatrix of the pinned llama.cpp wrote of tests/data/families/
// gpt2 as GGUF: `-c 32 --chunks 3 -t 1`, a sentence again and again, --output-format gguf and dat.
#include "isogloss/calibrate/imatrix.h"

#include <gtest/gtest.h>

#include <cmath>

#include "isogloss/base/file.h"
#include "tests/loaded_model.h"
#include "tests/model_files.h"

namespace isogloss {
namespace {

using Numbers = std::vector<float>;

const std::string kQuery = "blk.0.attn_q.weight";
const std::string kExperts = "blk.0.ffn_up_exps.weight";

Imatrix sample() {
  Imatrix imatrix;
  imatrix.datasets = {"builtin:en"};
  imatrix.chunk_count = 7;
  imatrix.chunk_size = 512;
  imatrix.entries[kQuery] = {.squares = {2, 8, 0, 4}, .counts = {4}};
  imatrix.entries[kExperts] = {.squares = {1, 3, 0, 0, 8, 2}, .counts = {2, 0, 4}};
  return imatrix;
}

// Like sample(), of other numbers.
Imatrix other_sample() {
  Imatrix imatrix = sample();
  imatrix.datasets = {"builtin:de"};
  imatrix.entries[kQuery] = {.squares = {0, 0, 8, 0}, .counts = {12}};
  imatrix.entries[kExperts] = {.squares = {0, 0, 6, 9, 8, 2}, .counts = {0, 3, 4}};
  return imatrix;
}

// sample(), by the writer of files of model_files.h.
GgufFile sample_gguf() {
  const Imatrix imatrix = sample();
  GgufFile file;
  file.set_string("general.type", "imatrix");
  file.set_strings("imatrix.datasets", imatrix.datasets);
  file.set_u32("imatrix.chunk_count", imatrix.chunk_count);
  file.set_u32("imatrix.chunk_size", imatrix.chunk_size);
  for (const auto& [name, entry] : imatrix.entries) {
    const uint64_t matrices = entry.counts.size();
    const uint64_t cols = entry.squares.size() / matrices;
    file.tensors.push_back({{name + ".in_sum2", {matrices, cols}, bytes_of(entry.squares)}, 0, {}});
    file.tensors.push_back({{name + ".counts", {matrices, 1}, bytes_of(entry.counts)}, 0, {}});
  }
  return file;
}

// A .dat file as a list of what is in it.
struct DatFile {
  struct Entry {
    std::string name;
    int32_t calls;
    Numbers numbers;
    std::optional<int32_t> name_size, count;
  };
  int32_t entry_count = 2;
  std::vector<Entry> entries = {{kQuery, 3, {2, 8, 0, 4}, {}, {}}, {"other", 1, {5}, {}, {}}};
  std::string tail = bytes_of(int32_t{9}) + bytes_of(int32_t{4}) + "text";

  std::string bytes() const {
    std::string file = bytes_of(entry_count);
    for (const Entry& entry : entries) {
      file += bytes_of(entry.name_size.value_or(static_cast<int32_t>(entry.name.size())));
      file += entry.name + bytes_of(entry.calls);
      file += bytes_of(entry.count.value_or(static_cast<int32_t>(entry.numbers.size())));
      file += bytes_of(entry.numbers);
    }
    return file + tail;
  }
};

class Imatrices : public testing::Test {
 protected:
  Imatrix read(std::string_view bytes) { return read_imatrix(directory_.write("file", bytes)); }
  Failure refusal(std::string_view bytes) {
    return failure_of([&] { read(bytes); });
  }
  std::string gguf_of(const Imatrix& imatrix) {
    write_imatrix(imatrix, directory_.path() / "out");
    return read_text_file(directory_.path() / "out");
  }
  std::string dat_of(const Imatrix& imatrix) {
    write_imatrix_dat(imatrix, directory_.path() / "out");
    return read_text_file(directory_.path() / "out");
  }
  // After each test of damage the valid twins are read.
  void TearDown() override {
    EXPECT_EQ(read(sample_gguf().bytes()), sample());
    EXPECT_EQ(read(DatFile().bytes()).entries.size(), 2U);
  }
  testing::AssertionResult refuses_gguf(const std::function<void(GgufFile&)>& damage,
                                        ErrorCode code, const Strings& parts) {
    GgufFile file = sample_gguf();
    damage(file);
    return says(refusal(file.bytes()), code, parts);
  }
  testing::AssertionResult refuses_dat(const std::function<void(DatFile&)>& damage, ErrorCode code,
                                       const Strings& parts) {
    DatFile file;
    damage(file);
    return says(refusal(file.bytes()), code, parts);
  }

  TemporaryDirectory directory_;
};

// ---- Files -------------------------------------------------------------------------------------

TEST_F(Imatrices, OfLlamaImatrixAreReadAndWrittenByteForByte) {
  const auto stem = repository_path("tests/data/imatrix/llama-imatrix");
  const Imatrix gguf = read_imatrix(stem.string() + ".gguf");
  const Imatrix dat = read_imatrix(stem.string() + ".dat");
  EXPECT_EQ(gguf.chunk_count, 3U);
  EXPECT_EQ(gguf.chunk_size, 32U);
  EXPECT_EQ(gguf.datasets, Strings{"fox.txt"});
  EXPECT_EQ(gguf.entries.size(), dat.entries.size());
  for (const auto& [name, entry] : gguf.entries) {
    EXPECT_EQ(entry.counts, Numbers{96}) << name;  // three chunks of 32 tokens
    EXPECT_EQ(dat.entries.at(name).counts, Numbers{3}) << name;
    const Numbers means = gguf.means(name);
    const Numbers older = dat.means(name);
    ASSERT_EQ(means.size(), older.size());
    // llama-imatrix rounds three times to float on its way into a .dat file.
    for (size_t i = 0; i < means.size(); ++i) EXPECT_NEAR(older[i], means[i], 0x1p-22 * means[i]);
  }
  EXPECT_EQ(gguf_of(gguf), read_text_file(stem.string() + ".gguf"));
  EXPECT_EQ(dat_of(dat), read_text_file(stem.string() + ".dat"));
}

TEST_F(Imatrices, ComeBackFromGgufAsTheyWere) {
  EXPECT_EQ(read(gguf_of(sample())), sample());
  Imatrix bare = sample();
  bare.datasets.clear();
  bare.entries.erase(kExperts);
  EXPECT_EQ(read(gguf_of(bare)), bare);
}

TEST_F(Imatrices, KeepTheirMeansInTheOlderForm) {
  Imatrix imatrix = sample();
  imatrix.entries[kQuery] = {.squares = {1300, 0, 13, 26}, .counts = {1300}};  // in 3 chunks
  imatrix.datasets.push_back("the last");
  imatrix.entries["unseen"] = {.squares = {0, 0}, .counts = {0}};
  const Imatrix older = read(dat_of(imatrix));
  EXPECT_EQ(older.entries.at(kQuery), (ImatrixEntry{{3, 0, 0.03F, 0.06F}, {3}}));
  EXPECT_EQ(older.entries.at(kExperts), (ImatrixEntry{{0.5, 1.5, 1, 1, 2, 0.5}, {1}}));
  EXPECT_FALSE(older.entries.contains("unseen"));
  EXPECT_EQ(older.datasets, Strings{"the last"});
  EXPECT_EQ(older.chunk_count, 7U);
  EXPECT_EQ(older.chunk_size, 0U);  // the form has no place for it
  EXPECT_EQ(read(dat_of(older)), older);
}

TEST_F(Imatrices, AreNotWrittenWhereNoReaderWouldTakeThem) {
  const auto path = directory_.path() / "out";
  using Write = void (*)(const Imatrix&, const std::filesystem::path&);
  for (const Write write : {Write{write_imatrix}, Write{write_imatrix_dat}}) {
    const auto refused = [&](const Imatrix& imatrix, ErrorCode code, const std::string& part) {
      return says(failure_of([&] { write(imatrix, path); }), code, {path.string(), part});
    };
    EXPECT_TRUE(refused({}, ErrorCode::kBadArgument, "without entries"));
    Imatrix imatrix = sample();
    imatrix.entries[std::string(64, 'x')] = {{1}, {1}};
    EXPECT_TRUE(refused(imatrix, ErrorCode::kBadArgument, "its name has 64 bytes"));
    imatrix = sample();
    imatrix.entries[kQuery].squares[1] = INFINITY;
    EXPECT_TRUE(refused(imatrix, ErrorCode::kNotFinite, kQuery));
    EXPECT_FALSE(std::filesystem::exists(path));
  }
  Imatrix imatrix = sample();
  imatrix.entries = {{"w", {{1}, {0}}}};
  EXPECT_TRUE(says(failure_of([&] { write_imatrix_dat(imatrix, path); }), ErrorCode::kBadArgument,
                   {"counted nothing"}));
  imatrix.entries = {{std::string(55, 'x'), {{1}, {3e38F}}}};
  imatrix.chunk_size = 1;
  EXPECT_TRUE(says(failure_of([&] { write_imatrix_dat(imatrix, path); }), ErrorCode::kBadArgument,
                   {"calls", "2147483647"}));
  EXPECT_EQ(read(gguf_of(imatrix)), imatrix);
  imatrix.entries = {{std::string(56, 'x'), {{1}, {1}}}};
  EXPECT_TRUE(says(failure_of([&] { write_imatrix(imatrix, path); }), ErrorCode::kBadArgument,
                   {"can have 55"}));
}

TEST_F(Imatrices, AreRefusedWhenCutAnywhere) {
  const std::string gguf = sample_gguf().bytes();  // without padding at its end
  for (size_t size = 0; size < gguf.size(); ++size) {
    EXPECT_EQ(refusal(gguf.substr(0, size)).code, ErrorCode::kCorrupt) << size;
  }
  const std::string dat = DatFile().bytes();
  const size_t entries = dat.size() - DatFile().tail.size();
  for (size_t size = 0; size < dat.size(); ++size) {
    if (size == entries) continue;  // the oldest files end here
    EXPECT_EQ(refusal(dat.substr(0, size)).code, ErrorCode::kCorrupt) << size;
  }
  EXPECT_EQ(read(dat.substr(0, entries)).entries.size(), 2U);
}

TEST_F(Imatrices, SurviveAnyByteThatIsChanged) {
  for (const std::string& whole : {sample_gguf().bytes(), DatFile().bytes()}) {
    for (size_t i = 0; i < whole.size(); ++i) {
      for (const int change : {1, 0x80}) {
        std::string damaged = whole;
        damaged[i] = static_cast<char>(static_cast<unsigned char>(damaged[i]) ^ change);
        refusal(damaged);  // throws Error or reads something, and nothing else
      }
    }
  }
}

TEST_F(Imatrices, NameAFileThatIsNotThere) {
  const auto path = directory_.path() / "none";
  EXPECT_TRUE(says(failure_of([&] { read_imatrix(path); }), ErrorCode::kNotFound, {path.string()}));
}

// ---- GGUF --------------------------------------------------------------------------------------

TEST_F(Imatrices, AreNotReadFromAModel) {
  EXPECT_TRUE(says(refusal(tiny_gguf(Family::kGpt2).bytes()), ErrorCode::kCorrupt,
                   {"is no importance matrix", "general.type"}));
  EXPECT_TRUE(refuses_gguf([](auto& file) { file.set_string("general.type", "adapter"); },
                           ErrorCode::kCorrupt, {"general.type is 'adapter'"}));
  EXPECT_TRUE(refuses_gguf([](auto& file) { file.version = 4; }, ErrorCode::kUnsupported,
                           {"GGUF version 4"}));
}

TEST_F(Imatrices, NeedTheKeysThatLlamaQuantizeNeeds) {
  for (const char* key :
       {"general.type", "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"}) {
    EXPECT_TRUE(refuses_gguf([&](auto& file) { file.erase_key(key); }, ErrorCode::kCorrupt,
                             {"no key", key}));
    EXPECT_TRUE(refuses_gguf([&](auto& file) { file.set_f32(key, 1); }, ErrorCode::kCorrupt,
                             {"general.type" == std::string(key) ? "general.type" : key}));
    EXPECT_TRUE(refuses_gguf([&](auto& file) { file.keys.push_back(file.key(key)); },
                             ErrorCode::kCorrupt, {key, "twice"}));
  }
  EXPECT_TRUE(refuses_gguf(
      [](auto& file) { file.set_numbers("imatrix.datasets", kGgufU32, std::vector<uint32_t>{1}); },
      ErrorCode::kCorrupt, {"imatrix.datasets", "array of strings"}));
  EXPECT_TRUE(refuses_gguf([](auto& file) { file.set("more", 13, ""); }, ErrorCode::kCorrupt,
                           {"more", "value type 13"}));
}

TEST_F(Imatrices, ReadPastKeysAndTensorsTheyDoNotKnow) {
  GgufFile file = sample_gguf();
  file.set_numbers("a.list", kGgufU64, std::vector<uint64_t>{1, 2});
  file.set_strings("a.list.of.strings", {"x", "y"});
  file.set_string("a.string", "x");
  file.set("a.flag", kGgufBool, std::string(1, '\1'));
  file.tensors.push_back({{kQuery + ".in_sum", {4}}, 30, {}});  // BF16
  EXPECT_EQ(read(file.bytes()), sample());
}

TEST_F(Imatrices, HonourTheAlignmentOfTheirFile) {
  GgufFile file = sample_gguf();
  file.alignment = 128;
  file.set_u32("general.alignment", 128);
  EXPECT_EQ(read(file.bytes()), sample());
  for (const uint32_t alignment : {0U, 3U, 1U << 31}) {
    file.set_u32("general.alignment", alignment);
    EXPECT_EQ(refusal(file.bytes()).code, ErrorCode::kCorrupt);
  }
}

TEST_F(Imatrices, AreRefusedForTensorsThatContradictEachOther) {
  const std::string sums = kExperts + ".in_sum2";
  const std::string counts = kExperts + ".counts";
  const auto refuses = [&](const std::function<void(GgufFile&)>& damage, const Strings& parts) {
    return refuses_gguf(damage, ErrorCode::kCorrupt, parts);
  };
  EXPECT_TRUE(refuses(
      [&](auto& file) {
        std::erase_if(file.tensors, [&](const auto& tensor) { return tensor.name == counts; });
      },
      {kExperts, "6 sums for 0 counts"}));
  EXPECT_TRUE(refuses([&](auto& file) { file.tensor(counts).name = "else.counts"; },
                      {"0 counts", kExperts}));
  EXPECT_TRUE(refuses([&](auto& file) { file.tensor(sums).type = 1; }, {sums, "type 1", "F32"}));
  EXPECT_TRUE(refuses([&](auto& file) { file.tensor(counts).type = 8; }, {counts, "type 8"}));
  EXPECT_TRUE(refuses(
      [&](auto& file) {
        file.tensor(counts).shape = {2, 1};
      },
      {kExperts, "rows of 2", "2 counts"}));
  EXPECT_TRUE(refuses(
      [&](auto& file) {
        file.tensor(sums).shape = {2, 3};
      },
      {kExperts, "rows of 3", "3 counts"}));
  EXPECT_TRUE(refuses([&](auto& file) { file.tensor(sums).shape = {0, 2}; }, {kExperts, "0 sums"}));
  EXPECT_TRUE(refuses([&](auto& file) { file.tensor(sums).shape = {}; }, {sums, "0 dimensions"}));
  EXPECT_TRUE(refuses(
      [&](auto& file) {
        file.tensor(sums).shape = {1, 1, 1, 3, 2};
      },
      {sums, "5 dimensions"}));
  EXPECT_TRUE(refuses(
      [&](auto& file) {
        file.tensor(sums).shape = {1ULL << 40, 1ULL << 40};
      },
      {sums, "64 bits"}));
  EXPECT_TRUE(refuses(
      [&](auto& file) {
        file.tensor(sums).shape = {1ULL << 62, 1};
      },
      {sums, "64 bits"}));
  EXPECT_TRUE(refuses(
      [&](auto& file) {
        file.tensor(sums).shape = {1ULL << 30, 2};
      },
      {sums, "perhaps the file is truncated"}));
  EXPECT_TRUE(refuses([&](auto& file) { file.tensor(sums).offset = 1ULL << 63; }, {sums, "at 9"}));
  EXPECT_TRUE(refuses([&](auto& file) { file.tensor(counts).name = sums; }, {sums, "twice"}));
}

TEST_F(Imatrices, BoundTheMemoryByTheFile) {
  // Many tensors that all lie in the same place would be read into many times the file's size.
  GgufFile file = sample_gguf();
  const std::string data(size_t{1} << 12, '\0');
  for (int i = 0; i < 9; ++i) {
    const std::string name = fmt::format("t{}.in_sum2", i);
    file.tensors.push_back({{name, {1, 1024}, i == 0 ? data : ""}, 0, {}});
    file.tensors.back().offset = 128;
  }
  EXPECT_TRUE(says(refusal(file.bytes()), ErrorCode::kCorrupt, {"overlaps"}));
}

TEST_F(Imatrices, AreRefusedForCountsTheFileCannotHold) {
  for (const uint64_t count : {uint64_t{5}, uint64_t{1} << 40, ~uint64_t{0}}) {
    EXPECT_TRUE(refuses_gguf([=](auto& file) { file.key_count = count; }, ErrorCode::kCorrupt, {}));
    EXPECT_TRUE(
        refuses_gguf([=](auto& file) { file.tensor_count = count; }, ErrorCode::kCorrupt, {}));
  }
  EXPECT_TRUE(refuses_gguf(
      [](auto& file) { file.set("k", kGgufArray, gguf_array(kGgufString, 1ULL << 60, "")); },
      ErrorCode::kCorrupt, {}));
  EXPECT_TRUE(
      refuses_gguf([](auto& file) { file.tensors.clear(); }, ErrorCode::kCorrupt, {"no entries"}));
}

TEST_F(Imatrices, BoundTheNamesOfTensors) {
  for (const std::string& name :
       {std::string(), std::string(64, 'x') + ".counts", std::string("a\0b.counts", 10)}) {
    EXPECT_TRUE(refuses_gguf([&](auto& file) { file.tensors[0].name = name; }, ErrorCode::kCorrupt,
                             {"the name of an entry"}));
  }
}

TEST_F(Imatrices, AreRefusedForNumbersThatAreNoSums) {
  for (const auto& [bad, code] :
       {std::pair{NAN, ErrorCode::kNotFinite}, std::pair{INFINITY, ErrorCode::kNotFinite},
        std::pair{-1.0F, ErrorCode::kCorrupt}}) {
    Numbers squares = sample().entries[kQuery].squares;
    squares[2] = bad;
    EXPECT_TRUE(
        refuses_gguf([&](auto& file) { file.tensor(kQuery + ".in_sum2").data = bytes_of(squares); },
                     code, {kQuery, "place 2"}));
    EXPECT_TRUE(refuses_gguf(
        [&](auto& file) { file.tensor(kQuery + ".counts").data = bytes_of(Numbers{bad}); }, code,
        {kQuery, "place 0"}));
    EXPECT_TRUE(refuses_dat([&](auto& file) { file.entries[0].numbers = squares; }, code,
                            {kQuery, "place 2"}));
  }
}

// ---- .dat --------------------------------------------------------------------------------------

TEST_F(Imatrices, OfTheOlderFormAreRefusedForLengthsThatAreNone) {
  const auto refuses = [&](const std::function<void(DatFile&)>& damage, const Strings& parts) {
    return refuses_dat(damage, ErrorCode::kCorrupt, parts);
  };
  EXPECT_TRUE(refuses([](auto& file) { file.entry_count = 0; }, {"no entries"}));
  EXPECT_TRUE(refuses([](auto& file) { file.entry_count = -2; }, {"count of entries is -2"}));
  EXPECT_TRUE(refuses([](auto& file) { file.entry_count = 1 << 30; }, {}));
  EXPECT_TRUE(refuses([](auto& file) { file.entry_count = 1; }, {"data set"}));
  EXPECT_TRUE(refuses([](auto& file) { file.entries[1].name = kQuery; }, {kQuery, "twice"}));
  EXPECT_TRUE(refuses([](auto& file) { file.entries[0].name_size = -1; }, {"name 0 of 2 is -1"}));
  EXPECT_TRUE(refuses([](auto& file) { file.entries[0].name_size = 1 << 30; }, {"truncated"}));
  EXPECT_TRUE(refuses([](auto& file) { file.entries[0].name = std::string(64, 'n'); },
                      {"64 bytes", "1 to 63"}));
  EXPECT_TRUE(refuses([](auto& file) { file.entries[0].name = ""; }, {"0 bytes"}));
  EXPECT_TRUE(refuses([](auto& file) { file.entries[0].calls = -1; }, {"calls", kQuery, "-1"}));
  EXPECT_TRUE(refuses([](auto& file) { file.entries[0].count = -4; }, {kQuery, "is -4"}));
  EXPECT_TRUE(refuses([](auto& file) { file.entries[1].count = 1 << 30; }, {"other", "truncated"}));
  EXPECT_TRUE(refuses([](auto& file) { file.entries[0].numbers.clear(); }, {kQuery, "0 sums"}));
  EXPECT_TRUE(refuses([](auto& file) { file.tail += "x"; }, {"1 bytes after its end"}));
  EXPECT_TRUE(refuses([](auto& file) { file.tail[4] = '\xff'; }, {"data set"}));
}

TEST_F(Imatrices, OfTheOlderFormMayHaveNoCallsAndNoDataSet) {
  DatFile file;
  file.entries[1].calls = 0;
  file.tail = bytes_of(int32_t{9}) + bytes_of(int32_t{0});
  const Imatrix imatrix = read(file.bytes());
  EXPECT_TRUE(imatrix.datasets.empty());
  EXPECT_TRUE(imatrix.means("other").empty());
  EXPECT_EQ(imatrix.means(kQuery).size(), 4U);
}

// ---- Means and merging -------------------------------------------------------------------------

TEST_F(Imatrices, HaveMeansOverTheTokensTheyCounted) {
  Imatrix imatrix = sample();
  EXPECT_EQ(imatrix.means(kQuery), (Numbers{0.5, 2, 0, 1}));
  EXPECT_EQ(imatrix.means(kExperts), (Numbers{0.5, 1.5, 1, 1, 2, 0.5}));  // nothing counted: ones
  EXPECT_TRUE(imatrix.means("blk.9.attn_q.weight").empty());
  imatrix.entries[kQuery].counts = {0};
  EXPECT_TRUE(imatrix.means(kQuery).empty());
}

TEST_F(Imatrices, MergeByTheTokensTheyCounted) {
  const Imatrix parts[] = {sample(), other_sample()};
  const Imatrix merged = merge(parts);
  EXPECT_EQ(merged.entries.at(kQuery), (ImatrixEntry{{2, 8, 8, 4}, {16}}));
  EXPECT_EQ(merged.entries.at(kExperts), (ImatrixEntry{{1, 3, 6, 9, 16, 4}, {2, 3, 8}}));
  EXPECT_EQ(merged.datasets, (Strings{"builtin:en", "builtin:de"}));
  EXPECT_EQ(merged.chunk_count, 14U);
  EXPECT_EQ(merged.chunk_size, 512U);
  EXPECT_EQ(merge(std::span(parts, 1)), sample());
  EXPECT_EQ(merge({}), Imatrix{});
}

TEST_F(Imatrices, MergedFromChunksOfSeveralSizesCountTokens) {
  Imatrix parts[] = {sample(), sample()};
  parts[1].chunk_size = 100;
  parts[1].chunk_count = 6;
  EXPECT_EQ(merge(parts).chunk_size, 512U);
  EXPECT_EQ(merge(parts).chunk_count, 9U);  // 7 of 512 and 600 tokens
  parts[1].chunk_count = 0xffffffff;
  parts[1].chunk_size = 0xffffffff;
  EXPECT_EQ(merge(parts).chunk_count, 0xffffffff);
}

TEST_F(Imatrices, ThatCountChunksAddUpWithTheirLikeOnly) {
  const Imatrix older = read(DatFile().bytes());
  const Imatrix same[] = {older, older};
  EXPECT_EQ(merge(same).entries.at(kQuery), (ImatrixEntry{{4, 16, 0, 8}, {6}}));
  EXPECT_EQ(merge(same).chunk_count, 18U);
  const Imatrix mixed[] = {older, sample()};
  EXPECT_TRUE(says(failure_of([&] { merge(mixed); }), ErrorCode::kMismatch, {".dat", "chunks"}));
}

TEST_F(Imatrices, DoNotMergeWithThoseOfAnotherModel) {
  Imatrix other = sample();
  other.entries[kQuery].squares.push_back(1);
  const Imatrix parts[] = {sample(), other};
  EXPECT_TRUE(
      says(failure_of([&] { merge(parts); }), ErrorCode::kMismatch, {kQuery, "different models"}));
}

}  // namespace
}  // namespace isogloss
