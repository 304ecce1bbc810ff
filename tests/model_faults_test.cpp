// Contract of isogloss/model/model.h: what is refused, in which words, and that nothing else
// happens.
#include <gtest/gtest.h>

#include <limits>
#include <map>

#include "isogloss/model/model.h"
#include "isogloss/tokens/tokens.h"
#include "model_files.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr Family kFamilyList[] = {Family::kGpt2, Family::kLlama, Family::kGemma3};
constexpr uint64_t kMost64 = std::numeric_limits<uint64_t>::max();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Damages a valid GGUF file and looks at the error; the valid twin loads after every test.
class GgufFaults : public Models {
 protected:
  using Damage = std::function<void(GgufFile&)>;

  void TearDown() override {
    for (const Family family : kFamilyList) EXPECT_NO_THROW(read(tiny_gguf(family)));
  }
  testing::AssertionResult refuses_bytes(std::string_view bytes, ErrorCode code,
                                         Strings parts) const {
    const fs::path path = directory_.write("damaged.gguf", bytes);
    parts.push_back(path.string());
    return says(failure_of([&] { read_model(path); }), code, parts);
  }
  testing::AssertionResult refuses(const Damage& damage, ErrorCode code,
                                   const Strings& parts) const {
    GgufFile file = tiny_gguf(family_);
    damage(file);
    return refuses_bytes(file.bytes(), code, parts);
  }
  testing::AssertionResult refuses_number(const std::string& key, uint32_t value,
                                          const Strings& parts) const {
    return refuses([&](GgufFile& file) { file.set_u32(key, value); }, ErrorCode::kCorrupt, parts);
  }

  Family family_ = Family::kLlama;
};

TEST_F(GgufFaults, AFileThatIsNotThereOrCannotBeOpened) {
  const fs::path missing = directory_.path() / "none.gguf";
  EXPECT_TRUE(says(failure_of([&] { read_model(missing); }), ErrorCode::kNotFound,
                   {missing.string(), "cannot open"}));
  const fs::path loop = directory_.path() / "loop";
  fs::create_symlink(loop, loop);
  EXPECT_TRUE(says(failure_of([&] { read_model(loop); }), ErrorCode::kIo, {loop.string()}));
  const fs::path longest = directory_.path() / std::string(300, 'x');
  EXPECT_TRUE(says(failure_of([&] { read_model(longest); }), ErrorCode::kIo, {longest.string()}));
}

TEST_F(GgufFaults, AFileOfAnotherKind) {
  EXPECT_TRUE(refuses_bytes("", ErrorCode::kCorrupt, {"is empty"}));
  EXPECT_TRUE(refuses_bytes("GGU", ErrorCode::kCorrupt, {"magic", "3 are left"}));
  EXPECT_TRUE(refuses_bytes("{\"model_type\": 1}", ErrorCode::kCorrupt, {"is not a GGUF file"}));
  EXPECT_TRUE(refuses([](auto& file) { file.magic = "ggml"; }, ErrorCode::kCorrupt,
                      {"is not a GGUF file"}));
}

TEST_F(GgufFaults, AVersionThatIsNotRead) {
  for (const uint32_t version : {0U, 1U, 4U}) {
    EXPECT_TRUE(refuses([=](auto& file) { file.version = version; }, ErrorCode::kUnsupported,
                        {fmt::format("GGUF version {}; versions 2 and 3", version)}));
  }
  EXPECT_TRUE(refuses([](auto& file) { file.version = 0x03000000; }, ErrorCode::kUnsupported,
                      {"big-endian"}));
}

TEST_F(GgufFaults, AFileCutAtAnyByte) {
  const std::string bytes = tiny_gguf(Family::kGpt2).bytes();
  const fs::path path = directory_.write("cut.gguf", bytes);
  for (size_t size = bytes.size(); size-- > 0;) {
    fs::resize_file(path, size);
    const Failure failure = failure_of([&] { read_model(path); });
    ASSERT_TRUE(says(failure, ErrorCode::kCorrupt, {path.string()})) << size << " bytes";
  }
}

TEST_F(GgufFaults, CountsThatAreLargerThanTheFile) {
  for (const uint64_t count : {uint64_t{1000}, uint64_t{1} << 40, kMost64}) {
    EXPECT_TRUE(refuses([=](auto& file) { file.key_count = count; }, ErrorCode::kCorrupt, {"key"}));
    EXPECT_TRUE(refuses([=](auto& file) { file.tensor_count = count; }, ErrorCode::kCorrupt, {}));
  }
}

TEST_F(GgufFaults, ATensorThatIsNotInsideTheData) {
  const auto with_offset = [](uint64_t offset) {
    return [=](GgufFile& file) { file.tensor("output.weight").offset = offset; };
  };
  for (const uint64_t offset : {uint64_t{1} << 20, uint64_t{1} << 63, kMost64 - 31}) {
    EXPECT_TRUE(refuses(with_offset(offset), ErrorCode::kCorrupt,
                        {"'output.weight'", std::to_string(offset), "the data ends at"}));
  }
  for (const uint64_t offset : {1, 4, 16, 31}) {
    EXPECT_TRUE(refuses(with_offset(offset), ErrorCode::kCorrupt,
                        {"'output.weight'", std::to_string(offset), "not a multiple of 32"}));
  }
}

TEST_F(GgufFaults, AnAlignmentThatIsNone) {
  for (const uint32_t alignment : {0U, 3U, 48U, 1U << 30}) {
    EXPECT_TRUE(refuses_number("general.alignment", alignment,
                               {"general.alignment is " + std::to_string(alignment)}));
  }
}

TEST_F(GgufFaults, AThingThatIsThereTwice) {
  EXPECT_TRUE(refuses([](auto& file) { file.tensors.push_back(file.tensor("output.weight")); },
                      ErrorCode::kCorrupt, {"tensor 'output.weight' is there twice"}));
  EXPECT_TRUE(refuses([](auto& file) { file.keys.push_back(file.key("llama.block_count")); },
                      ErrorCode::kCorrupt, {"key 'llama.block_count' is there twice"}));
}

TEST_F(GgufFaults, AKeyThatIsMissing) {
  const Strings required = {"general.architecture",      "llama.block_count",
                            "llama.embedding_length",    "llama.attention.head_count",
                            "llama.feed_forward_length", "llama.context_length",
                            "tokenizer.ggml.model",      "llama.attention.layer_norm_rms_epsilon"};
  for (const auto& key : required) {
    EXPECT_TRUE(refuses([&](auto& file) { file.erase_key(key); }, ErrorCode::kCorrupt,
                        {"key '" + key + "' is missing"}));
  }
  EXPECT_TRUE(refuses([](auto& file) { file.erase_key("tokenizer.ggml.tokens"); },
                      ErrorCode::kMismatch, {"the tokenizer has 0 tokens, the embedding 64 rows"}));
}

TEST_F(GgufFaults, AKeyOfAnotherType) {
  const std::map<std::string, std::string> expected = {
      {"llama.block_count", "a number of at least 0"},
      {"llama.attention.head_count_kv", "a number of at least 0"},
      {"llama.attention.layer_norm_rms_epsilon", "a floating-point number"},
      {"llama.rope.freq_base", "a floating-point number"},
      {"general.architecture", "a string"},
      {"tokenizer.ggml.tokens", "an array of strings"},
      {"tokenizer.ggml.scores", "an array of numbers"},
      {"tokenizer.ggml.token_type", "an array of numbers"},
      {"tokenizer.ggml.add_bos_token", "a bool"}};
  for (const auto& [key, kind] : expected) {
    const std::string text = "key '" + key + "' is not " + kind;
    const bool wants_string = key == "general.architecture";
    EXPECT_TRUE(refuses(
        [&, name = key](auto& file) {
          if (wants_string) {
            file.set_u32(name, 2);
          } else {
            file.set_string(name, "2");
          }
        },
        ErrorCode::kCorrupt, {text}));
    EXPECT_TRUE(refuses(
        [&, name = key](auto& file) { file.set_numbers(name, kGgufU64, std::vector<uint64_t>{2}); },
        ErrorCode::kCorrupt, {text}));
  }
  EXPECT_TRUE(refuses([](auto& file) { file.set("llama.block_count", kGgufI32, bytes_of(-2)); },
                      ErrorCode::kCorrupt, {"llama.block_count", "at least 0"}));
}

TEST_F(GgufFaults, AValueTypeThatIsNone) {
  EXPECT_TRUE(refuses([](auto& file) { file.set("odd", 13, "12345678"); }, ErrorCode::kCorrupt,
                      {"key 'odd' has value type 13"}));
  EXPECT_TRUE(refuses([](auto& file) { file.set("odd", kGgufArray, gguf_array(99, 1, "1")); },
                      ErrorCode::kCorrupt, {"key 'odd' has value type 99"}));
  const std::string inner = gguf_array(kGgufU32, 1, "1234");
  EXPECT_TRUE(
      refuses([&](auto& file) { file.set("odd", kGgufArray, gguf_array(kGgufArray, 1, inner)); },
              ErrorCode::kUnsupported, {"key 'odd' is an array of arrays"}));
}

TEST_F(GgufFaults, AnArrayWhoseCountOverflows) {
  const auto with_array = [](uint32_t type, uint64_t count) {
    return
        [=](GgufFile& file) { file.set("odd", kGgufArray, gguf_array(type, count, "12345678")); };
  };
  constexpr uint64_t kWraps = (uint64_t{1} << 61) + 1;  // times 8 bytes: 8
  EXPECT_TRUE(
      refuses(with_array(kGgufU64, kWraps), ErrorCode::kCorrupt, {"'odd'", "does not fit"}));
  EXPECT_TRUE(refuses(with_array(kGgufU64, uint64_t{1} << 40), ErrorCode::kCorrupt, {"odd"}));
  for (const uint64_t count : {kWraps, uint64_t{1} << 40, kMost64}) {
    EXPECT_TRUE(refuses(with_array(kGgufString, count), ErrorCode::kCorrupt,
                        {"key 'odd' claims " + std::to_string(count) + " strings"}));
  }
}

TEST_F(GgufFaults, AStringWhoseLengthOverflows) {
  for (const uint64_t length : {uint64_t{1} << 63, kMost64, kMost64 - 7}) {
    const std::string text = bytes_of(length) + "text";
    const std::string needed = "needs " + std::to_string(length) + " bytes";
    EXPECT_TRUE(refuses([&](auto& file) { file.set("odd", kGgufString, text); },
                        ErrorCode::kCorrupt, {"odd", needed}));
    EXPECT_TRUE(
        refuses([&](auto& file) { file.set("odd", kGgufArray, gguf_array(kGgufString, 1, text)); },
                ErrorCode::kCorrupt, {"odd", needed}));
    const std::string header =
        "GGUF" + bytes_of(3U) + bytes_of(uint64_t{1}) + bytes_of(uint64_t{0});
    EXPECT_TRUE(refuses_bytes(header + text, ErrorCode::kCorrupt, {"name of tensor 0", needed}));
  }
}

TEST_F(GgufFaults, AShapeThatIsNone) {
  const auto with_shape = [](const std::vector<uint64_t>& shape) {
    return [=](GgufFile& file) { file.tensor("output.weight").shape = shape; };
  };
  constexpr uint64_t k31 = uint64_t{1} << 31;
  EXPECT_TRUE(refuses(with_shape({}), ErrorCode::kCorrupt, {"'output.weight' has 0 dimensions"}));
  EXPECT_TRUE(refuses(with_shape({1, 1, 1, 64, 32}), ErrorCode::kCorrupt,
                      {"'output.weight' has 5 dimensions"}));
  for (const auto& shape : {std::vector<uint64_t>{4 * k31, 4 * k31}, {k31, k31}, {kMost64, 2}}) {
    EXPECT_TRUE(refuses(with_shape(shape), ErrorCode::kCorrupt,
                        {"tensor 'output.weight'", "does not fit in 64 bits"}));
  }
  for (const auto& shape : {std::vector<uint64_t>{0}, {64, 0}, {0, 32}, {kMost64, kMost64, 0}}) {
    EXPECT_TRUE(refuses(with_shape(shape), ErrorCode::kCorrupt,
                        {"'output.weight'", fmt::format("[{}]", fmt::join(shape, ", "))}));
  }
}

TEST_F(GgufFaults, RowsThatAreNotWholeBlocks) {
  constexpr uint32_t kQ4_0 = 2;
  EXPECT_TRUE(refuses(
      [](auto& file) {
        file.tensor("output.weight").type = kQ4_0;
        file.tensor("output.weight").shape = {64, 33};
      },
      ErrorCode::kCorrupt, {"'output.weight'", "rows of 33 numbers", "q4_0 packs 32"}));
  GgufFile valid = tiny_gguf(Family::kLlama);
  valid.tensor("output.weight").type = kQ4_0;
  const Model model = read(valid);
  EXPECT_EQ(model.tensors()[*model.find_tensor(Role::kHead)].bytes.size(), 64U * 18);
}

TEST_F(GgufFaults, ATensorTypeThatIsNone) {
  // Removed (Q4_2, Q4_0_4_4), integer (I8), without a decoder (Q8_1), and beyond the last.
  for (const uint32_t type : {4U, 31U, 24U, 9U, 9999U, 0x80000000U, 0xffffffffU}) {
    EXPECT_TRUE(refuses([=](auto& file) { file.tensor("output.weight").type = type; },
                        ErrorCode::kUnsupported,
                        {"'output.weight' has type " + std::to_string(type)}));
  }
}

TEST_F(GgufFaults, AnArchitectureThatIsNotKnown) {
  EXPECT_TRUE(refuses(
      [](auto& file) { file.set_string("general.architecture", "mamba"); }, ErrorCode::kUnsupported,
      {"architecture 'mamba' is not known", "gpt2, opt", "bloom, gptneox, llama, qwen2"}));
}

TEST_F(GgufFaults, APartOfASplitModel) {
  EXPECT_TRUE(refuses([](auto& file) { file.set_u32("split.count", 2); }, ErrorCode::kUnsupported,
                      {"split", "llama-gguf-split --merge"}));
  GgufFile whole = tiny_gguf(Family::kLlama);
  whole.set_u32("split.count", 1);
  EXPECT_NO_THROW(read(whole));
}

TEST_F(GgufFaults, AVocabularyOfAnotherSizeThanTheEmbedding) {
  Strings tokens = tiny_tokens("x");
  tokens.pop_back();
  EXPECT_TRUE(refuses([&](auto& file) { file.set_strings("tokenizer.ggml.tokens", tokens); },
                      ErrorCode::kMismatch,
                      {"the tokenizer has 63 tokens, the embedding 64 rows"}));
}

TEST_F(GgufFaults, TokenTypesAndIdsThatAreNone) {
  for (const int32_t type : {0, 7, -1}) {
    const std::vector<int32_t> types(kTinyVocabulary, type);
    EXPECT_TRUE(
        refuses([&](auto& file) { file.set_numbers("tokenizer.ggml.token_type", kGgufI32, types); },
                ErrorCode::kCorrupt, {fmt::format("token_type holds {}", type)}));
  }
  EXPECT_TRUE(refuses_number("tokenizer.ggml.bos_token_id", 0x80000000,
                             {"'tokenizer.ggml.bos_token_id' is 2147483648"}));
}

TEST_F(GgufFaults, SizesThatContradictEachOther) {
  EXPECT_TRUE(
      refuses_number("llama.attention.head_count", 3, {"3 attention heads", "2 key/value"}));
  EXPECT_TRUE(refuses_number("llama.rope.dimension_count", 3, {"rotary dimension 3"}));
  EXPECT_TRUE(refuses_number("llama.rope.dimension_count", 8, {"rotary dimension 8", "size 6"}));
  family_ = Family::kGpt2;
  EXPECT_TRUE(refuses_number("gpt2.attention.head_count", 3, {"width 16", "3 heads"}));
  EXPECT_TRUE(refuses_number("gpt2.attention.head_count", 32, {"width 16", "32 heads"}));
}

TEST_F(GgufFaults, SizesOutOfRange) {
  EXPECT_TRUE(refuses_number("llama.attention.head_count", 0, {"head count is 0"}));
  EXPECT_TRUE(refuses_number("llama.attention.head_count_kv", 0, {"key/value head count is 0"}));
  EXPECT_TRUE(refuses_number("llama.attention.key_length", 0, {"head size is 0"}));
  EXPECT_TRUE(refuses_number("llama.block_count", 0, {"layer count is 0"}));
  EXPECT_TRUE(refuses_number("llama.block_count", 5000, {"layer count is 5000"}));
  EXPECT_TRUE(refuses_number("llama.block_count", 3, {"'blk.2.attn_norm.weight' is missing"}));
  EXPECT_TRUE(refuses_number("llama.embedding_length", 0, {"width is 0"}));
  EXPECT_TRUE(refuses_number("llama.feed_forward_length", 1U << 31, {"feed-forward width"}));
  EXPECT_TRUE(refuses_number("llama.context_length", 0, {"context length is 0"}));
  const auto huge = [](auto& file) {
    file.set("llama.embedding_length", kGgufU64, bytes_of(kMost64));
  };
  EXPECT_TRUE(refuses(huge, ErrorCode::kCorrupt, {"width is 18446744073709551615"}));
}

TEST_F(GgufFaults, NumbersThatAreNotFiniteOrNotPositive) {
  for (const float value : {0.0F, -1.0F, kNan, std::numeric_limits<float>::infinity()}) {
    for (const std::string key :
         {"llama.attention.layer_norm_rms_epsilon", "llama.rope.freq_base"}) {
      EXPECT_TRUE(refuses([&](auto& file) { file.set_f32(key, value); }, ErrorCode::kCorrupt,
                          {"expected above 0"}));
    }
  }
  const auto scaled = [](const std::string& type, float factor) {
    return [=](GgufFile& file) {
      file.set_string("llama.rope.scaling.type", type);
      file.set_f32("llama.rope.scaling.factor", factor);
    };
  };
  EXPECT_TRUE(refuses(scaled("linear", -2), ErrorCode::kCorrupt, {"expected above 0"}));
  EXPECT_TRUE(refuses(scaled("yarn", kNan), ErrorCode::kCorrupt, {"expected above 0"}));
  EXPECT_TRUE(refuses(scaled("ntk", 4), ErrorCode::kUnsupported, {"rotary scaling 'ntk'"}));
  family_ = Family::kGemma3;
  for (const float value : {-1.0F, kNan}) {
    EXPECT_TRUE(refuses([&](auto& file) { file.set_f32("gemma3.final_logit_softcapping", value); },
                        ErrorCode::kCorrupt, {"softcap"}));
  }
}

// Damages a valid directory and looks at the error; the valid twin loads after every test.
class HfFaults : public Models {
 protected:
  using Damage = std::function<void(HfDirectory&)>;

  void TearDown() override { EXPECT_NO_THROW(read(tiny_hf())); }

  testing::AssertionResult says_of(const std::string& file, ErrorCode code, Strings parts) const {
    parts.push_back((file.empty() ? directory_.path() : directory_.path() / file).string());
    return says(failure_of([&] { read_model(directory_.path()); }), code, parts);
  }
  testing::AssertionResult refuses(const std::string& file, const Damage& damage, ErrorCode code,
                                   const Strings& parts) const {
    HfDirectory hf = tiny_hf();
    damage(hf);
    hf.write(directory_);
    return says_of(file, code, parts);
  }
  // With "key": value in config.json; a value of null removes the key.
  testing::AssertionResult refuses_config(const std::string& key, const Json& value, ErrorCode code,
                                          const Strings& parts) const {
    return refuses(
        "config.json", [&](auto& hf) { hf.config[key] = value; }, code, parts);
  }
  // With the value of `pointer` in tokenizer.json.
  testing::AssertionResult refuses_tokenizer(const std::string& pointer, const Json& value,
                                             ErrorCode code, const Strings& parts) const {
    const Json::json_pointer place(pointer);
    return refuses(
        "tokenizer.json", [&](auto& hf) { hf.tokenizer[place] = value; }, code, parts);
  }
  // With `text` in place of a whole file.
  testing::AssertionResult refuses_text(const std::string& file, std::string_view text,
                                        ErrorCode code, const Strings& parts) const {
    tiny_hf().write(directory_);
    directory_.write(file, text);
    return says_of(file, code, parts);
  }
  // With "key": value in the safetensors header of one tensor.
  testing::AssertionResult refuses_header(const std::string& key, const Json& value, ErrorCode code,
                                          Strings parts) const {
    const HfDirectory hf = tiny_hf();
    hf.write(directory_);
    Json header = hf.header();
    header["h.0.ln_1.weight"][key] = value;
    directory_.write("model.safetensors", hf.with_header(header.dump()));
    parts.emplace_back("tensor 'h.0.ln_1.weight'");
    return says_of("model.safetensors", code, parts);
  }
};

TEST_F(HfFaults, AFileThatIsMissing) {
  for (const std::string name : {"config.json", "model.safetensors", "tokenizer.json"}) {
    tiny_hf().write(directory_);
    fs::remove(directory_.path() / name);
    EXPECT_TRUE(says_of(name, ErrorCode::kNotFound, {"cannot open"}));
    EXPECT_TRUE(refuses_text(name, "", ErrorCode::kCorrupt, {"is empty"}));
  }
}

TEST_F(HfFaults, AFileCutAtAnyByte) {
  tiny_hf().write(directory_);
  for (const std::string name : {"tokenizer.json", "config.json", "model.safetensors"}) {
    const fs::path path = directory_.path() / name;
    for (auto size = fs::file_size(path); size-- > 0;) {
      fs::resize_file(path, size);
      ASSERT_TRUE(says_of(name, ErrorCode::kCorrupt, {})) << size << " bytes";
    }
    tiny_hf().write(directory_);
  }
}

TEST_F(HfFaults, TextThatIsNotJson) {
  for (const std::string name : {"config.json", "tokenizer.json"}) {
    EXPECT_TRUE(
        refuses_text(name, "{\"a\": 1,}", ErrorCode::kCorrupt, {"not valid JSON at byte 9"}));
    EXPECT_TRUE(refuses_text(name, "{\"a\": \"\xff\"}", ErrorCode::kCorrupt, {"not valid JSON"}));
    EXPECT_TRUE(refuses_text(name, "{\"a\": 1e999}", ErrorCode::kCorrupt, {"not valid JSON"}));
    EXPECT_TRUE(refuses_text(name, "[]", ErrorCode::kCorrupt, {"is not a JSON object"}));
    EXPECT_TRUE(refuses_text(name, R"({"same": 1, "b": {}, "same": 2})", ErrorCode::kCorrupt,
                             {"\"same\" is there twice"}));
  }
}

TEST_F(HfFaults, JsonNestedBeyondMeasure) {
  constexpr size_t kDepth = 1'000'000;  // deep enough to overflow the stack of anything recursive
  const std::string deep = std::string(kDepth, '[') + std::string(kDepth, ']');
  EXPECT_TRUE(refuses_text("tokenizer.json", "{\"normalizer\": " + deep + "}", ErrorCode::kCorrupt,
                           {"nested deeper"}));
  EXPECT_TRUE(refuses_text("config.json", "{\"model_type\": " + deep + "}", ErrorCode::kCorrupt,
                           {"nested deeper"}));
}

TEST_F(HfFaults, AConfigurationWithoutAKey) {
  for (const std::string key :
       {"model_type", "n_layer", "n_embd", "n_head", "n_positions", "vocab_size"}) {
    const Strings parts = {"\"" + key + "\"", " is missing"};
    EXPECT_TRUE(refuses_config(key, nullptr, ErrorCode::kCorrupt, parts));
    EXPECT_TRUE(refuses(
        "config.json", [&](auto& hf) { hf.config.erase(key); }, ErrorCode::kCorrupt, parts));
  }
}

TEST_F(HfFaults, AConfigurationOfTheWrongTypes) {
  for (const std::string key : {"n_layer", "n_embd", "n_inner", "vocab_size"}) {
    for (const Json& value : {Json("16"), Json(16.5), Json(true), Json(-16), Json::array({16})}) {
      EXPECT_TRUE(
          refuses_config(key, value, ErrorCode::kCorrupt, {"\"" + key + "\" is " + value.dump()}));
    }
  }
  EXPECT_TRUE(refuses_config("model_type", 2, ErrorCode::kCorrupt, {"\"model_type\" is 2"}));
  EXPECT_TRUE(refuses_config("layer_norm_epsilon", "small", ErrorCode::kCorrupt,
                             {"\"layer_norm_epsilon\" is \"small\""}));
}

TEST_F(HfFaults, AConfigurationThatContradictsItself) {
  EXPECT_TRUE(refuses_config("n_head", 3, ErrorCode::kCorrupt, {"width 16", "3 heads"}));
  EXPECT_TRUE(refuses_config("n_head", 0, ErrorCode::kCorrupt, {"0 heads"}));
  EXPECT_TRUE(refuses_config("n_layer", 0, ErrorCode::kCorrupt, {"layer count is 0"}));
  EXPECT_TRUE(refuses_config("n_embd", uint64_t{1} << 62, ErrorCode::kCorrupt, {"width is 46116"}));
  EXPECT_TRUE(
      refuses_config("n_positions", kMost64, ErrorCode::kCorrupt, {"context length is 184"}));
  const auto wider = [](auto& hf) { hf.config["n_inner"] = 64; };
  EXPECT_TRUE(
      refuses("model.safetensors", wider, ErrorCode::kMismatch, {"c_fc.weight", "[16, 64]"}));
  const auto untied = [](auto& hf) { hf.config["tie_word_embeddings"] = false; };
  EXPECT_TRUE(
      refuses("model.safetensors", untied, ErrorCode::kCorrupt, {"'lm_head.weight' is missing"}));
}

TEST_F(HfFaults, AConfigurationOfAnotherModel) {
  EXPECT_TRUE(
      refuses_config("model_type", "lama", ErrorCode::kUnsupported,
                     {"model_type 'lama' is not known (did you mean 'llama'", "gpt2, opt"}));
  EXPECT_TRUE(refuses_config("activation_function", "mish", ErrorCode::kUnsupported,
                             {"\"activation_function\" is \"mish\"", "gelu_new"}));
  for (const std::string key : {"scale_attn_by_inverse_layer_idx", "add_cross_attention"}) {
    EXPECT_TRUE(refuses_config(key, true, ErrorCode::kUnsupported, {"\"" + key + "\" is true"}));
  }
  EXPECT_TRUE(refuses_config("scale_attn_weights", false, ErrorCode::kUnsupported, {"scale_attn"}));
}

TEST_F(HfFaults, ASafetensorsHeaderThatIsNone) {
  const auto with_length = [](uint64_t length) { return bytes_of(length) + "{}"; };
  for (const uint64_t length : {uint64_t{3}, uint64_t{1} << 63, kMost64, kMost64 - 7}) {
    EXPECT_TRUE(refuses_text("model.safetensors", with_length(length), ErrorCode::kCorrupt,
                             {"header", std::to_string(length), "2 are left"}));
  }
  EXPECT_TRUE(
      refuses_text("model.safetensors", with_length(1), ErrorCode::kCorrupt, {"header", "JSON"}));
  EXPECT_TRUE(refuses_text("model.safetensors", with_length(2), ErrorCode::kCorrupt,
                           {"'wte.weight' is missing"}));
  EXPECT_TRUE(refuses_text("model.safetensors", "1234567", ErrorCode::kCorrupt, {"header length"}));
  EXPECT_TRUE(refuses_text("model.safetensors", tiny_hf().with_header(R"({"wte.weight": 3})"),
                           ErrorCode::kCorrupt, {"'wte.weight'", "not a JSON object"}));
}

TEST_F(HfFaults, ATensorThatIsNotInsideTheData) {
  const uint64_t end = tiny_hf().data().size();
  for (const auto& [from, to] : {std::pair{end, end + 64},
                                 {end + 64, end + 128},
                                 {64UL, 0UL},
                                 {kMost64 - 63, kMost64},
                                 {kMost64, 63UL}}) {
    EXPECT_TRUE(refuses_header("data_offsets", {from, to}, ErrorCode::kCorrupt,
                               {fmt::format("data_offsets [{}, {}]", from, to)}));
  }
  EXPECT_TRUE(
      refuses_header("data_offsets", {0, 60}, ErrorCode::kCorrupt, {"takes 64 bytes", "60"}));
  EXPECT_TRUE(
      refuses_header("data_offsets", {0, 68}, ErrorCode::kCorrupt, {"takes 64 bytes", "68"}));
  for (const Json& value : {Json::array(), Json({0}), Json({0, 64, 64})}) {
    EXPECT_TRUE(refuses_header("data_offsets", value, ErrorCode::kCorrupt, {"data_offsets"}));
  }
}

TEST_F(HfFaults, ATensorThatIsNotDescribed) {
  EXPECT_TRUE(refuses_header("dtype", "I64", ErrorCode::kUnsupported, {"dtype I64", "F32, F16"}));
  EXPECT_TRUE(refuses_header("dtype", 32, ErrorCode::kCorrupt, {"\"dtype\" is 32"}));
  EXPECT_TRUE(refuses_header("dtype", nullptr, ErrorCode::kCorrupt, {"\"dtype\" is missing"}));
  EXPECT_TRUE(refuses_header("shape", nullptr, ErrorCode::kCorrupt, {"\"shape\" is missing"}));
  for (const Json& value : {Json("16"), Json::array({-16}), Json::array({16.5}),
                            Json::array({"16"}), Json::array({true})}) {
    EXPECT_TRUE(
        refuses_header("shape", value, ErrorCode::kCorrupt, {"\"shape\" is " + value.dump()}));
    EXPECT_TRUE(
        refuses_header("data_offsets", value, ErrorCode::kCorrupt, {"\"data_offsets\" is "}));
  }
  EXPECT_TRUE(
      refuses_header("shape", {uint64_t{1} << 62, 4}, ErrorCode::kCorrupt, {"does not fit"}));
  EXPECT_TRUE(refuses_header("shape", Json::array(), ErrorCode::kCorrupt, {"takes 4 bytes"}));
}

TEST_F(HfFaults, ATensorThatIsThereTwice) {
  HfDirectory hf = tiny_hf();
  hf.write(directory_);
  hf.tensors.push_back({{"transformer.ln_f.bias", {kTinyGpt2.width}}, "F32"});
  directory_.write("model.safetensors", hf.safetensors());
  EXPECT_TRUE(says_of("model.safetensors", ErrorCode::kCorrupt, {"'ln_f.bias' is there twice"}));
  const std::string entry = R"("ln_f.bias":{"dtype":"F32","shape":[16],"data_offsets":[0,64]})";
  directory_.write("model.safetensors", hf.with_header("{" + entry + "," + entry + "}"));
  EXPECT_TRUE(says_of("model.safetensors", ErrorCode::kCorrupt, {"\"ln_f.bias\" is there twice"}));
}

TEST_F(HfFaults, MoreTokensThanRows) {
  EXPECT_TRUE(refuses("", [](auto& hf) { hf.tokenizer["model"]["vocab"]["w64"] = 64; },
                      ErrorCode::kMismatch,
                      {"the tokenizer has 65 tokens, the embedding 64 rows"}));
}

// After any damage there is a Model that can be used, or an Error; the rest of the test is that
// nothing else is thrown and nothing stops the process.
bool is_read(const fs::path& path) {
  try {
    const Model model = read_model(path);
    const Tokenizer tokenizer(model.vocabulary(), path.string());
    tokenizer.encode("abcd a  b");
    for (const auto& tensor : model.tensors()) {
      std::vector<float> numbers(tensor.count());
      decode(tensor, numbers);
    }
    return true;
  } catch (const Error&) {
    return false;
  }
}

// One to four bytes of `bytes` changed, as often as not within the first `head` bytes.
std::string mutated(std::string bytes, size_t head, Random& random) {
  for (uint64_t left = 1 + random.below(4); left > 0; --left) {
    const size_t place = random.below(random.below(2) == 0 ? head : bytes.size());
    const std::string_view likely("\0\x01\x7f\x80\xff\"[]{},:0", 13);
    bytes[place] = random.below(2) == 0 ? likely[random.below(likely.size())]
                                        : static_cast<char>(random.below(256));
  }
  return bytes;
}

TEST_F(Models, SurviveThreeThousandMutationsOfAGgufFile) {
  constexpr int kMutationsOfEach = 1000;
  for (const Family family : kFamilyList) {
    const std::string bytes = tiny_gguf(family).bytes();
    const size_t head = bytes.find("output_norm.weight");
    Random random(1000 + static_cast<uint64_t>(family));
    int read_count = 0;
    for (int i = 0; i < kMutationsOfEach; ++i) {
      const std::string damaged = mutated(bytes, head, random);
      read_count += is_read(directory_.write("mutated.gguf", damaged)) ? 1 : 0;
    }
    EXPECT_GT(read_count, 0);
    EXPECT_LT(read_count, kMutationsOfEach);
    EXPECT_TRUE(is_read(directory_.write("mutated.gguf", bytes)));
  }
}

TEST_F(Models, SurviveThreeThousandMutationsOfADirectory) {
  constexpr int kMutationsOfEach = 1000;
  const HfDirectory hf = tiny_hf();
  hf.write(directory_);
  const std::map<std::string, std::string> files = {{"config.json", hf.config.dump(1)},
                                                    {"model.safetensors", hf.safetensors()},
                                                    {"tokenizer.json", hf.tokenizer.dump(1)}};
  for (const auto& [name, content] : files) {
    const bool weights = name == "model.safetensors";
    const size_t head = weights ? content.rfind('}') + 1 : content.size();
    Random random(2000 + content.size());
    int read_count = 0;
    for (int i = 0; i < kMutationsOfEach; ++i) {
      directory_.write(name, mutated(content, head, random));
      read_count += is_read(directory_.path()) ? 1 : 0;
    }
    EXPECT_GT(read_count, 0) << name;
    EXPECT_LT(read_count, kMutationsOfEach) << name;
    directory_.write(name, content);
    EXPECT_TRUE(is_read(directory_.path()));
  }
}

}  // namespace
}  // namespace isogloss
