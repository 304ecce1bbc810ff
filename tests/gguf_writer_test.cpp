// Quantized GGUF files: what is read back from them is what was encoded, to the bit; what a source
// file has beside its weights is kept; libllama computes from them.
#include <ggml.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <set>

#include "isogloss/write/write.h"
#include "tests/families.h"
#include "tests/file_size_limit.h"
#include "tests/llama_runner.h"
#include "tests/model_files.h"
#include "tests/nmse.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;

const Progress kSilent = [](std::string_view, double) {};

// Both in F32 on the same numbers; libllama takes GELU from a table of F16.
constexpr double kLibllamaNmse = 1e-4;

Scheme ggml(std::string_view name) {
  return {.kind = SchemeKind::kGgml, .type = find_tensor_type(name).value()};
}

Scheme integers(int bits, Granularity granularity, Method method = Method::kRtn) {
  return {.kind = SchemeKind::kInteger,
          .bits = bits,
          .method = method,
          .granularity = granularity,
          .group_size = granularity == Granularity::kGroup ? size_t{32} : 0};
}

Scheme asymmetric(Scheme scheme) {
  scheme.asymmetric = true;
  return scheme;
}

// Every scheme that GGUF holds in blocks of up to 32 numbers.
std::vector<Scheme> schemes_of_small_blocks() {
  std::vector<Scheme> schemes;
  for (const char* name :
       {"f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl", "mxfp4"}) {
    schemes.push_back(ggml(name));
  }
  for (const Granularity granularity :
       {Granularity::kTensor, Granularity::kChannel, Granularity::kGroup}) {
    for (const int bits : {2, 3, 4, 8}) {
      for (const Method method : {Method::kRtn, Method::kGptq, Method::kAwq, Method::kHqq}) {
        if (bits == 8 && method == Method::kHqq) continue;
        schemes.push_back(integers(bits, granularity, method));
      }
    }
  }
  return schemes;
}

float some_scale(Random& random) {
  return ggml_fp16_to_fp32(ggml_fp32_to_fp16(static_cast<float>(random.uniform()) - 0.5F));
}

// Codes of every size, scales and offsets of either sign; ggml's blocks as it encodes numbers.
EncodedMatrix some_codes(const Scheme& scheme, size_t rows, size_t cols, uint64_t seed) {
  Random random(seed);
  if (scheme.kind == SchemeKind::kGgml) {
    std::vector<float> numbers(rows * cols);
    for (float& number : numbers) number = static_cast<float>(random.uniform()) - 0.5F;
    const std::vector<float> importance(cols, 1.0F);
    return encode(scheme, numbers, rows, cols, {importance, {}});
  }
  EncodedMatrix matrix{scheme, rows, cols, {}, std::vector<uint8_t>(rows * cols), {}, {}};
  for (uint8_t& code : matrix.codes) code = static_cast<uint8_t>(random.below(1U << scheme.bits));
  const size_t scales = scheme.granularity == Granularity::kTensor    ? 1
                        : scheme.granularity == Granularity::kChannel ? rows
                                                                      : rows * cols / 32;
  for (size_t i = 0; i < scales; ++i) matrix.scales.push_back(some_scale(random));
  if (scheme.method != Method::kHqq) return matrix;
  for (size_t i = 0; i < scales; ++i) matrix.offsets.push_back(some_scale(random));
  return matrix;
}

std::vector<float> numbers_of(const TensorView& tensor) {
  std::vector<float> numbers(tensor.count());
  decode(tensor, numbers);
  return numbers;
}

// A model being written, a finished tensor for each of its own.
struct Writing {
  explicit Writing(const fs::path& source) : model(read_model(source)) {
    assignment = unchanged(model);
    for (size_t i = 0; i < model.tensors().size(); ++i) finished.push_back({i, {}, {}});
  }

  size_t find(std::string_view name) const {
    const auto found = std::ranges::find(model.tensors(), name, &TensorView::name);
    if (found == model.tensors().end()) throw std::out_of_range(std::string(name));
    return static_cast<size_t>(found - model.tensors().begin());
  }
  void give(size_t tensor, const Scheme& scheme) {
    const TensorView& view = model.tensors()[tensor];
    assignment.schemes[tensor] = scheme;
    finished[tensor].encoded = some_codes(scheme, view.rows, view.cols, tensor);
  }
  WriteRequest request() const {
    return {.model = &model, .assignment = &assignment, .provenance = provenance};
  }
  WritePlan write(const fs::path& path) const {
    const WritePlan plan = plan_write(request());
    const auto writer = open_writer(request(), path);
    for (const FinishedTensor& tensor : finished) writer->write(tensor);
    writer->commit();
    EXPECT_EQ(fs::file_size(path), plan.file_bytes);
    return plan;
  }

  Model model;
  Assignment assignment;
  std::vector<FinishedTensor> finished;
  std::map<std::string, std::string> provenance;
};

bool is_block_matrix(const TensorView& tensor) {
  const RoleInfo& role = get_role_info(tensor.role);
  return role.per_layer() && role.kind == TensorKind::kMatrix;
}

// Numbers in the order of rows that GGUF has: queries and keys of the Llama family turn neighbours
// where Hugging Face's turn halves.
std::vector<float> in_gguf_order(const Model& source, const TensorView& tensor,
                                 std::vector<float> numbers) {
  const bool query_or_key = tensor.name.find("attn_q.") != tensor.name.npos ||
                            tensor.name.find("attn_k.") != tensor.name.npos;
  const bool neighbours = get_family_info(source.config().family).gguf_neighbours;
  if (!query_or_key || !neighbours || source.config().rope.pairs != RopePairs::kHalves) {
    return numbers;
  }
  const size_t cols = tensor.name.ends_with("bias") ? 1 : tensor.cols;
  const size_t dim = source.config().head_dim;
  std::vector<float> result(numbers.size());
  for (size_t row = 0; row < numbers.size() / cols; ++row) {
    const size_t head = row / dim;
    const size_t half = row % dim / (dim / 2);
    const size_t to = head * dim + row % (dim / 2) * 2 + half;
    std::copy_n(&numbers[row * cols], cols, &result[to * cols]);
  }
  return result;
}

void expect_same_numbers(const Writing& writing, const fs::path& path) {
  const Model written = read_model(path);
  ASSERT_EQ(written.tensors().size(), writing.model.tensors().size());
  for (size_t i = 0; i < writing.finished.size(); ++i) {
    const TensorView& source = writing.model.tensors()[i];
    const FinishedTensor& finished = writing.finished[i];
    std::vector<float> expected = finished.numbers;
    if (finished.encoded) {
      expected.resize(source.count());
      decode(*finished.encoded, expected);
    } else if (expected.empty()) {
      expected = numbers_of(source);
    }
    EXPECT_EQ(written.tensors()[i].name, source.name);
    EXPECT_EQ(numbers_of(written.tensors()[i]), in_gguf_order(writing.model, source, expected))
        << source.name << " as " << to_string(writing.assignment.schemes[i]);
  }
}

// The fixtures that llama.cpp computes as they are, and ours.
std::vector<std::string> writable_families() {
  std::vector<std::string> names = family_names();
  std::erase_if(names, [](const std::string& name) {
    return name == "gemma2" || name == "gemma3" || name == "smollm3" || name == "cohere-qk-norm";
  });
  return names;
}

class FamilyWriter : public testing::TestWithParam<std::string> {
 protected:
  fs::path target(const std::string& name = "out.gguf") const { return directory_.path() / name; }

  TemporaryDirectory directory_;
};

TEST_P(FamilyWriter, ReadsBackEveryNumberOfEveryScheme) {
  const std::vector<Scheme> schemes = schemes_of_small_blocks();
  Writing writing(family_path(GetParam()));
  size_t next = 0;
  for (size_t round = 0; next < schemes.size(); ++round) {
    for (size_t i = 0; i < writing.finished.size(); ++i) {
      const TensorView& tensor = writing.model.tensors()[i];
      if (is_block_matrix(tensor) || tensor.role == Role::kTokenEmbedding) {
        writing.give(i, schemes[next++ % schemes.size()]);
      }
    }
    writing.write(target());
    expect_same_numbers(writing, target());
  }
}

TEST_P(FamilyWriter, ReadsBackEveryNumberFromAGgufSource) {
  const fs::path source = target("source.gguf");
  convert_to_gguf(read_model(family_path(GetParam())), {TensorType::kF16}, source, kSilent);
  Writing writing(source);
  const std::vector<Scheme> schemes = schemes_of_small_blocks();
  for (size_t i = 0; i < writing.finished.size(); ++i) {
    if (is_block_matrix(writing.model.tensors()[i])) writing.give(i, schemes[i % schemes.size()]);
  }
  writing.write(target());
  expect_same_numbers(writing, target());
}

TEST_P(FamilyWriter, WritesAnUnchangedDirectoryAsConvertDoes) {
  Writing writing(family_path(GetParam()));
  writing.write(target());
  const size_t matrix = writing.find("blk.0.ffn_down.weight");
  const TensorType type = writing.model.tensors()[matrix].type;
  convert_to_gguf(writing.model, {type}, target("converted.gguf"), kSilent);
  EXPECT_EQ(read_text_file(target()), read_text_file(target("converted.gguf")));
}

TEST_P(FamilyWriter, LibllamaComputesOurLogitsFromTheFile) {
  Writing writing(family_path(GetParam()));
  if (!get_family_info(writing.model.config().family).in_llama_cpp) {
    GTEST_SKIP() << "llama.cpp has no such architecture";
  }
  const std::vector<Scheme> schemes = {ggml("q8_0"), integers(8, Granularity::kGroup), ggml("q5_1"),
                                       integers(4, Granularity::kChannel),
                                       integers(4, Granularity::kGroup, Method::kHqq)};
  for (size_t i = 0; i < writing.finished.size(); ++i) {
    const TensorView& tensor = writing.model.tensors()[i];
    const TensorKind kind = get_role_info(tensor.role).kind;
    if (kind == TensorKind::kNorm || kind == TensorKind::kBias) continue;
    const Scheme& scheme = schemes[i % schemes.size()];
    writing.assignment.schemes[i] = scheme;
    writing.finished[i].encoded = encode(scheme, numbers_of(tensor), tensor.rows, tensor.cols);
  }
  writing.write(target());
  ASSERT_TRUE(LlamaRunner(target())) << "libllama does not load the file";
  // A copy in F32: what a quantized matrix multiplies, libllama rounds to 8 bits.
  LoadedModel ours(target());
  write_as_f32(target(), target("f32.gguf"));
  const FamilySample sample = read_family_reference(GetParam()).back();
  const HiddenStates logits = ours.logits(ours.stored(), sample.ids);
  const auto expected = LlamaRunner(target("f32.gguf")).logits(sample.ids);
  const size_t last = sample.ids.size() - 1;
  EXPECT_LT(nmse(logits.row(last), {&expected[last * logits.width()], logits.width()}),
            kLibllamaNmse);
}

INSTANTIATE_TEST_SUITE_P(, FamilyWriter, testing::ValuesIn(writable_families()), test_name);

// ---- blocks of 64 numbers and more

TEST(GgufWriter, ReadsBackEveryNumberOfLargeBlocks) {
  Writing writing(repository_path("models/polyglot-12"));
  std::vector<size_t> places;
  for (const char* name : {"blk.{}.attn_output.weight", "blk.{}.attn_qkv.weight"}) {
    for (size_t layer = 0; layer < writing.model.config().layers; ++layer) {
      places.push_back(writing.find(fmt::format(fmt::runtime(name), layer)));
    }
  }
  std::set<std::string> types;
  for (const std::string& name : scheme_names()) {
    const auto type = find_tensor_type(name);
    if (!type || get_tensor_type_info(*type).block_size <= 32) continue;
    ASSERT_LT(types.size(), places.size());
    writing.give(places[types.size()], ggml(name));
    types.insert(name);
  }
  EXPECT_GE(types.size(), 17U);  // K-quants, IQ-quants, ternary and binary types, nvfp4
  TemporaryDirectory directory;
  writing.write(directory.path() / "out.gguf");
  expect_same_numbers(writing, directory.path() / "out.gguf");
}

// ---- changed numbers

TEST(GgufWriter, WritesChangedNumbersInTheTypesThatTensorsHave) {
  TemporaryDirectory directory;
  Writing writing(family_path("granite"));
  for (const char* name : {"blk.0.attn_norm.weight", "blk.0.attn_q.bias", "blk.1.attn_k.weight"}) {
    const size_t tensor = writing.find(name);
    auto& numbers = writing.finished[tensor].numbers;
    numbers.resize(writing.model.tensors()[tensor].count());
    std::iota(numbers.begin(), numbers.end(), 1.0F);
  }
  writing.write(directory.path() / "out.gguf");
  expect_same_numbers(writing, directory.path() / "out.gguf");
}

TEST(GgufWriter, RefusesChangedNumbersOfAQuantizedTensor) {
  TemporaryDirectory directory;
  const fs::path quantized = directory.path() / "q8_0.gguf";
  Writing first(family_path("gpt2"));
  const size_t tensor = first.find("blk.0.ffn_up.weight");
  first.give(tensor, ggml("q8_0"));
  first.write(quantized);
  Writing second(quantized);
  second.finished[tensor].numbers.resize(second.model.tensors()[tensor].count());
  const fs::path target = directory.path() / "out.gguf";
  EXPECT_TRUE(says(failure_of([&] { second.write(target); }), ErrorCode::kUnsupported,
                   {"blk.0.ffn_up.weight", "q8_0", "f16"}));
  EXPECT_FALSE(fs::exists(target));
}

// ---- what is not weights

using Pairs = std::vector<std::pair<std::string, std::string>>;

Pairs pairs_of(const fs::path& path) {
  Pairs pairs;
  for (auto& [key, value] : read_gguf_pairs(path)) pairs.emplace_back(key, value);
  return pairs;
}

std::string u32_value(uint32_t value) {
  return bytes_of(uint32_t{kGgufU32}) + bytes_of(value);
}

std::string string_value(std::string_view text) {
  return bytes_of(uint32_t{kGgufString}) + gguf_text(text);
}

// A Llama with rotary factors and keys of many types that nobody reads here.
GgufFile file_with_everything() {
  GgufFile file = tiny_gguf(Family::kLlama);
  file.set_string("general.author", "\u00e9");
  file.set("some.u64", kGgufU64, bytes_of(uint64_t{1} << 40));
  file.set("some.u8", 0, bytes_of(uint8_t{7}));
  file.set("some.f64", 12, bytes_of(0.25));
  file.set("some.flags", kGgufArray, gguf_array(kGgufBool, 3, {"\1\0\1", 3}));
  file.set_strings("some.texts", {"", "a", std::string(300, 'b')});
  file.set_strings("no.texts", {});
  const std::string factors = bytes_of(std::vector<float>{1, 2, 4});
  file.tensors.insert(file.tensors.begin(), {{"rope_freqs.weight", {3}, factors}, 0, {}});
  return file;
}

TEST(GgufWriter, KeepsTheKeysOfAFileInTheirOrder) {
  TemporaryDirectory directory;
  GgufFile file = file_with_everything();
  Pairs expected;
  for (const GgufKey& key : file.keys) {
    expected.emplace_back(key.name, bytes_of(key.type) + key.value);
  }
  // About how the source was made, or how it lies.
  file.set_u32("general.file_type", 99);
  file.set_u32("general.quantization_version", 1);
  file.set_u32("general.alignment", 64);
  file.set_u32("split.count", 1);
  file.set_string("quantize.imatrix.file", "old.imatrix");
  file.set_string("isogloss.calibration.languages", "old");
  file.alignment = 64;
  Writing writing(directory.write("source.gguf", file.bytes()));
  writing.give(writing.find("blk.0.ffn_gate.weight"), ggml("f16"));
  writing.provenance = {{"isogloss.method", "rtn"}, {"general.author", "another"}};
  writing.write(directory.path() / "out.gguf");
  std::erase_if(expected, [](const auto& pair) { return pair.first == "general.author"; });
  expected.emplace_back("general.file_type", u32_value(0));  // most numbers of the blocks are F32
  expected.emplace_back("general.quantization_version", u32_value(2));
  expected.emplace_back("general.author", string_value("another"));
  expected.emplace_back("isogloss.method", string_value("rtn"));
  EXPECT_EQ(pairs_of(directory.path() / "out.gguf"), expected);
}

TEST(GgufWriter, KeepsRotaryFactorsAndBytesOfAFile) {
  TemporaryDirectory directory;
  const GgufFile file = file_with_everything();
  Writing writing(directory.write("source.gguf", file.bytes()));
  const fs::path target = directory.path() / "out.gguf";
  writing.write(target);
  ggml_context* data = nullptr;
  gguf_context* written = gguf_init_from_file(target.c_str(), {/*no_alloc=*/false, &data});
  ASSERT_NE(written, nullptr);
  EXPECT_EQ(static_cast<size_t>(gguf_get_n_tensors(written)), file.tensors.size());
  for (const auto& tensor : file.tensors) {
    const ggml_tensor* found = ggml_get_tensor(data, tensor.name.c_str());
    ASSERT_NE(found, nullptr) << tensor.name;
    EXPECT_EQ(tensor.data, std::string(static_cast<const char*>(found->data), ggml_nbytes(found)));
  }
  ggml_free(data);
  gguf_free(written);
}

TEST(GgufWriter, SaysWhichTypeMostWeightsHave) {
  TemporaryDirectory directory;
  const fs::path target = directory.path() / "out.gguf";
  const std::vector<std::pair<Scheme, uint32_t>> cases = {
      {ggml("q4_0"), LLAMA_FTYPE_MOSTLY_Q4_0},
      {ggml("q8_0"), LLAMA_FTYPE_MOSTLY_Q8_0},
      {ggml("f16"), LLAMA_FTYPE_MOSTLY_F16},
      {ggml("iq4_nl"), LLAMA_FTYPE_MOSTLY_IQ4_NL},
      {integers(3, Granularity::kChannel), LLAMA_FTYPE_MOSTLY_Q4_0}};
  for (const auto& [scheme, file_type] : cases) {
    Writing writing(family_path("gpt2"));
    for (size_t i = 0; i < writing.finished.size(); ++i) {
      if (is_block_matrix(writing.model.tensors()[i])) writing.give(i, scheme);
    }
    writing.give(writing.find("blk.0.attn_output.weight"), ggml("q5_1"));
    writing.write(target);
    const auto pairs = pairs_of(target);
    const std::pair<std::string, std::string> expected{"general.file_type", u32_value(file_type)};
    EXPECT_EQ(std::ranges::count(pairs, expected), 1) << to_string(scheme);
  }
}

// ---- sizes

TEST(GgufWriter, PlansTheSizeOfEachTensorAndOfTheFile) {
  TemporaryDirectory directory;
  Writing writing(family_path("gpt2"));
  const size_t down = writing.find("blk.0.ffn_down.weight");
  const size_t norm = writing.find("output_norm.weight");
  writing.give(down, integers(3, Granularity::kChannel));
  const WritePlan plan = writing.write(directory.path() / "out.gguf");
  const size_t count = writing.model.tensors()[down].count();
  EXPECT_EQ(plan.tensors[down].type, "q4_0");
  EXPECT_EQ(plan.tensors[down].size_bytes, count / 32 * 18);
  EXPECT_EQ(plan.tensors[norm].type, "f32");
  EXPECT_EQ(plan.tensors[norm].size_bytes, writing.model.config().width * 4);
  uint64_t parameters = 0;
  uint64_t bytes = 0;
  for (const PlannedTensor& tensor : plan.tensors) {
    bytes += tensor.size_bytes;
    parameters += writing.model.tensors()[tensor.tensor].count();
  }
  EXPECT_LT(bytes, plan.file_bytes);
  EXPECT_DOUBLE_EQ(plan.bits_per_weight,
                   8.0 * static_cast<double>(plan.file_bytes) / static_cast<double>(parameters));
}

TEST(GgufWriter, WritesTheSameBytesTwice) {
  TemporaryDirectory directory;
  for (const char* name : {"a.gguf", "b.gguf"}) {
    Writing writing(family_path("llama"));
    writing.give(writing.find("blk.1.attn_k.weight"), integers(4, Granularity::kGroup));
    writing.write(directory.path() / name);
  }
  EXPECT_EQ(read_text_file(directory.path() / "a.gguf"),
            read_text_file(directory.path() / "b.gguf"));
}

// A safetensors file whose numbers lie `places` further back.
void move_numbers(const fs::path& path, size_t places) {
  std::string bytes = read_text_file(path);
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  bytes.insert(sizeof(header_bytes) + header_bytes, places, ' ');
  header_bytes += places;
  std::memcpy(bytes.data(), &header_bytes, sizeof(header_bytes));
  write_file(path, bytes);
}

TEST(GgufWriter, WritesTheSameNumbersWhereverTheyBegin) {
  TemporaryDirectory directory;
  for (const char* family : {"qwen3", "gpt2"}) {
    Writing(family_path(family)).write(directory.path() / "aligned.gguf");
    for (const size_t places : {1, 2, 3}) {
      const fs::path moved = directory.path() / (family + std::to_string(places));
      fs::copy(family_path(family), moved);
      move_numbers(moved / "model.safetensors", places);
      Writing(moved).write(directory.path() / "moved.gguf");
      const Model expected = read_model(directory.path() / "aligned.gguf");
      const Model written = read_model(directory.path() / "moved.gguf");
      for (size_t i = 0; i < expected.tensors().size(); ++i) {
        EXPECT_EQ(numbers_of(written.tensors()[i]), numbers_of(expected.tensors()[i])) << places;
      }
    }
  }
}

// ---- refusals

Failure failure_of_giving(const std::string& tensor, const Scheme& scheme) {
  Writing writing(family_path("gpt2"));
  writing.assignment.schemes[writing.find(tensor)] = scheme;
  return failure_of([&] { plan_write(writing.request()); });
}

TEST(GgufWriter, RefusesWhatNoTypeHoldsAndSaysWhatDoes) {
  const std::string matrix = "blk.1.ffn_up.weight";
  Scheme bf16_scales = integers(4, Granularity::kGroup);
  bf16_scales.scale_type = TensorType::kBf16;
  const std::vector<std::tuple<Scheme, Strings>> cases = {
      {{.kind = SchemeKind::kSeed, .bits = 4}, {"seed-int4", "rtn-int4-tensor"}},
      {asymmetric(integers(4, Granularity::kGroup)), {"rtn-int4-g32-asym", "q4_1", "hqq-int4-g32"}},
      {asymmetric(integers(8, Granularity::kTensor)), {"rtn-int8-tensor-asym", "q8_0"}},
      {integers(8, Granularity::kGroup, Method::kHqq), {"hqq-int8-g32", "q8_0"}},
      {bf16_scales, {"rtn-int4-g32", "BF16", "scales of F16"}}};
  for (const auto& [scheme, parts] : cases) {
    EXPECT_TRUE(says(failure_of_giving(matrix, scheme), ErrorCode::kUnsupported, {matrix}));
    EXPECT_TRUE(says(failure_of_giving(matrix, scheme), ErrorCode::kUnsupported, parts));
  }
  EXPECT_EQ(failure_of_giving(matrix, integers(4, Granularity::kGroup)).message, "(no error)");
}

TEST(GgufWriter, RefusesToQuantizeNormsAndBiases) {
  for (const std::string tensor : {"blk.0.attn_norm.weight", "blk.0.attn_qkv.bias"}) {
    EXPECT_TRUE(says(failure_of_giving(tensor, ggml("q8_0")), ErrorCode::kUnsupported,
                     {tensor, "q8_0", "F32"}));
    EXPECT_EQ(failure_of_giving(tensor, ggml("f32")).message, "(no error)");
  }
}

TEST(GgufWriter, RefusesRowsThatAreNotWholeBlocks) {
  TemporaryDirectory directory;
  Writing writing(directory.write("tiny.gguf", tiny_gguf(Family::kLlama).bytes()));
  const std::string tensor = "blk.0.ffn_down.weight";  // rows of 40
  writing.assignment.schemes[writing.find(tensor)] = integers(4, Granularity::kChannel);
  EXPECT_TRUE(says(failure_of([&] { plan_write(writing.request()); }), ErrorCode::kUnsupported,
                   {tensor, "rtn-int4-channel", "rows of 40", "f16"}));
}

TEST(GgufWriter, RefusesADirectoryThatLlamaCppWouldComputeOtherwise) {
  const Writing writing(family_path("gemma3"));
  EXPECT_TRUE(says(failure_of([&] { plan_write(writing.request()); }), ErrorCode::kUnsupported,
                   {"query_pre_attn_scalar"}));
}

TEST(GgufWriter, LeavesNothingBehindOnAFullDisk) {
  TemporaryDirectory directory;
  const fs::path target = directory.path() / "out.gguf";
  Writing writing(family_path("gpt2"));
  const uint64_t size = plan_write(writing.request()).file_bytes;
  for (const uint64_t limit : {size / 100, size / 2, size - 1}) {
    const FileSizeLimit full_disk(limit);
    EXPECT_TRUE(says(failure_of([&] { writing.write(target); }), ErrorCode::kIo, {"out.gguf"}));
    EXPECT_TRUE(fs::is_empty(directory.path())) << limit;
  }
  writing.write(target);
  EXPECT_TRUE(fs::exists(target));
}

TEST(GgufWriter, LeavesTheOldFileUntilItIsCommitted) {
  TemporaryDirectory directory;
  const fs::path target = directory.write("out.gguf", "old");
  const Writing writing(family_path("gpt2"));
  {
    const auto writer = open_writer(writing.request(), target);
    writer->write(writing.finished.front());
  }
  EXPECT_EQ(read_text_file(target), "old");
}

// ---- formats

TEST(FileFormat, HasANameForEach) {
  for (const FileFormat format :
       {FileFormat::kGguf, FileFormat::kCompressedTensors, FileFormat::kGptq}) {
    EXPECT_EQ(parse_file_format(to_string(format)), format);
  }
  EXPECT_TRUE(says(failure_of([] { parse_file_format("gptg"); }), ErrorCode::kBadArgument,
                   {"gptg", "gptq", "compressed-tensors"}));
}

TEST(FileFormat, HasScalesOfF16ButForModelsOfBf16) {
  const Model bf16 = read_model(family_path("llama"));
  const Model f32 = read_model(family_path("granite"));
  EXPECT_EQ(scale_type(bf16, FileFormat::kGguf), TensorType::kF16);
  EXPECT_EQ(scale_type(bf16, FileFormat::kGptq), TensorType::kF16);
  EXPECT_EQ(scale_type(bf16, FileFormat::kCompressedTensors), TensorType::kBf16);
  EXPECT_EQ(scale_type(f32, FileFormat::kCompressedTensors), TensorType::kF16);
}

}  // namespace
}  // namespace isogloss
