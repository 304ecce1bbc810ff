// GGUF files that we write: read back by ggml's own reader, compared with what llama.cpp's
// converter writes (tests/reference/make_gguf_keys.py), and computed by libllama.
#include <gguf.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>

#include "isogloss/write/write.h"
#include "tests/families.h"
#include "tests/llama_runner.h"
#include "tests/model_files.h"
#include "tests/nmse.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// What isogloss promises: our logits and libllama's on the file that we wrote. libllama takes GELU
// from a table of F16, GPT-NeoX's in its tanh form.
constexpr double kLibllamaNmse = 1e-4;

// A converted file against its directory: the same numbers in the same order of sums, but for
// YaRN's attention factor, which the file does not spell out (2e-12).
constexpr double kSameModelNmse = 1e-11;

// GPT-NeoX's GELU, exact in the directory and in tanh's form in the file: 1e-7.
constexpr double kOtherGeluNmse = 1e-6;

const Progress kSilent = [](std::string_view, double) {};

// What must change in a fixture's configuration before llama.cpp computes the same model.
const std::map<std::string, json> kRepairs = {
    {"gemma2", {{"query_pre_attn_scalar", 16}}},
    {"gemma3", {{"query_pre_attn_scalar", 16}}},
    {"smollm3", {{"no_rope_layers", {1, 1, 1, 0}}}},
};

// Names and reasons of what llama.cpp cannot compute, whatever the configuration says.
bool is_convertible(const std::string& family) {
  return family != "cohere-qk-norm";
}

class FamilyConvert : public testing::TestWithParam<std::string> {
 protected:
  // The fixture, repaired where need be.
  fs::path source() {
    const auto repair = kRepairs.find(GetParam());
    if (repair == kRepairs.end()) return family_path(GetParam());
    const fs::path copy = directory_.path() / GetParam();
    fs::copy(family_path(GetParam()), copy,
             fs::copy_options::recursive | fs::copy_options::overwrite_existing);
    json config = json::parse(read_text_file(copy / "config.json"));
    config.update(repair->second);
    std::ofstream(copy / "config.json") << config.dump();
    return copy;
  }
  fs::path convert(TensorType type = TensorType::kF32) {
    const Model model = read_model(source());
    const fs::path path = directory_.path() / "out.gguf";
    convert_to_gguf(model, {type}, path, kSilent);
    EXPECT_EQ(fs::file_size(path), gguf_size(model, {type}));
    return path;
  }

  TemporaryDirectory directory_;
};

bool known_to_llama_cpp(const Model& model) {
  return get_family_info(model.config().family).in_llama_cpp;
}

TEST_P(FamilyConvert, LibllamaComputesOurLogitsFromTheFile) {
  if (!is_convertible(GetParam())) GTEST_SKIP() << "llama.cpp does not compute this variant";
  LoadedModel ours(convert());
  if (!known_to_llama_cpp(ours.model)) GTEST_SKIP() << "llama.cpp has no such architecture";
  const LlamaRunner theirs(ours.model.path());
  ASSERT_TRUE(theirs);
  for (const FamilySample& sample : read_family_reference(GetParam())) {
    // libllama chooses LongRoPE's factors by the size of its context, at least 256.
    const RopeConfig& rope = ours.model.config().rope;
    if (rope.scaling == RopeScaling::kLongRope && sample.ids.size() <= rope.original_length) {
      continue;
    }
    const HiddenStates logits = ours.logits(ours.stored(), sample.ids);
    const auto expected = theirs.logits(sample.ids);
    for (const size_t position : sample.positions) {
      const std::span row(expected.data() + position * logits.width(), logits.width());
      EXPECT_LT(nmse(logits.row(position), row), kLibllamaNmse)
          << sample.name << " at " << position;
    }
  }
}

// A window that llama.cpp leaves out counts from its size on.
size_t shortest_window(const Model& model) {
  size_t shortest = model.config().context_length;
  for (const LayerConfig& layer : model.config().layer_configs) {
    if (layer.window != 0) shortest = std::min(shortest, layer.window);
  }
  return shortest;
}

TEST_P(FamilyConvert, GivesTheSameModel) {
  if (!is_convertible(GetParam())) GTEST_SKIP() << "llama.cpp does not compute this variant";
  LoadedModel before(source());
  LoadedModel after(convert());
  EXPECT_NO_THROW(check_same_model(before.model, after.model));
  const bool keeps_windows = gguf_differences(before.model).empty();
  const bool same_gelu = before.model.config().activation == after.model.config().activation;
  const size_t longest = keeps_windows ? before.model.config().context_length
                                       : std::max(size_t{1}, shortest_window(before.model));
  for (FamilySample& sample : read_family_reference(GetParam())) {
    if (sample.ids.size() > longest) sample.ids.resize(longest);
    const HiddenStates expected = before.logits(before.stored(), sample.ids);
    const HiddenStates found = after.logits(after.stored(), sample.ids);
    const size_t last = sample.ids.size() - 1;
    EXPECT_LT(nmse(found.row(last), expected.row(last)),
              same_gelu ? kSameModelNmse : kOtherGeluNmse)
        << sample.name;
  }
}

TEST_P(FamilyConvert, TokenizesAlikeByLibllama) {
  if (!is_convertible(GetParam())) GTEST_SKIP() << "llama.cpp does not compute this variant";
  const Model before = read_model(source());
  if (!known_to_llama_cpp(before)) GTEST_SKIP() << "llama.cpp has no such architecture";
  const Model after = read_model(convert());
  const Tokenizer exact(before.vocabulary(), "directory");
  const Tokenizer libllama(after.vocabulary(), "file");
  size_t lines = 0;
  size_t different = 0;
  for (const auto& language : builtin_corpus({}, 0).languages) {
    for (const std::string& line : language.units) {
      ++lines;
      different += exact.encode(line) != libllama.encode(line);
    }
  }
  EXPECT_EQ(lines, 19U * 80);
  EXPECT_EQ(different, 0U);
}

TEST_P(FamilyConvert, IsTheSameInBf16AndF16) {
  if (!is_convertible(GetParam())) GTEST_SKIP() << "llama.cpp does not compute this variant";
  for (const TensorType type : {TensorType::kF16, TensorType::kBf16}) {
    const Model model = read_model(convert(type));
    for (const TensorView& tensor : model.tensors()) {
      const TensorKind kind = get_role_info(tensor.role).kind;
      const bool narrow = kind == TensorKind::kMatrix || tensor.role == Role::kTokenEmbedding;
      EXPECT_EQ(tensor.type, narrow ? type : TensorType::kF32) << tensor.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, FamilyConvert, testing::ValuesIn(family_names()), test_name);

// ---- keys and tensors, against the converter's

uint64_t hash_more(uint64_t hash, std::string_view bytes) {
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  return hash;
}

std::string hex(uint64_t hash) {
  return fmt::format("{:016x}", hash);
}

size_t bytes_of_type(gguf_type type) {
  return type == GGUF_TYPE_BOOL || type == GGUF_TYPE_UINT8 || type == GGUF_TYPE_INT8 ? 1 : 4;
}

// As make_gguf_keys.py describes a value.
json describe(const gguf_context* file, int64_t key) {
  const std::map<std::string, std::string> names = {{"u32", "uint32"}, {"f32", "float32"},
                                                    {"i32", "int32"},  {"str", "string"},
                                                    {"bool", "bool"},  {"arr", "array"}};
  const auto name_of = [&](gguf_type type) { return names.at(gguf_type_name(type)); };
  json value = {{"type", name_of(gguf_get_kv_type(file, key))}};
  switch (gguf_get_kv_type(file, key)) {
    case GGUF_TYPE_UINT32:
      value["value"] = gguf_get_val_u32(file, key);
      return value;
    case GGUF_TYPE_FLOAT32:
      value["value"] = static_cast<double>(gguf_get_val_f32(file, key));
      return value;
    case GGUF_TYPE_BOOL:
      value["value"] = gguf_get_val_bool(file, key);
      return value;
    case GGUF_TYPE_STRING:
      value["value"] = gguf_get_val_str(file, key);
      return value;
    default:
      break;
  }
  const gguf_type element = gguf_get_arr_type(file, key);
  const size_t count = gguf_get_arr_n(file, key);
  uint64_t hash = 0xcbf29ce484222325;
  if (element == GGUF_TYPE_STRING) {
    for (size_t i = 0; i < count; ++i) {
      const std::string text = gguf_get_arr_str(file, key, i);
      hash = hash_more(hash, {text.data(), text.size() + 1});
    }
  } else {
    hash = hash_more(hash, {static_cast<const char*>(gguf_get_arr_data(file, key)),
                            count * bytes_of_type(element)});
  }
  value["element"] = name_of(element);
  value["length"] = count;
  value["fnv1a64"] = hex(hash);
  return value;
}

// Keys whose values we mean to write otherwise, and why. They are there with the same type.
const std::map<std::string, const char*> kOtherValues = {
    {"gpt2.feed_forward_length", "the converter takes 4 widths, whatever n_inner says"},
    {"gemma:tokenizer.ggml.tokens", "its tab is <0x09> in tokenizer.model, \\t in tokenizer.json"},
    {"bloom.context_length", "the converter takes the width where config.json has no seq_length"},
    {"tokenizer.ggml.pre", "of names with the same expressions, the first"},
    {"tokenizer.ggml.scores",
     "they are in tokenizer.model, which a directory need not have; ours "
     "make libllama merge in tokenizer.json's order"},
    {"tokenizer.ggml.token_type",
     "the converter makes some tokens special by their looks, so that "
     "libllama does not find them in text; ours are tokenizer.json's"},
};

// Keys that we leave out, and why.
const std::map<std::string, const char*> kLeftOut = {
    {"tokenizer.ggml.add_sep_token", "is about pairs of texts"},
    {"tokenizer.ggml.eot_token_id", "the converter writes 107 for every vocabulary of Gemma"},
};

void expect_key(const std::string& family, const gguf_context* file, const std::string& name,
                const json& expected) {
  if (kLeftOut.contains(name)) return;
  const int64_t key = gguf_find_key(file, name.c_str());
  if (key < 0) {
    ADD_FAILURE() << name << " is missing, expected " << expected.dump().substr(0, 200);
    return;
  }
  const json found = describe(file, key);
  if (!kOtherValues.contains(name) && !kOtherValues.contains(family + ":" + name)) {
    EXPECT_EQ(found, expected) << name;
    return;
  }
  for (const char* part : {"type", "element", "length"}) {
    EXPECT_EQ(found.value(part, json()), expected.value(part, json())) << name;
  }
}

// Numbers are copied, but for Llama 3's factors, which the converter computes in F32.
void expect_tensor(ggml_context* data, const std::string& name, const json& expected) {
  const ggml_tensor* found = ggml_get_tensor(data, name.c_str());
  ASSERT_NE(found, nullptr) << name;
  std::vector<int64_t> shape;
  for (int i = ggml_n_dims(found); i > 0; --i) shape.push_back(found->ne[i - 1]);
  EXPECT_EQ(json(shape), expected["shape"]) << name;
  EXPECT_STREQ(ggml_type_name(found->type), "f32") << name;
  if (name == "rope_freqs.weight") return;
  const std::string_view bytes(static_cast<const char*>(found->data), ggml_nbytes(found));
  EXPECT_EQ(hex(hash_more(0xcbf29ce484222325, bytes)), expected["fnv1a64"]) << name;
}

TEST(FamilyKeys, AreThoseOfTheConverterOfLlamaCpp) {
  const json reference =
      json::parse(read_text_file(repository_path("tests/reference/gguf_families.json")));
  TemporaryDirectory directory;
  for (const auto& [family, expected] : reference["fixtures"].items()) {
    if (kRepairs.contains(family) || !is_convertible(family)) continue;
    SCOPED_TRACE(family);
    const fs::path path = directory.path() / "out.gguf";
    convert_to_gguf(read_model(family_path(family)), {TensorType::kF32}, path, kSilent);
    ggml_context* data = nullptr;
    gguf_context* file = gguf_init_from_file(path.c_str(), {/*no_alloc=*/false, &data});
    ASSERT_NE(file, nullptr);
    for (const auto& [name, value] : expected["keys"].items()) {
      expect_key(family, file, name, value);
    }
    EXPECT_EQ(static_cast<size_t>(gguf_get_n_tensors(file)), expected["tensors"].size());
    for (const auto& [name, tensor] : expected["tensors"].items()) {
      expect_tensor(data, name, tensor);
    }
    ggml_free(data);
    gguf_free(file);
  }
}

// ---- refusals

Failure failure_of_converting(const fs::path& source, TensorType type, const fs::path& target) {
  return failure_of([&] { convert_to_gguf(read_model(source), {type}, target, kSilent); });
}

TEST(Convert, RefusesWhatLlamaCppWouldComputeOtherwise) {
  TemporaryDirectory directory;
  const fs::path target = directory.path() / "out.gguf";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"gemma2", "query_pre_attn_scalar 16"},
      {"gemma3", "query_pre_attn_scalar 16"},
      {"smollm3", "every fourth layer"},
      {"cohere-qk-norm", "64 layers"}};
  for (const auto& [family, reason] : cases) {
    EXPECT_TRUE(says(failure_of_converting(family_path(family), TensorType::kF32, target),
                     ErrorCode::kUnsupported, {family_path(family).string(), reason}));
  }
  EXPECT_TRUE(fs::is_empty(directory.path()));
}

TEST(Convert, RefusesAGgufFile) {
  TemporaryDirectory directory;
  const fs::path first = directory.path() / "first.gguf";
  convert_to_gguf(read_model(family_path("gpt2")), {TensorType::kF32}, first, kSilent);
  EXPECT_TRUE(says(failure_of_converting(first, TensorType::kF32, directory.path() / "second.gguf"),
                   ErrorCode::kUnsupported, {first.string(), "already"}));
}

TEST(Convert, LeavesNothingBehindAfterANumberBeyondF16) {
  TemporaryDirectory directory;
  HfDirectory hf = tiny_hf();
  hf.tensors.front().data = bytes_of(std::vector<float>(product(hf.tensors.front().shape), 7e4F));
  hf.write(directory);
  const fs::path target = directory.path() / "out.gguf";
  EXPECT_TRUE(says(failure_of_converting(directory.path(), TensorType::kF16, target),
                   ErrorCode::kNotFinite, {"beyond what F16 can", "bf16"}));
  EXPECT_FALSE(fs::exists(target));
  EXPECT_EQ(failure_of_converting(directory.path(), TensorType::kBf16, target).message,
            "(no error)");
  EXPECT_TRUE(fs::exists(target));
}

TEST(Convert, WritesTheSameBytesTwice) {
  TemporaryDirectory directory;
  const fs::path a = directory.path() / "a.gguf";
  const fs::path b = directory.path() / "b.gguf";
  for (const fs::path& target : {a, b}) {
    convert_to_gguf(read_model(family_path("phi3")), {TensorType::kF16}, target, kSilent);
  }
  EXPECT_EQ(read_text_file(a), read_text_file(b));
}

}  // namespace
}  // namespace isogloss
