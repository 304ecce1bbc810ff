// Contract of isogloss/write/write.h for Hugging Face directories: what is in them, that it is read
// back to the bit, and that nothing is left behind.
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "isogloss/write/write.h"
#include "tests/codes.h"
#include "tests/families.h"
#include "tests/file_size_limit.h"
#include "tests/model_files.h"
#include "tests/nmse.h"
#include "tests/patterns.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr FileFormat kDirectories[] = {FileFormat::kCompressedTensors, FileFormat::kGptq};
constexpr size_t kGroup = 32;

Scheme integer(int bits, Granularity granularity, bool asymmetric = false) {
  return {.kind = SchemeKind::kInteger,
          .bits = bits,
          .granularity = granularity,
          .group_size = granularity == Granularity::kGroup ? kGroup : 0,
          .asymmetric = asymmetric};
}

bool is_block_matrix(const TensorView& view) {
  const RoleInfo& role = get_role_info(view.role);
  return role.per_layer() && role.kind == TensorKind::kMatrix;
}

// Different ones by layer and kind, equal where vLLM joins matrices.
Scheme mixed_scheme(const TensorView& view, FileFormat format) {
  const bool odd = view.layer % 2 == 1;
  const bool gptq = format == FileFormat::kGptq;
  switch (view.role) {
    case Role::kAttentionOutput:
      return integer(4, Granularity::kTensor);
    case Role::kFfnDown:
      if (odd) return integer(gptq ? 2 : 4, Granularity::kChannel, !gptq);
      return integer(gptq ? 3 : 8, Granularity::kGroup);
    case Role::kFfnGate:
    case Role::kFfnUp:
    case Role::kFfnGateUp:
      return odd ? Scheme{} : integer(4, Granularity::kGroup, true);
    default:
      return odd ? integer(8, Granularity::kChannel, true) : integer(4, Granularity::kGroup);
  }
}

// What GPTQ's layout cannot hold stays as it is: matrices whose outputs are not whole words.
bool fits_layout(const Model& model, const TensorView& view) {
  const ModelConfig& config = model.config();
  const size_t narrowest =
      view.role == Role::kQuery || view.role == Role::kKey || view.role == Role::kValue
          ? config.kv_heads * config.head_dim
          : view.rows;
  return narrowest % 32 == 0 && view.cols % 32 == 0;
}

// A model with codes for it, ready to be written.
struct Codes {
  Codes(const fs::path& path, FileFormat format_)
      : model(read_model(path)), assignment(unchanged(model)), format(format_) {
    for (size_t i = 0; i < model.tensors().size(); ++i) {
      const TensorView& view = model.tensors()[i];
      if (is_block_matrix(view) && (format != FileFormat::kGptq || fits_layout(model, view))) {
        assignment.schemes[i] = mixed_scheme(view, format);
      }
    }
  }

  std::vector<float> numbers(size_t tensor) const {
    std::vector<float> numbers(model.tensors()[tensor].count());
    decode(model.tensors()[tensor], numbers);
    return numbers;
  }
  FinishedTensor finish(size_t tensor) const {
    FinishedTensor finished{tensor, std::nullopt, {}};
    const TensorView& view = model.tensors()[tensor];
    const Scheme& scheme = assignment.schemes[tensor];
    if (scheme.kind != SchemeKind::kNone) {
      finished.encoded = nearest_codes(scheme, numbers(tensor), view.rows, view.cols);
    }
    return finished;
  }
  WriteRequest request() {
    for (Scheme& scheme : assignment.schemes) scheme.scale_type = scale_type(model, format);
    WriteRequest request{&model, &assignment, format};
    request.provenance = {{"isogloss.made", "by \"a\" test"}};
    request.shard_bytes = shard_bytes;
    return request;
  }
  void write(const fs::path& target) {
    const auto writer = open_writer(request(), target);
    for (size_t i = 0; i < model.tensors().size(); ++i) writer->write(finish(i));
    writer->commit();
  }

  Model model;
  Assignment assignment;
  FileFormat format;
  uint64_t shard_bytes = 1 << 30;
};

Strings names_in(const fs::path& directory) {
  Strings names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.push_back(entry.path().filename());
  }
  std::ranges::sort(names);
  return names;
}

std::map<std::string, std::string> contents_of(const fs::path& directory) {
  std::map<std::string, std::string> contents;
  for (const std::string& name : names_in(directory)) {
    contents[name] = read_text_file(directory / name);
  }
  return contents;
}

uint64_t weight_bytes(const fs::path& directory) {
  uint64_t bytes = 0;
  for (const std::string& name : names_in(directory)) {
    if (name.ends_with(".safetensors")) bytes += fs::file_size(directory / name);
  }
  return bytes;
}

Json json_of(const fs::path& path) {
  return Json::parse(read_text_file(path));
}

void expect_read_back(const Codes& codes, const fs::path& directory) {
  const Model found = read_model(directory);
  ASSERT_EQ(found.tensors().size(), codes.model.tensors().size());
  for (size_t i = 0; i < found.tensors().size(); ++i) {
    const TensorView& view = found.tensors()[i];
    const TensorView& source = codes.model.tensors()[i];
    EXPECT_EQ(view.hf_name, source.hf_name);
    std::vector<float> numbers(view.count());
    decode(view, numbers);
    const FinishedTensor finished = codes.finish(i);
    if (finished.encoded) {
      EXPECT_TRUE(view.packed) << view.hf_name;
      EXPECT_EQ(numbers, numbers_of(*finished.encoded)) << view.hf_name;
    } else {
      EXPECT_EQ(view.type, source.type) << view.hf_name;
      EXPECT_TRUE(std::ranges::equal(view.bytes, source.bytes)) << view.hf_name;
    }
  }
}

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

class Directory : public testing::Test {
 protected:
  Codes codes(const std::string& family, FileFormat format) const {
    return {family_path(family), format};
  }
  fs::path target() const { return directory_.path() / "out"; }

  TemporaryDirectory directory_;
};

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

Json header_of(const fs::path& path) {
  const std::string file = read_text_file(path);
  uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof(length));
  EXPECT_EQ(length % 8, 0U);
  return Json::parse(file.substr(sizeof(length), length));
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

// ---- what runtimes read

Json group_json(int bits, const char* strategy, const Json& group_size, bool symmetric,
                const Strings& targets) {
  return {{"format", "pack-quantized"},
          {"targets", targets},
          {"weights",
           {{"num_bits", bits},
            {"type", "int"},
            {"symmetric", symmetric},
            {"strategy", strategy},
            {"group_size", group_size},
            {"dynamic", false},
            {"actorder", nullptr},
            {"block_structure", nullptr},
            {"observer", "minmax"},
            {"observer_kwargs", Json::object()}}},
          {"input_activations", nullptr},
          {"output_activations", nullptr}};
}

TEST_F(Directory, TellsCompressedTensorsOfEachSchemeAndOfWhatHasNone) {
  Codes llama = codes("llama", FileFormat::kCompressedTensors);
  llama.write(target());
  const Json config = json_of(target() / "config.json")["quantization_config"];
  const Json expected = {
      {"quant_method", "compressed-tensors"},
      {"format", "pack-quantized"},
      {"quantization_status", "compressed"},
      {"global_compression_ratio", nullptr},
      {"kv_cache_scheme", nullptr},
      {"config_groups",
       {{"group_0",
         group_json(4, "group", 32, true, {R"(re:.*layers\.(0)\.self_attn\.(q|k|v|qkv)_proj$)"})},
        {"group_1",
         group_json(4, "channel", nullptr, true, {R"(re:.*layers\.(0|1)\.self_attn\.o_proj$)"})},
        {"group_2",
         group_json(4, "group", 32, false, {R"(re:.*layers\.(0)\.mlp\.(gate|up|gate_up)_proj$)"})},
        {"group_3", group_json(8, "group", 32, true, {R"(re:.*layers\.(0)\.mlp\.down_proj$)"})},
        {"group_4", group_json(8, "channel", nullptr, false,
                               {R"(re:.*layers\.(1)\.self_attn\.(q|k|v|qkv)_proj$)"})},
        {"group_5",
         group_json(4, "channel", nullptr, false, {R"(re:.*layers\.(1)\.mlp\.down_proj$)"})}}},
      {"ignore", {"model.layers.1.mlp.gate_proj", "model.layers.1.mlp.up_proj", "lm_head"}}};
  EXPECT_EQ(config.dump(1), expected.dump(1));
}

TEST_F(Directory, TellsGptqOfTheCommonSchemeAndOfWhatDiffers) {
  Codes llama = codes("llama", FileFormat::kGptq);
  llama.write(target());
  const auto rule = [](int bits, int group_size, bool sym) {
    return Json{{"bits", bits}, {"group_size", group_size}, {"sym", sym}};
  };
  Json expected = rule(4, 32, true);
  expected.update({{"desc_act", false},
                   {"lm_head", false},
                   {"quant_method", "gptq"},
                   {"checkpoint_format", "gptq"},
                   {"pack_dtype", "int32"},
                   {"dynamic",
                    {{R"(+:.*layers\.(0|1)\.self_attn\.o_proj$)", rule(4, -1, true)},
                     {R"(+:.*layers\.(0)\.mlp\.(gate|up|gate_up)_proj$)", rule(4, 32, false)},
                     {R"(+:.*layers\.(0)\.mlp\.down_proj$)", rule(3, 32, true)},
                     {R"(+:.*layers\.(1)\.self_attn\.(q|k|v|qkv)_proj$)", rule(8, -1, false)},
                     {R"(-:.*layers\.(1)\.mlp\.(gate|up|gate_up)_proj$)", Json::object()},
                     {R"(+:.*layers\.(1)\.mlp\.down_proj$)", rule(2, -1, true)}}}});
  Json found = json_of(target() / "quantize_config.json");
  EXPECT_TRUE(found["meta"]["quantizer"][0].get<std::string>().starts_with("isogloss:"));
  found.erase("meta");
  EXPECT_EQ(found.dump(1), expected.dump(1));
}

// As vLLM and transformers match: the whole name, from its start.
std::set<std::string> matching_groups(const Json& groups, const std::string& module) {
  std::set<std::string> found;
  for (const auto& [name, group] : groups.items()) {
    for (const std::string target : group["targets"]) {
      EXPECT_TRUE(target.starts_with("re:")) << "a bare class name takes other groups' modules";
      if (starts_with_match(module, target.substr(3))) found.insert(name);
    }
  }
  return found;
}

TEST_F(Directory, NamesEveryModuleOnceAsCodesOrAsIgnored) {
  for (const std::string& family : family_names()) {
    if (family == "gpt2") continue;
    SCOPED_TRACE(family);
    Codes codes(family_path(family), FileFormat::kCompressedTensors);
    codes.write(target());
    const Json config = json_of(target() / "config.json")["quantization_config"];
    const std::set<std::string> ignored(config["ignore"].begin(), config["ignore"].end());
    EXPECT_TRUE(ignored.contains("lm_head"));
    EXPECT_EQ(ignored.contains("embed_out"), family.starts_with("gpt-neox"));
    for (size_t i = 0; i < codes.model.tensors().size(); ++i) {
      const TensorView& view = codes.model.tensors()[i];
      if (get_role_info(view.role).kind != TensorKind::kMatrix) continue;
      const std::string module = view.hf_name.substr(0, view.hf_name.rfind('.'));
      const bool plain = codes.assignment.schemes[i].kind == SchemeKind::kNone;
      EXPECT_EQ(ignored.contains(module), plain) << module;
      const auto groups = matching_groups(config["config_groups"], module);
      EXPECT_EQ(groups.size(), plain ? 0U : 1U) << module;
      if (!module.ends_with(".q_proj") || plain) continue;
      const std::string joined = module.substr(0, module.size() - 6) + "qkv_proj";
      EXPECT_EQ(matching_groups(config["config_groups"], joined), groups) << joined;
    }
    // Neither layer 1 nor layer 0 is meant by layer 10.
    EXPECT_TRUE(matching_groups(config["config_groups"], "model.layers.10.mlp.down_proj").empty());
    fs::remove_all(target());
  }
}

// ---- bytes by hand

struct HandMade {
  HandMade(FileFormat format, int bits, bool asymmetric)
      : codes(family_path("opt"), format), tensor(*codes.model.find_tensor(Role::kFfnDown, 0)) {
    codes.assignment = unchanged(codes.model);
    codes.assignment.schemes[tensor] = integer(bits, Granularity::kChannel, asymmetric);
  }
  // Row r, column c has the code (r + c) % 2^bits; row r the scale 2^-(r % 5), and the zero point
  // 1 + r % 3.
  FinishedTensor finish(size_t i) {
    if (i != tensor) return {i, std::nullopt, {}};
    const TensorView& view = codes.model.tensors()[i];
    const Scheme& scheme = codes.assignment.schemes[i];
    EncodedMatrix matrix{scheme, view.rows, view.cols, {}, {}, {}, {}};
    for (size_t row = 0; row < view.rows; ++row) {
      for (size_t col = 0; col < view.cols; ++col) {
        matrix.codes.push_back(static_cast<uint8_t>((row + col) % (size_t{1} << scheme.bits)));
      }
      matrix.scales.push_back(std::ldexp(1.0F, -static_cast<int>(row % 5)));
      if (scheme.asymmetric) matrix.offsets.push_back(static_cast<float>(zero_of(row)));
    }
    return {i, std::move(matrix), {}};
  }
  size_t zero_of(size_t row) const { return first_zero + row % 3; }
  Json write(const fs::path& target) {
    const auto writer = open_writer(codes.request(), target);
    for (size_t i = 0; i < codes.model.tensors().size(); ++i) writer->write(finish(i));
    writer->commit();
    file = read_text_file(target / "model.safetensors");
    return header_of(target / "model.safetensors");
  }
  template <typename T>
  std::vector<T> values(const Json& header, const std::string& part) const {
    const Json& entry = header.at("model.decoder.layers.0.fc2." + part);
    uint64_t length = 0;
    std::memcpy(&length, file.data(), sizeof(length));
    const size_t begin = entry["data_offsets"][0];
    const size_t end = entry["data_offsets"][1];
    std::vector<T> values((end - begin) / sizeof(T));
    std::memcpy(values.data(), file.data() + 8 + length + begin, end - begin);
    return values;
  }

  Codes codes;  // fc2 is 32 x 96
  size_t tensor;
  size_t first_zero = 1;
  std::string file;
};

TEST_F(Directory, PacksCodesAsCompressedTensorsDoes) {
  HandMade made(FileFormat::kCompressedTensors, 4, true);
  const Json header = made.write(target());
  const auto packed = made.values<uint32_t>(header, "weight_packed");
  ASSERT_EQ(packed.size(), 32U * 96 / 8);
  EXPECT_EQ(packed[0], 0x76543210U);
  EXPECT_EQ(packed[1], 0xfedcba98U);
  EXPECT_EQ(packed[12], 0x87654321U);  // row 1
  const auto scales = made.values<uint16_t>(header, "weight_scale");
  EXPECT_EQ(std::vector(scales.begin(), scales.begin() + 3),
            (std::vector<uint16_t>{0x3f80, 0x3f00, 0x3e80}));  // 1, 1/2, 1/4 as BF16
  EXPECT_EQ(made.values<int64_t>(header, "weight_shape"), (std::vector<int64_t>{32, 96}));
  EXPECT_EQ(made.values<uint32_t>(header, "weight_zero_point"),
            (std::vector<uint32_t>{0x21321321, 0x13213213, 0x32132132, 0x21321321}));
  const Json& entry = header["model.decoder.layers.0.fc2.weight_zero_point"];
  EXPECT_EQ(entry["shape"], (Json{4, 1}));
}

TEST_F(Directory, PacksCodesAsGptqDoes) {
  HandMade made(FileFormat::kGptq, 4, false);
  Json header = made.write(target());
  auto packed = made.values<uint32_t>(header, "qweight");
  EXPECT_EQ(header["model.decoder.layers.0.fc2.qweight"]["shape"], (Json{12, 32}));
  EXPECT_EQ(packed[0], 0x76543210U);   // inputs 0 to 7 of output 0
  EXPECT_EQ(packed[1], 0x87654321U);   // of output 1
  EXPECT_EQ(packed[32], 0xfedcba98U);  // inputs 8 to 15 of output 0
  EXPECT_EQ(made.values<uint32_t>(header, "qzeros"), std::vector<uint32_t>(4, 0x77777777));
  EXPECT_EQ(made.values<uint16_t>(header, "scales")[1], 0x3800);  // 1/2 as F16
  EXPECT_EQ(made.values<int32_t>(header, "g_idx"), std::vector<int32_t>(96, 0));

  HandMade wide(FileFormat::kGptq, 8, false);
  header = wide.write(target());
  EXPECT_EQ(wide.values<uint32_t>(header, "qzeros"), std::vector<uint32_t>(8, 0x7f7f7f7f));

  // 32 codes of 3 bits in three words: 0, 1, ... 7, 0, 1, ...
  HandMade odd(FileFormat::kGptq, 3, false);
  header = odd.write(target());
  packed = odd.values<uint32_t>(header, "qweight");
  EXPECT_EQ(packed[0], 0x88fac688U);
  EXPECT_EQ(packed[32], 0xc688fac6U);
  EXPECT_EQ(packed[64], 0xfac688faU);
  // Zero points 4, stored as 3.
  EXPECT_EQ(odd.values<uint32_t>(header, "qzeros"),
            (std::vector<uint32_t>{0xdb6db6db, 0xb6db6db6, 0x6db6db6d}));
}

TEST_F(Directory, RefusesAZeroPointThatGptqCannotHold) {
  HandMade made(FileFormat::kGptq, 4, true);
  made.first_zero = 0;
  EXPECT_TRUE(says(failure_of([&] { made.write(target()); }), ErrorCode::kUnsupported,
                   {"fc2.weight", "row 0, group 0 is 0", "compressed-tensors"}));
  EXPECT_TRUE(fs::is_empty(directory_.path()));
  made.first_zero = 1;
  made.write(target());
  const auto zeros = made.values<uint32_t>(header_of(target() / "model.safetensors"), "qzeros");
  EXPECT_EQ(zeros[0], 0x10210210U);
}

// ---- refusals

Failure failure_of_planning(Codes& codes, TensorType scales = TensorType::kBf16) {
  WriteRequest request = codes.request();
  for (Scheme& scheme : codes.assignment.schemes) scheme.scale_type = scales;
  return failure_of([&] { plan_write(request); });
}

TEST_F(Directory, RefusesSchemesThatTheLayoutLacks) {
  Codes llama = codes("llama", FileFormat::kCompressedTensors);
  const size_t up = *llama.model.find_tensor(Role::kFfnDown, 1);
  const auto refuses = [&](const Scheme& scheme, const Strings& parts) {
    Strings all = {"model.layers.1.mlp.down_proj.weight"};
    all.insert(all.end(), parts.begin(), parts.end());
    const Scheme before = std::exchange(llama.assignment.schemes[up], scheme);
    const auto result = says(failure_of_planning(llama), ErrorCode::kUnsupported, all);
    llama.assignment.schemes[up] = before;
    return result;
  };
  EXPECT_TRUE(refuses(parse_scheme("q4_k"), {"q4_k", "GGUF"}));
  EXPECT_TRUE(refuses(parse_scheme("seed-int4"), {"seed-int4", "32 bits"}));
  for (const int bits : {2, 3}) {
    EXPECT_TRUE(refuses(integer(bits, Granularity::kGroup), {"4 and 8", "gptq"}));
  }
  Scheme hqq = integer(4, Granularity::kGroup);
  hqq.method = Method::kHqq;
  EXPECT_TRUE(refuses(hqq, {"zero points are integers", "q4_1"}));
  EXPECT_TRUE(says(failure_of_planning(llama, TensorType::kF16), ErrorCode::kUnsupported,
                   {"scales are f16, expected bf16"}));
  EXPECT_FALSE(failure_of_planning(llama).code);
}

TEST_F(Directory, RefusesCodesOfEmbeddingsAndOfTheHead) {
  for (const FileFormat format : kDirectories) {
    Codes llama = codes("llama", format);
    for (const Role role : {Role::kTokenEmbedding, Role::kHead, Role::kOutputNorm}) {
      const size_t i = *llama.model.find_tensor(role);
      llama.assignment.schemes[i] = integer(4, Granularity::kChannel);
      EXPECT_TRUE(says(failure_of_planning(llama, scale_type(llama.model, format)),
                       ErrorCode::kUnsupported,
                       {llama.model.tensors()[i].hf_name, "only the matrices of the blocks"}));
      llama.assignment.schemes[i] = {};
    }
  }
}

TEST_F(Directory, RefusesDifferentSchemesForWhatVllmJoins) {
  for (const FileFormat format : kDirectories) {
    Codes llama = codes("llama", format);
    const TensorType scales = scale_type(llama.model, format);
    const size_t key = *llama.model.find_tensor(Role::kKey, 1);
    llama.assignment.schemes[key].bits = 4;
    EXPECT_TRUE(says(failure_of_planning(llama, scales), ErrorCode::kUnsupported,
                     {"layers.1.self_attn.q_proj.weight' (int8 channel asym)",
                      "layers.1.self_attn.k_proj.weight' (int4 channel asym)", "vLLM"}));
    llama.assignment.schemes[key].bits = 8;
    const size_t up = *llama.model.find_tensor(Role::kFfnUp, 0);
    llama.assignment.schemes[up] = {};
    EXPECT_TRUE(says(failure_of_planning(llama, scales), ErrorCode::kUnsupported,
                     {"gate_proj.weight' (int4 g32 asym)", "up_proj.weight' (unquantized)"}));
  }
}

TEST_F(Directory, RefusesMatricesThatAreNoWholeWordsOfGptq) {
  Codes gemma = codes("gemma", FileFormat::kGptq);  // one head of 16 for keys and values
  for (const Role role : {Role::kQuery, Role::kKey, Role::kValue}) {
    gemma.assignment.schemes[*gemma.model.find_tensor(role, 0)] = integer(4, Granularity::kGroup);
  }
  EXPECT_TRUE(says(failure_of_planning(gemma, TensorType::kF16), ErrorCode::kUnsupported,
                   {"layers.0.self_attn.k_proj.weight", "16 x 32", "multiples of 32"}));
  gemma.format = FileFormat::kCompressedTensors;
  for (size_t i = 0; i < gemma.assignment.schemes.size(); ++i) {
    const TensorView& view = gemma.model.tensors()[i];
    if (is_block_matrix(view)) gemma.assignment.schemes[i] = integer(4, Granularity::kGroup, true);
  }
  gemma.write(target());
  expect_read_back(gemma, target());
}

TEST_F(Directory, RefusesASourceWithoutWhatADirectoryRepeats) {
  const fs::path file = directory_.path() / "model.gguf";
  convert_to_gguf(read_model(family_path("llama")), {}, file, [](std::string_view, double) {});
  for (const FileFormat format : kDirectories) {
    Codes from_file(file, format);
    from_file.assignment = unchanged(from_file.model);
    EXPECT_TRUE(says(failure_of_planning(from_file), ErrorCode::kUnsupported,
                     {file.string(), "is a GGUF file", "Hugging Face directory"}));
  }
  Codes llama = codes("llama", FileFormat::kGptq);
  llama.write(target());
  Codes again(target(), FileFormat::kCompressedTensors);
  EXPECT_TRUE(says(failure_of_planning(again), ErrorCode::kUnsupported,
                   {"q_proj.weight' is quantized already (int4 channel)", "unquantized model"}));
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
