// Contract of isogloss/write/write.h for Hugging Face directories: what is in them, that it is read
// back to the bit, and that nothing is left behind.
#include <gtest/gtest.h>

#include "tests/directories.h"
#include "tests/file_size_limit.h"
#include "tests/nmse.h"

namespace isogloss {
namespace {

// ---- every family in both layouts

using FamilyAndFormat = std::tuple<std::string, FileFormat>;

class FamilyDirectory : public testing::TestWithParam<FamilyAndFormat> {
 protected:
  std::string family() const { return std::get<0>(GetParam()); }
  FileFormat format() const { return std::get<1>(GetParam()); }
  bool is_refused() const {
    return family() == "gpt2" && format() == FileFormat::kCompressedTensors;
  }

  TemporaryDirectory directory_;
};

TEST_P(FamilyDirectory, IsReadBackToTheBitAndIsAsLargeAsPlanned) {
  Codes codes(family_path(family()), format());
  const fs::path target = directory_.path() / "out";
  if (is_refused()) {
    EXPECT_TRUE(says(failure_of([&] { codes.write(target); }), ErrorCode::kUnsupported,
                     {"Conv1D", "gptq and gguf"}));
    EXPECT_TRUE(fs::is_empty(directory_.path()));
    return;
  }
  const WritePlan plan = plan_write(codes.request());
  codes.write(target);
  expect_read_back(codes, target);
  EXPECT_EQ(plan.file_bytes, weight_bytes(target));
  const Model found = read_model(target);
  ASSERT_EQ(plan.tensors.size(), found.tensors().size());
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    EXPECT_EQ(plan.tensors[i].tensor, i);
    EXPECT_EQ(plan.tensors[i].size_bytes, found.tensors()[i].size_bytes());
  }
  EXPECT_EQ(names_in(directory_.path()), Strings{"out"});
}

// tests/reference/check_directories.py compares the logits with those of other programs.
void keep(const fs::path& directory, const std::string& name,
          const std::vector<FamilySample>& samples) {
  const char* place = std::getenv("ISOGLOSS_KEEP_DIRECTORIES");
  if (place == nullptr) return;
  const fs::path kept = fs::path(place) / name;
  fs::create_directories(kept);
  fs::copy(directory, kept, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  Json list = Json::array();
  for (const FamilySample& sample : samples) {
    list.push_back({{"ids", sample.ids}, {"last_logits", sample.logits}});
  }
  std::ofstream(kept / "isogloss_logits.json") << list.dump();
}

// Logits of the last positions, by the file and by the numbers that its codes stand for.
void expect_same_logits(Codes& codes, const fs::path& target, const std::string& name) {
  codes.write(target);
  LoadedModel written(target);
  LoadedModel source(codes.model.path());
  TensorOverrides overrides;
  for (size_t i = 0; i < codes.model.tensors().size(); ++i) {
    const FinishedTensor finished = codes.finish(i);
    if (!finished.encoded) continue;
    overrides[i] = std::make_shared<const std::vector<float>>(numbers_of(*finished.encoded));
  }
  Variant expected = source.stored();
  expected.overrides = &overrides;
  std::vector<FamilySample> samples = read_family_reference(codes.model.path().filename());
  for (FamilySample& sample : samples) {
    const HiddenStates logits = written.logits(written.stored(), sample.ids);
    const HiddenStates others = source.logits(expected, sample.ids);
    const size_t last = sample.ids.size() - 1;
    EXPECT_TRUE(std::ranges::equal(logits.row(last), others.row(last))) << sample.name;
    sample.logits.assign(logits.row(last).begin(), logits.row(last).end());
  }
  keep(target, name, samples);
}

TEST_P(FamilyDirectory, ComputesWithTheNumbersOfItsCodes) {
  if (is_refused()) GTEST_SKIP() << "the layout cannot hold the family";
  Codes codes(family_path(family()), format());
  const fs::path target = directory_.path() / "out";
  const std::string name = fmt::format("{}_{}", to_string(format()), family());
  expect_same_logits(codes, target, name);
  // transformers 5.24 loads no others of compressed-tensors (its own zero points are not packed).
  for (Scheme& scheme : codes.assignment.schemes) scheme.asymmetric = false;
  expect_same_logits(codes, target, name + "_symmetric");
}

std::string family_and_format(const testing::TestParamInfo<FamilyAndFormat>& info) {
  std::string name =
      std::string(to_string(std::get<1>(info.param))) + "_" + std::get<0>(info.param);
  std::ranges::replace(name, '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(, FamilyDirectory,
                         testing::Combine(testing::ValuesIn(family_names()),
                                          testing::ValuesIn(kDirectories)),
                         family_and_format);

// ---- files

TEST_F(Directory, HasShardsThatAreNoLargerThanAsked) {
  for (const FileFormat format : kDirectories) {
    Codes llama = codes("llama", format);
    llama.shard_bytes = 20'000;
    const WritePlan plan = plan_write(llama.request());
    llama.write(target());
    expect_read_back(llama, target());
    EXPECT_EQ(plan.file_bytes, weight_bytes(target()));
    const Json index = json_of(target() / "model.safetensors.index.json");
    std::map<std::string, size_t> tensors;  // by shard
    for (const auto& [name, shard] : index["weight_map"].items()) ++tensors[shard];
    EXPECT_GT(tensors.size(), 3U);
    uint64_t planned = 0;
    for (const PlannedTensor& tensor : plan.tensors) planned += tensor.size_bytes;
    EXPECT_EQ(index["metadata"]["total_size"], planned);
    for (const auto& [shard, count] : tensors) {
      const uint64_t bytes = fs::file_size(target() / shard);
      EXPECT_TRUE(bytes <= llama.shard_bytes || count == 1) << shard << ": " << bytes;
      EXPECT_GT(bytes, llama.shard_bytes / 4) << shard;
    }
    EXPECT_FALSE(fs::exists(target() / "model.safetensors"));
  }
}

TEST_F(Directory, IsTheSameBytesTwice) {
  for (const FileFormat format : kDirectories) {
    Codes phi3 = codes("phi3", format);
    phi3.shard_bytes = 30'000;
    phi3.write(target());
    const auto first = contents_of(target());
    phi3.write(target());
    EXPECT_EQ(contents_of(target()), first);
    EXPECT_EQ(names_in(directory_.path()), Strings{"out"});
  }
}

TEST_F(Directory, HasTheSourcesTokenizerAndConfigurationInTheirOrder) {
  const fs::path source = directory_.path() / "source";
  fs::copy(family_path("llama"), source);
  std::ofstream(source / "merges.txt") << "a b\n";
  std::ofstream(source / "notes.md") << "not of the model";
  Codes llama(source, FileFormat::kGptq);
  llama.write(target());
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "merges.txt"}) {
    EXPECT_EQ(read_text_file(target() / name), read_text_file(source / name)) << name;
  }
  EXPECT_FALSE(fs::exists(target() / "notes.md"));
  Json config = json_of(target() / "config.json");
  EXPECT_EQ(config["quantization_config"], json_of(target() / "quantize_config.json"));
  config.erase("quantization_config");
  EXPECT_EQ(config.dump(), json_of(source / "config.json").dump());
}

TEST_F(Directory, SaysInEveryFileHowItWasMadeAndAlignsItsTensors) {
  const std::map<std::string, uint64_t> widths = {
      {"I64", 8}, {"I32", 4}, {"F32", 4}, {"F16", 2}, {"BF16", 2}};
  Codes opt = codes("opt", FileFormat::kCompressedTensors);
  opt.shard_bytes = 20'000;
  opt.write(target());
  for (const std::string& name : names_in(target())) {
    if (!name.ends_with(".safetensors")) continue;
    const Json header = header_of(target() / name);
    EXPECT_EQ(header["__metadata__"]["format"], "pt");
    EXPECT_EQ(header["__metadata__"]["isogloss.made"], "by \"a\" test");
    uint64_t end = 0;
    for (const auto& [tensor, entry] : header.items()) {
      if (tensor == "__metadata__") continue;
      EXPECT_EQ(entry["data_offsets"][0], end) << tensor;
      EXPECT_EQ(end % widths.at(entry["dtype"]), 0U) << tensor;
      end = entry["data_offsets"][1];
    }
  }
}

// ---- numbers that were changed

TEST_F(Directory, StoresChangedNumbersAsTheTypeAndInTheOrderOfTheFile) {
  // Norms less one, Conv1D, q, k and v by head.
  const std::vector<std::pair<std::string, Role>> cases = {{"gemma3", Role::kAttentionNorm},
                                                           {"gpt2", Role::kFfnUp},
                                                           {"bloom", Role::kQkvBias},
                                                           {"gpt-neox", Role::kQkv}};
  for (const auto& [family, role] : cases) {
    SCOPED_TRACE(family);
    Codes codes(family_path(family), FileFormat::kGptq);
    codes.assignment = unchanged(codes.model);
    const size_t changed = *codes.model.find_tensor(role, 1);
    std::vector<float> numbers = codes.numbers(changed);
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = 1 + static_cast<float>(i % 97) / 128;
    const auto writer = open_writer(codes.request(), target());
    for (size_t i = 0; i < codes.model.tensors().size(); ++i) {
      writer->write({i, std::nullopt, i == changed ? numbers : std::vector<float>{}});
    }
    writer->commit();
    const Model found = read_model(target());
    std::vector<float> decoded(numbers.size());
    decode(found.tensors()[changed], decoded);
    EXPECT_EQ(decoded, numbers);
    EXPECT_EQ(found.tensors()[changed].type, codes.model.tensors()[changed].type);
    fs::remove_all(target());  // unquantized: it would not be written over
  }
}

// ---- places

TEST_F(Directory, LeavesNothingBehindWithoutCommit) {
  Codes llama = codes("llama", FileFormat::kGptq);
  {
    const auto writer = open_writer(llama.request(), target());
    for (size_t i = 0; i < 5; ++i) writer->write(llama.finish(i));
    EXPECT_FALSE(fs::exists(target()));
  }
  EXPECT_TRUE(fs::is_empty(directory_.path()));
}

TEST_F(Directory, LeavesTheEarlierOneWhenTheDiskIsFull) {
  Codes llama = codes("llama", FileFormat::kCompressedTensors);
  llama.write(target());
  const auto before = contents_of(target());
  for (const rlim_t room : {0, 100, 30'000}) {
    const FileSizeLimit limit(room);
    EXPECT_TRUE(says(failure_of([&] { llama.write(target()); }), ErrorCode::kIo, {"out."}));
  }
  EXPECT_EQ(contents_of(target()), before);
  EXPECT_EQ(names_in(directory_.path()), Strings{"out"});
  llama.write(target());
  EXPECT_EQ(contents_of(target()), before);
}

TEST_F(Directory, TakesThePlaceOfAnEarlierOneWithAllItsFiles) {
  Codes llama = codes("llama", FileFormat::kGptq);
  llama.shard_bytes = 20'000;
  fs::create_directory(target());  // an empty one is as good as none
  llama.write(target());
  EXPECT_TRUE(fs::exists(target() / "quantize_config.json"));
  Codes other = codes("llama", FileFormat::kCompressedTensors);
  other.write(target());
  EXPECT_EQ(names_in(target()), (Strings{"config.json", "model.safetensors", "tokenizer.json",
                                         "tokenizer_config.json"}));
  expect_read_back(other, target());
  fs::create_symlink("out", directory_.path() / "link");
  llama.write(directory_.path() / "link");
  EXPECT_TRUE(fs::is_symlink(directory_.path() / "link"));
  expect_read_back(llama, target());
  llama.write(target() / "");  // a slash at the end
  EXPECT_EQ(names_in(directory_.path()), (Strings{"link", "out"}));
}

TEST_F(Directory, IsNotWrittenOverAnythingButAQuantizedModel) {
  const fs::path source = directory_.path() / "source";
  fs::copy(family_path("llama"), source);
  for (const char* name : {"reference.bin", "reference.json"}) fs::remove(source / name);
  const fs::path other = directory_.path() / "other";
  fs::copy(source, other);
  const fs::path file = directory_.write("file", "text");
  Codes llama(source, FileFormat::kGptq);
  const auto refuses = [&](const fs::path& place, const Strings& parts) {
    Strings all = {place.string()};
    all.insert(all.end(), parts.begin(), parts.end());
    return says(failure_of([&] { llama.write(place); }), ErrorCode::kBadArgument, all);
  };
  EXPECT_TRUE(refuses(source, {"is the model that is quantized"}));
  EXPECT_TRUE(refuses(other, {"is no quantized model"}));
  EXPECT_TRUE(refuses(file, {"is a file"}));
  EXPECT_TRUE(refuses(directory_.path(), {"which no quantized model has"}));
  llama.write(target());
  std::ofstream(target() / "diary.txt") << "mine";
  EXPECT_TRUE(refuses(target(), {"'diary.txt'"}));
  fs::remove(target() / "diary.txt");
  EXPECT_NO_THROW(llama.write(target()));
  EXPECT_EQ(names_in(directory_.path()), (Strings{"file", "other", "out", "source"}));
  EXPECT_TRUE(says(failure_of([&] { llama.write(directory_.path() / "no" / "out"); }),
                   ErrorCode::kIo, {"no/out", "cannot create"}));
}

}  // namespace
}  // namespace isogloss
