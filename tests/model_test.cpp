// Contract of isogloss/model/model.h: what is read, numbers, and unit sets. What is refused is in
// model_faults_test.cpp.
#include "isogloss/model/model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "model_files.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;

constexpr Family kFamilyList[] = {Family::kGpt2, Family::kLlama, Family::kGemma3};
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> decoded(const TensorView& tensor) {
  std::vector<float> numbers(tensor.count());
  decode(tensor, numbers);
  return numbers;
}

const TensorView& get_tensor(const Model& model, std::string_view name) {
  const auto found = std::ranges::find(model.tensors(), name, &TensorView::name);
  if (found == model.tensors().end()) throw std::out_of_range(std::string(name));
  return *found;
}

Strings names_of(const std::vector<FileTensor>& tensors) {
  Strings names;
  for (const auto& tensor : tensors) names.push_back(tensor.name);
  return names;
}

Strings sorted(Strings names) {
  std::ranges::sort(names);
  return names;
}

// A model as the walks below see it, whichever source it is read from.
class Source {
 public:
  virtual ~Source() = default;
  virtual size_t size() const = 0;
  virtual FileTensor& tensor(size_t index) = 0;
  virtual void remove(size_t index) = 0;
  virtual void add(FileTensor tensor) = 0;
  virtual fs::path write(const TemporaryDirectory& directory) const = 0;
};

class GgufSource : public Source {
 public:
  explicit GgufSource(Family family) : file_(tiny_gguf(family)) {}
  size_t size() const override { return file_.tensors.size(); }
  FileTensor& tensor(size_t index) override { return file_.tensors[index]; }
  void remove(size_t index) override {
    file_.tensors.erase(file_.tensors.begin() + static_cast<std::ptrdiff_t>(index));
  }
  void add(FileTensor tensor) override { file_.tensors.push_back({std::move(tensor), 0, {}}); }
  fs::path write(const TemporaryDirectory& directory) const override {
    return directory.write("tiny.gguf", file_.bytes());
  }

 private:
  GgufFile file_;
};

class HfSource : public Source {
 public:
  size_t size() const override { return directory_.tensors.size(); }
  FileTensor& tensor(size_t index) override { return directory_.tensors[index]; }
  void remove(size_t index) override {
    directory_.tensors.erase(directory_.tensors.begin() + static_cast<std::ptrdiff_t>(index));
  }
  void add(FileTensor tensor) override { directory_.tensors.push_back({std::move(tensor), "F32"}); }
  fs::path write(const TemporaryDirectory& directory) const override {
    directory_.write(directory);
    return directory.path();
  }

 private:
  HfDirectory directory_ = tiny_hf();
};

// Every family's GGUF file, and the directory.
class Sources : public testing::TestWithParam<std::string> {
 protected:
  static std::unique_ptr<Source> make() {
    if (GetParam() == "hf") return std::make_unique<HfSource>();
    for (const auto& family : known_families()) {
      if (GetParam() == family.gguf_name) return std::make_unique<GgufSource>(family.family);
    }
    throw std::out_of_range(GetParam());
  }
  Model read(const Source& source) const { return read_model(source.write(directory_)); }
  Failure failure_of_reading(const Source& source) const {
    return failure_of([&] { read(source); });
  }
  std::string weights_file() const {
    return (directory_.path() / (GetParam() == "hf" ? "model.safetensors" : "tiny.gguf")).string();
  }

  TemporaryDirectory directory_;
};

INSTANTIATE_TEST_SUITE_P(All, Sources, testing::Values("gpt2", "llama", "gemma3", "hf"),
                         [](const auto& source) { return source.param; });

TEST_P(Sources, GiveEveryTensorOneRoleAndItsShape) {
  const auto source = make();
  const Model model = read(*source);
  ASSERT_EQ(model.tensors().size(), source->size());
  std::set<std::pair<Role, size_t>> roles;
  for (size_t i = 0; i < source->size(); ++i) {
    const FileTensor& stored = source->tensor(i);
    const bool hf = GetParam() == "hf";
    const auto found = std::ranges::find(model.tensors(), stored.name,
                                         hf ? &TensorView::hf_name : &TensorView::name);
    ASSERT_NE(found, model.tensors().end()) << stored.name;
    EXPECT_TRUE(roles.emplace(found->role, found->layer).second) << stored.name;
    std::vector<uint64_t> shape = {found->rows, found->cols};
    if (found->order == StorageOrder::kColumns) std::swap(shape[0], shape[1]);
    if (stored.shape.size() == 1) shape.erase(shape.begin());
    EXPECT_EQ(shape, stored.shape) << stored.name;
    EXPECT_EQ(model.find_tensor(found->role, found->layer), found - model.tensors().begin());
    const std::string bytes(reinterpret_cast<const char*>(found->bytes.data()),
                            found->bytes.size());
    EXPECT_EQ(bytes, stored.data) << stored.name;
  }
}

TEST_P(Sources, ListTensorsInTheOrderInWhichADecoderUsesThem) {
  const Model model = read(*make());
  std::vector<std::pair<size_t, Role>> places;
  for (const auto& tensor : model.tensors()) {
    const RoleInfo& role = get_role_info(tensor.role);
    const size_t output = model.config().layers + 1;
    const size_t stage = role.per_layer() ? tensor.layer + 1 : 0;
    places.emplace_back(role.component == Component::kOutput ? output : stage, tensor.role);
  }
  EXPECT_TRUE(std::ranges::is_sorted(places));
}

TEST_P(Sources, NameATensorThatIsMissing) {
  const size_t count = make()->size();
  for (size_t i = 0; i < count; ++i) {
    const auto source = make();
    const std::string name = source->tensor(i).name;
    source->remove(i);
    if (name == "output.weight") {
      EXPECT_TRUE(read(*source).config().tied_head);
    } else {
      EXPECT_TRUE(says(failure_of_reading(*source), ErrorCode::kCorrupt,
                       {weights_file(), "'" + name + "' is missing"}));
    }
  }
  EXPECT_EQ(read(*make()).config().tied_head, GetParam() != "llama");
}

TEST_P(Sources, NameATensorThatHasNoRole) {
  for (const std::string name : {"surplus", "blk.0.surplus.weight", "blk.2.attn_norm.weight",
                                 "h.2.ln_1.weight", "blk.0.attn_norm.weight.", ""}) {
    const auto source = make();
    source->add({name, {3}});
    EXPECT_TRUE(says(failure_of_reading(*source), ErrorCode::kUnsupported,
                     {weights_file(), "'" + name + "' [3] has no role"}));
  }
  EXPECT_NO_THROW(read(*make()));
}

TEST_P(Sources, NameATensorOfAnotherShape) {
  const size_t count = make()->size();
  for (size_t i = 0; i < count; ++i) {
    const std::vector<uint64_t> shape = make()->tensor(i).shape;
    std::vector<std::vector<uint64_t>> others = {{shape.front() + 1}, {1, shape.back()}};
    if (shape.size() == 2) {
      others = {{shape[0] + 1, shape[1]}, {shape[0], shape[1] - 1}, {shape[0] * shape[1]}};
      if (shape[0] != shape[1]) others.push_back({shape[1], shape[0]});
    }
    for (const auto& other : others) {
      const auto source = make();
      const std::string name = source->tensor(i).name;
      source->tensor(i) = {name, other};
      std::string text = fmt::format("'{}' has shape [{}], expected [{}]", name,
                                     fmt::join(other, ", "), fmt::join(shape, ", "));
      if (name == "token_embd.weight" && other.size() == 2 && other[0] != shape[0]) {
        text = fmt::format("the tokenizer has 64 tokens, the embedding {} rows", other[0]);
      }
      EXPECT_TRUE(says(failure_of_reading(*source), ErrorCode::kMismatch, {weights_file(), text}));
    }
  }
  EXPECT_NO_THROW(read(*make()));
}

TEST(TableOfRoles, GivesOneNameToEachRoleAndListsThemInOrder) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < kRoles; ++i) {
    const RoleInfo& role = tensor_roles()[i];
    EXPECT_EQ(static_cast<size_t>(role.role), i);
    // Files that hold gate and up in one call them "up", and have no other.
    EXPECT_TRUE(names.insert(role.gguf_name).second || role.role == Role::kFfnUp) << role.gguf_name;
    EXPECT_EQ(role.gguf_name.find("{}") != std::string_view::npos, role.per_layer());
  }
}

TEST_F(Models, HaveTheConfigurationOfTheirFile) {
  for (const Family family : kFamilyList) {
    const ModelConfig config = read(tiny_gguf(family)).config();
    const TinySizes sizes = tiny_sizes(family);
    EXPECT_EQ(config.family, family);
    EXPECT_EQ(config.name, "tiny");
    EXPECT_EQ(config.layers, kTinyLayers);
    EXPECT_EQ(config.width, sizes.width);
    EXPECT_EQ(config.heads, sizes.heads);
    EXPECT_EQ(config.kv_heads, sizes.kv_heads);
    EXPECT_EQ(config.head_dim, sizes.head_dim);
    EXPECT_EQ(config.ffn_width, sizes.ffn_width);
    EXPECT_EQ(config.vocab_size, kTinyVocabulary);
    EXPECT_EQ(config.context_length, sizes.context);
    EXPECT_EQ(config.rope.dims, family == Family::kGpt2 ? 0 : sizes.head_dim);
    EXPECT_FLOAT_EQ(config.attention_scale, 1 / std::sqrt(static_cast<float>(sizes.head_dim)));
    EXPECT_EQ(config.embedding_scale, family == Family::kGemma3 ? 4 : 1);
  }
}

TEST_F(Models, OfGemma3SeeEverythingInEveryNthLayer) {
  GgufFile file = tiny_gguf(Family::kGemma3);
  file.set_u32("gemma3.attention.sliding_window", 5);
  const ModelConfig every_sixth = read(file).config();
  EXPECT_EQ(every_sixth.layer_configs[0].window, 5U);
  EXPECT_EQ(every_sixth.layer_configs[1].window, 5U);
  file.set_u32("gemma3.attention.sliding_window_pattern", 2);
  const ModelConfig every_second = read(file).config();
  EXPECT_EQ(every_second.layer_configs[0].window, 5U);
  EXPECT_EQ(every_second.layer_configs[1].window, 0U);
}

TEST_F(Models, AreTheSameFromBothSources) {
  const Model gguf = read(tiny_gguf(Family::kGpt2));
  const Model hf = read(tiny_hf());
  ASSERT_EQ(gguf.tensors().size(), hf.tensors().size());
  for (size_t i = 0; i < hf.tensors().size(); ++i) {
    EXPECT_EQ(hf.tensors()[i].name, gguf.tensors()[i].name);
    EXPECT_EQ(hf.tensors()[i].hf_name, gguf.tensors()[i].hf_name);
    EXPECT_EQ(hf.tensors()[i].rows, gguf.tensors()[i].rows);
    EXPECT_EQ(hf.tensors()[i].cols, gguf.tensors()[i].cols);
  }
  EXPECT_EQ(hf.config().name, directory_.path().filename());
  EXPECT_EQ(hf.vocabulary().tokens, gguf.vocabulary().tokens);
  EXPECT_EQ(hf.vocabulary().merges, gguf.vocabulary().merges);
  EXPECT_NO_THROW(check_same_model(gguf, hf));
}

TEST_F(Models, ReadWhatTransformersWrote) {
  const Model model = read_model(fs::path(ISOGLOSS_SOURCE_DIR) / "tests/data/tiny-gpt2");
  EXPECT_EQ(model.config().layers, 2U);
  EXPECT_EQ(model.config().vocab_size, 64U);
  EXPECT_EQ(model.tensors().size(), 2 + 2 * 12 + 2U);
  for (const auto& tensor : model.tensors()) EXPECT_NO_THROW(decoded(tensor)) << tensor.name;
}

TEST_F(Models, ReadOldVersionsAndOtherAlignments) {
  GgufFile file = tiny_gguf(Family::kLlama);
  file.version = 2;
  EXPECT_NO_THROW(read(file));
  for (const uint32_t alignment : {1U, 8U, 64U, 4096U}) {
    file.alignment = alignment;
    file.set_u32("general.alignment", alignment);
    file.set_string("padding", std::string(alignment % 7, 'x'));
    const Model model = read(file);
    EXPECT_EQ(decoded(get_tensor(model, "output.weight")).size(), kTinyVocabulary * 32U);
  }
}

TEST_F(Models, ReadPrefixesAndSkipMasksOfOldCheckpoints) {
  HfDirectory hf = tiny_hf();
  for (auto& tensor : hf.tensors) tensor.name = "transformer." + tensor.name;
  hf.tensors.push_back({{"transformer.h.0.attn.bias", {1, 1, 4, 4}}, "F32"});
  hf.tensors.push_back({{"h.1.attn.masked_bias", {1}}, "F32"});
  EXPECT_EQ(read(hf).tensors().size(), hf.tensors.size() - 2);
  EXPECT_EQ(read(hf).tensors().front().hf_name, "transformer.wte.weight");
}

TEST_F(Models, TakeAStoredHeadForWhatTheConfigurationSaysItIs) {
  HfDirectory hf = tiny_hf();
  hf.tensors.push_back({{"lm_head.weight", {kTinyVocabulary, kTinyGpt2.width}}, "F32"});
  hf.config["tie_word_embeddings"] = false;
  EXPECT_FALSE(read(hf).config().tied_head);
  hf.config["tie_word_embeddings"] = true;
  EXPECT_TRUE(says(failure_of([&] { read(hf); }), ErrorCode::kMismatch,
                   {"'lm_head.weight'", "'wte.weight'", "tie_word_embeddings"}));
  const auto embedding =
      std::ranges::find(hf.tensors, "wte.weight", [](auto& tensor) { return tensor.name; });
  hf.tensors.back().data = embedding->data;
  EXPECT_TRUE(read(hf).config().tied_head);
}

TEST_F(Models, PadTheVocabularyToTheRowsOfTheEmbedding) {
  HfDirectory hf = tiny_hf();
  auto& vocabulary = hf.tokenizer["model"]["vocab"];
  vocabulary.erase("w63");
  const Model model = read(hf);
  EXPECT_EQ(model.vocabulary().size(), kTinyVocabulary);
  EXPECT_EQ(model.vocabulary().tokens[63], "[PAD63]");
  EXPECT_EQ(model.vocabulary().types[63], TokenType::kUnused);
}

// A matrix over bytes that the test keeps.
TensorView view_of(TensorType type, size_t rows, size_t cols, std::span<const std::byte> bytes) {
  TensorView view;
  view.name = "blk.0.some.weight";
  view.rows = rows;
  view.cols = cols;
  view.type = type;
  view.bytes = bytes;
  return view;
}

using Floats = std::vector<float>;
constexpr TensorType kQ8_0{8};

TEST(Decode, ReadsEveryPlainType) {
  const std::string f32 = bytes_of(Floats{1.5F, -2, 0, 1e-40F, 3e38F, -0.1F});
  EXPECT_EQ(decoded(view_of(TensorType::kF32, 2, 3, std::as_bytes(std::span(f32)))),
            (Floats{1.5F, -2, 0, 1e-40F, 3e38F, -0.1F}));
  const std::vector<uint16_t> f16 = {0x3c00, 0xc000, 0x0001, 0x7bff, 0x8000, 0x3555};
  EXPECT_EQ(decoded(view_of(TensorType::kF16, 2, 3, std::as_bytes(std::span(f16)))),
            (Floats{1, -2, 0x1p-24F, 65504, 0, 0x1.554p-2F}));
  const std::vector<uint16_t> bf16 = {0x3f80, 0xc000, 0x4049, 0x7f7f, 0x8000, 0x0080};
  EXPECT_EQ(decoded(view_of(TensorType::kBf16, 2, 3, std::as_bytes(std::span(bf16)))),
            (Floats{1, -2, 3.140625F, 0x1.fep127F, 0, 0x1p-126F}));
}

// One Q8_0 block: a half and 32 signed bytes.
std::string q8_0_block(uint16_t scale, int first) {
  std::string block = bytes_of(scale);
  for (int i = 0; i < 32; ++i) block += static_cast<char>(first + i);
  return block;
}

TEST(Decode, ReadsBlocks) {
  const std::string bytes = q8_0_block(0x3800, -16) + q8_0_block(0x3c00, 96) +
                            q8_0_block(0xbc00, -128) + q8_0_block(0x0000, 1);
  const Floats numbers = decoded(view_of(kQ8_0, 2, 64, std::as_bytes(std::span(bytes))));
  const Floats scales = {0.5F, 1, -1, 0};
  const Floats firsts = {-16, 96, -128, 1};
  for (size_t i = 0; i < numbers.size(); ++i) {
    const size_t block = i / 32;
    EXPECT_EQ(numbers[i], scales[block] * (firsts[block] + static_cast<float>(i % 32)));
  }
}

TEST(Decode, TurnsTransposedTensors) {
  const Floats stored = {1, 2, 3, 4, 5, 6};  // [2 inputs][3 outputs]
  TensorView view = view_of(TensorType::kF32, 3, 2, std::as_bytes(std::span(stored)));
  view.order = StorageOrder::kColumns;
  EXPECT_EQ(decoded(view), (Floats{1, 4, 2, 5, 3, 6}));
  const std::vector<uint16_t> halves = {0x3c00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600};
  view = view_of(TensorType::kF16, 2, 3, std::as_bytes(std::span(halves)));
  view.order = StorageOrder::kColumns;
  EXPECT_EQ(decoded(view), (Floats{1, 3, 5, 2, 4, 6}));
}

TEST(Decode, ReadsBytesAtAnyAddress) {
  for (size_t shift = 0; shift < 9; ++shift) {
    const std::string pad(shift, '\xff');
    const std::string f32 = pad + bytes_of(Floats{1.5F, -2});
    const std::string f16 = pad + bytes_of(std::vector<uint16_t>{0x3c00, 0xc000});
    const std::string q8 = pad + q8_0_block(0x3800, -16);
    const auto bytes = [&](const std::string& text) {
      return std::as_bytes(std::span(text)).subspan(shift);
    };
    EXPECT_EQ(decoded(view_of(TensorType::kF32, 1, 2, bytes(f32))), (Floats{1.5F, -2}));
    EXPECT_EQ(decoded(view_of(TensorType::kF16, 1, 2, bytes(f16))), (Floats{1, -2}));
    EXPECT_EQ(decoded(view_of(kQ8_0, 1, 32, bytes(q8)))[31], 7.5F);
  }
}

TEST(Decode, NamesTheFirstNumberThatIsNotFinite) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    const Floats numbers = {1, 2, 3, 4, bad, bad};
    const TensorView view = view_of(TensorType::kF32, 2, 3, std::as_bytes(std::span(numbers)));
    EXPECT_TRUE(says(failure_of([&] { decoded(view); }), ErrorCode::kNotFinite,
                     {"tensor 'blk.0.some.weight'", "row 1, column 1"}));
  }
  const std::string block = q8_0_block(0x7c00, 1);
  const TensorView view = view_of(kQ8_0, 1, 32, std::as_bytes(std::span(block)));
  EXPECT_TRUE(says(failure_of([&] { decoded(view); }), ErrorCode::kNotFinite, {"row 0, column 0"}));
}

TEST_F(Models, ThatHoldNanSayWhereWhenDecoded) {
  GgufFile file = tiny_gguf(Family::kLlama);
  file.tensor("blk.1.ffn_up.weight").data.replace(4 * (32 * 3 + 5), 4, bytes_of(kNan));
  const Model model = read(file);
  EXPECT_TRUE(says(failure_of([&] { decoded(get_tensor(model, "blk.1.ffn_up.weight")); }),
                   ErrorCode::kNotFinite, {"tensor 'blk.1.ffn_up.weight'", "row 3, column 5"}));
  EXPECT_NO_THROW(decoded(get_tensor(model, "blk.0.ffn_up.weight")));
}

TEST_F(Models, ReadConv1dWeightsAndMisalignedData) {
  for (const size_t gap : {0U, 1U, 3U}) {
    HfDirectory hf = tiny_hf();
    hf.gap = gap;
    std::vector<uint16_t> halves(kTinyGpt2.width * kTinyGpt2.ffn_width, 0);
    halves[kTinyGpt2.ffn_width * 2 + 7] = 0x3c00;  // input 2, output 7
    hf.tensor("h.1.mlp.c_fc.weight").data = bytes_of(halves);
    hf.tensor("h.1.mlp.c_fc.weight").dtype = "F16";
    const Model model = read(hf);
    const TensorView& up = get_tensor(model, "blk.1.ffn_up.weight");
    EXPECT_EQ(up.rows, kTinyGpt2.ffn_width);
    EXPECT_EQ(up.cols, kTinyGpt2.width);
    Floats expected(up.count(), 0);
    expected[7 * up.cols + 2] = 1;
    EXPECT_EQ(decoded(up), expected);
    const TensorView& embedding = get_tensor(model, "token_embd.weight");
    EXPECT_EQ(bytes_of(decoded(embedding)), hf.tensor("wte.weight").data);
  }
}

TEST(TensorTypes, AreFoundByNameAndKnowTheirBlocks) {
  const auto q4_k = find_tensor_type("Q4_K");
  ASSERT_TRUE(q4_k.has_value());
  EXPECT_EQ(static_cast<int>(*q4_k), 12);
  const TensorTypeInfo info = get_tensor_type_info(*q4_k);
  EXPECT_EQ(info.name, "q4_k");
  EXPECT_EQ(info.block_size, 256U);
  EXPECT_EQ(info.block_bytes, 144U);
  EXPECT_TRUE(info.quantized);
  EXPECT_FALSE(get_tensor_type_info(TensorType::kBf16).quantized);
  EXPECT_FALSE(find_tensor_type("q4_2").has_value());
  EXPECT_FALSE(find_tensor_type("i32").has_value());
  EXPECT_FALSE(find_tensor_type("").has_value());
}

TEST_F(Models, SayWhetherTheirBlocksAreQuantized) {
  GgufFile file = tiny_gguf(Family::kLlama);
  EXPECT_EQ(read(file).quantized_blocks(), "");
  file.tensor("output.weight").type = 8;
  EXPECT_EQ(read(file).quantized_blocks(), "");
  for (const std::string name : {"attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up"}) {
    for (size_t layer = 0; layer < kTinyLayers; ++layer) {
      file.tensor(fmt::format("blk.{}.{}.weight", layer, name)).type = 8;
    }
  }
  // Per layer 32 * (24 + 12 + 12 + 40 + 40) numbers at 8.5 bits, 32 * (24 + 40) at 32.
  const double bits = (8.5 * 128 + 32.0 * 64) / (128 + 64);
  EXPECT_EQ(read(file).quantized_blocks(), fmt::format("{:.2f} bits per weight: q8_0", bits));
}

class SameModel : public Models {
 protected:
  testing::AssertionResult differs(const GgufFile& other, const Strings& parts) const {
    const Model reference = read(tiny_gguf(Family::kLlama), "reference.gguf");
    const Model candidate = read(other, "candidate.gguf");
    Strings all = {"candidate.gguf", "reference.gguf"};
    all.insert(all.end(), parts.begin(), parts.end());
    return says(failure_of([&] { check_same_model(reference, candidate); }), ErrorCode::kMismatch,
                all);
  }
};

TEST_F(SameModel, HasTheSameSizes) {
  GgufFile more_heads = tiny_gguf(Family::kLlama);
  more_heads.set_u32("llama.attention.head_count", 12);
  more_heads.set_u32("llama.attention.head_count_kv", 6);
  more_heads.set_u32("llama.attention.key_length", 2);
  EXPECT_TRUE(differs(more_heads, {"head count is 12, not 4"}));
  EXPECT_TRUE(differs(tiny_gguf(Family::kGemma3), {"family is gemma3, not llama"}));
  GgufFile one_layer = tiny_gguf(Family::kLlama);
  one_layer.set_u32("llama.block_count", 1);
  std::erase_if(one_layer.tensors, [](auto& tensor) { return tensor.name.starts_with("blk.1."); });
  EXPECT_TRUE(differs(one_layer, {"layer count is 1, not 2"}));
}

TEST_F(SameModel, HasTheSameWidth) {
  GgufFile narrow = tiny_gguf(Family::kLlama);
  narrow.set_u32("llama.embedding_length", 16);
  for (auto& tensor : narrow.tensors) {
    std::ranges::replace(tensor.shape, uint64_t{32}, uint64_t{16});
    tensor.data.resize(4 * product(tensor.shape));
  }
  EXPECT_TRUE(differs(narrow, {"width is 16, not 32"}));
}

TEST_F(SameModel, HasTheSameVocabulary) {
  GgufFile fewer = tiny_gguf(Family::kLlama);
  Strings tokens = tiny_tokens("\u2581");
  tokens.resize(60);
  fewer.set_strings("tokenizer.ggml.tokens", tokens);
  for (const std::string name : {"token_embd.weight", "output.weight"}) {
    fewer.tensor(name).shape = {60, 32};
  }
  EXPECT_TRUE(differs(fewer, {"vocabulary size is 60, not 64"}));
  GgufFile other = tiny_gguf(Family::kLlama);
  tokens = tiny_tokens("\u2581");
  tokens[40] = "other";
  other.set_strings("tokenizer.ggml.tokens", tokens);
  EXPECT_TRUE(differs(other, {"token 40 is 'other', not 'w40'"}));
}

TEST_F(SameModel, MayHaveOtherWeightsAndTypes) {
  GgufFile other = tiny_gguf(Family::kLlama);
  other.tensor("output.weight").type = 8;
  std::ranges::fill(other.tensor("blk.0.attn_q.weight").data, '\0');
  EXPECT_NO_THROW(
      check_same_model(read(tiny_gguf(Family::kLlama), "a.gguf"), read(other, "b.gguf")));
}

class UnitSets : public Models {
 protected:
  static Strings selected(const Model& model, std::string_view units) {
    const TensorSet set = select_tensors(model, units);
    Strings names;
    for (size_t i = 0; i < set.size(); ++i) {
      if (set[i]) names.push_back(model.tensors()[i].name);
    }
    return sorted(names);
  }
  // Names of the model's tensors that contain one of `parts`.
  static Strings containing(const Model& model, const Strings& parts) {
    Strings names;
    for (const auto& tensor : model.tensors()) {
      const auto is_in = [&](const std::string& part) {
        return tensor.name.find(part) != part.npos;
      };
      if (std::ranges::any_of(parts, is_in)) names.push_back(tensor.name);
    }
    return sorted(names);
  }
  static Failure failure_of_units(const Model& model, std::string_view units) {
    return failure_of([&] { select_tensors(model, units); });
  }
  Model gpt2() const { return read(tiny_gguf(Family::kGpt2)); }
};

TEST_F(UnitSets, NameLayersAndTheirHalves) {
  const Model model = gpt2();
  EXPECT_EQ(selected(model, "L1"), sorted(names_of(gguf_layer_tensors(Family::kGpt2, 1))));
  EXPECT_EQ(selected(model, "L0.attn"), containing(model, {"blk.0.attn_"}));
  EXPECT_EQ(selected(model, "L1.mlp"), containing(model, {"blk.1.ffn_"}));
  const Model gemma = read(tiny_gguf(Family::kGemma3));
  EXPECT_EQ(selected(gemma, "L0.attn"), containing(gemma, {"blk.0.attn_", "blk.0.post_attention"}));
  EXPECT_EQ(selected(gemma, "L0.mlp"), containing(gemma, {"blk.0.ffn_", "blk.0.post_ffw"}));
}

TEST_F(UnitSets, NameKindsOfTensors) {
  const Model model = gpt2();
  EXPECT_EQ(selected(model, "embeddings"), (Strings{"position_embd.weight", "token_embd.weight"}));
  EXPECT_EQ(selected(model, "biases"), containing(model, {".bias"}));
  EXPECT_EQ(selected(model, "norms"), containing(model, {"norm.weight"}));
  EXPECT_EQ(selected(read(tiny_gguf(Family::kLlama)), "biases"), Strings{});
}

TEST_F(UnitSets, NameTheEmbeddingAsTheHeadWhereItIsTied) {
  EXPECT_EQ(selected(gpt2(), "head"), Strings{"token_embd.weight"});
  const Model own_head = read(tiny_gguf(Family::kLlama));
  EXPECT_EQ(selected(own_head, "head"), Strings{"output.weight"});
  EXPECT_EQ(selected(own_head, "embeddings"), Strings{"token_embd.weight"});
}

TEST_F(UnitSets, NameTensorsWithOrWithoutTheirSuffix) {
  const Model model = gpt2();
  EXPECT_EQ(selected(model, "blk.1.ffn_down"), Strings{"blk.1.ffn_down.weight"});
  EXPECT_EQ(selected(model, "blk.1.ffn_down.weight"), Strings{"blk.1.ffn_down.weight"});
  EXPECT_EQ(selected(model, "blk.1.ffn_down.bias"), Strings{"blk.1.ffn_down.bias"});
}

TEST_F(UnitSets, AreSums) {
  const Model model = gpt2();
  EXPECT_EQ(selected(model, "L0+head+blk.1.attn_qkv+L0.attn"),
            containing(model, {"blk.0.", "token_embd", "blk.1.attn_qkv.weight"}));
}

Strings layers_of(const Model& model, const std::string& units) {
  const TensorSet set = select_tensors(model, units);
  std::set<size_t> layers;
  for (size_t i = 0; i < set.size(); ++i) {
    if (set[i]) layers.insert(model.tensors()[i].layer);
  }
  Strings names;
  for (const size_t layer : layers) names.push_back(std::to_string(layer));
  return names;
}

TEST_F(UnitSets, DrawWholeLayersBySeed) {
  const Model model = read_model(fs::path(ISOGLOSS_SOURCE_DIR) / "models/polyglot-12");
  ASSERT_EQ(model.config().layers, 12U);
  EXPECT_EQ(layers_of(model, "random:3@42"), (Strings{"2", "4", "8"}));
  EXPECT_EQ(selected(model, "random:3@42"), selected(model, "random:3@42"));
  EXPECT_EQ(selected(model, "random:3@42").size(), 3 * 12U);
  std::set<Strings> draws;
  for (int seed = 0; seed < 20; ++seed)
    draws.insert(layers_of(model, fmt::format("random:3@{}", seed)));
  EXPECT_GT(draws.size(), 15U);  // of 220 sets of three layers
  EXPECT_EQ(layers_of(model, "random:12@7").size(), 12U);
}

TEST_F(UnitSets, RefuseWhatNamesNothing) {
  const Model model = gpt2();
  for (const std::string unit : {"L2", "L", "L0.", "L0.ffn", "L-1", "L0x", "random:3@1",
                                 "random:0@1", "random:1", "random:1@", "random:@1", "random:1@x",
                                 "blk.2.ffn_up", "output", ".weight", "layers", " L0", ""}) {
    EXPECT_TRUE(says(failure_of_units(model, unit), ErrorCode::kBadArgument,
                     {"unit '" + unit + "' names nothing", "L0..L1", "random:N@SEED"}));
  }
  for (const std::string sum : {"L0+", "+L0", "L0++L1", "L0+L7"}) {
    EXPECT_EQ(failure_of_units(model, sum).code, ErrorCode::kBadArgument) << sum;
  }
}

TEST_F(UnitSets, SuggestWhatWasMeant) {
  const Model model = gpt2();
  const std::map<std::string, std::string> meant = {
      {"embedings", "embeddings"},
      {"norm", "norms"},
      {"l0.attn", "L0.attn"},
      {"L0.atn", "L0.attn"},
      {"blk.0.ffn_dwn", "blk.0.ffn_down"},
      {"blk.0.ffn_dwn.weight", "blk.0.ffn_down.weight"},
      {"tokn_embd", "token_embd"}};
  for (const auto& [unit, expected] : meant) {
    EXPECT_TRUE(says(failure_of_units(model, unit), ErrorCode::kBadArgument,
                     {"did you mean '" + expected + "'"}));
  }
}

}  // namespace
}  // namespace isogloss
