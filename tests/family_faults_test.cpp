// Bad input of every family: each fixture, damaged one way at a time. The valid twin loads after
// every test.
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "tests/families.h"
#include "tests/model_files.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// One safetensors file: its header, and the data after it.
struct Weights {
  Json header;
  std::string data;

  static Weights read(const fs::path& path) {
    const std::string bytes = read_text_file(path);
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof(length));
    return {Json::parse(bytes.substr(sizeof(length), length)),
            bytes.substr(sizeof(length) + length)};
  }
  void write(const fs::path& path) const {
    const std::string text = header.dump();
    std::ofstream(path, std::ios::binary) << bytes_of(uint64_t{text.size()}) << text << data;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& [name, entry] : header.items()) {
      if (name != "__metadata__") names.push_back(name);
    }
    return names;
  }
};

class FamilyFaults : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { restore(); }
  void TearDown() override {
    restore();
    EXPECT_NO_THROW(read_model(copy()));
  }
  void restore() const {
    fs::remove_all(copy());
    fs::copy(family_path(GetParam()), copy(), fs::copy_options::recursive);
  }
  fs::path copy() const { return directory_.path() / GetParam(); }
  bool sharded() const { return fs::exists(copy() / "model.safetensors.index.json"); }
  // The file, or the first of several.
  fs::path weights() const {
    return copy() / (sharded() ? "model-00001-of-00003.safetensors" : "model.safetensors");
  }
  // What reports faults of names: the file, or the index.
  std::string origin() const {
    return (copy() / (sharded() ? "model.safetensors.index.json" : "model.safetensors")).string();
  }

  template <typename Change>
  Failure with_config(Change change) const {
    Json config = Json::parse(read_text_file(copy() / "config.json"));
    change(config);
    std::ofstream(copy() / "config.json") << config.dump();
    const Failure failure = failure_of([&] { read_model(copy()); });
    restore();
    return failure;
  }
  template <typename Change>
  Failure with_weights(Change change) const {
    Weights changed = Weights::read(weights());
    change(changed);
    changed.write(weights());
    const Failure failure = failure_of([&] { read_model(copy()); });
    restore();
    return failure;
  }

  TemporaryDirectory directory_;
};

// The name that this family's configuration has for it.
std::string key_of(const Json& config, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (config.contains(name)) return name;
  }
  throw std::out_of_range(names.front());
}

const std::vector<std::string> kHeads = {"num_attention_heads", "n_head", "attention_heads"};
const std::vector<std::string> kLayers = {"num_hidden_layers", "n_layer", "num_layers"};
const std::vector<std::string> kWidth = {"hidden_size", "n_embd", "d_model"};

TEST_P(FamilyFaults, HeadsThatDoNotDivide) {
  const auto failure = with_config([](Json& config) {
    config[key_of(config, kHeads)] = 7;
    config.erase("head_dim");
    config.erase("num_key_value_heads");
    config["num_key_value_heads"] = 3;
  });
  EXPECT_EQ(failure.code.value(), ErrorCode::kCorrupt) << failure.message;
  EXPECT_TRUE(
      says(failure, ErrorCode::kCorrupt, {(copy() / "config.json").string(), "7", "heads"}));
}

TEST_P(FamilyFaults, SizesThatAreNotThoseOfTheTensors) {
  for (const auto& names : {kWidth, kLayers}) {
    const auto failure = with_config([&](Json& config) {
      const std::string key = key_of(config, names);
      config[key] = config[key].get<size_t>() * 2;
      for (const char* list : {"layer_types", "no_rope_layers"}) {
        if (!config.contains(list) || names != kLayers) continue;
        const Json half = config[list];
        for (const auto& entry : half) config[list].push_back(entry);
      }
    });
    const bool known = failure.code == ErrorCode::kMismatch || failure.code == ErrorCode::kCorrupt;
    EXPECT_TRUE(known) << failure.message;
    EXPECT_NE(failure.message.find(copy().string()), std::string::npos) << failure.message;
  }
}

TEST_P(FamilyFaults, OneThingUnderTwoNamesWithTwoValues) {
  const auto failure = with_config([](Json& config) {
    for (const auto& names : {kLayers}) {
      const size_t value = config[key_of(config, names)];
      for (const auto& name : names) {
        if (!config.contains(name)) config[name] = value + 1;
      }
    }
  });
  EXPECT_TRUE(says(failure, ErrorCode::kMismatch, {"config.json", "they mean the same"}));
}

TEST_P(FamilyFaults, AVocabularyThatIsNotTheEmbeddings) {
  const auto failure =
      with_config([](Json& config) { config["vocab_size"] = config["vocab_size"].get<int>() + 1; });
  EXPECT_TRUE(says(failure, ErrorCode::kMismatch, {"has shape", "expected ["}));
}

TEST_P(FamilyFaults, ATokenizerWithMoreTokensThanRows) {
  Json tokenizer = Json::parse(read_text_file(copy() / "tokenizer.json"));
  const size_t size = Json::parse(read_text_file(copy() / "config.json"))["vocab_size"];
  const size_t count = read_model(copy()).vocabulary().size();
  ASSERT_EQ(size, count);
  for (size_t i = 0; i < 64; ++i) {
    const Json last = tokenizer["added_tokens"].back();
    Json more = {{"id", last["id"].get<size_t>() + 1},
                 {"content", "<more" + std::to_string(i) + ">"},
                 {"single_word", false},
                 {"lstrip", false},
                 {"rstrip", false},
                 {"normalized", false},
                 {"special", true}};
    size_t highest = 0;
    for (const auto& token : tokenizer["added_tokens"]) {
      highest = std::max(highest, token["id"].get<size_t>());
    }
    const auto& vocabulary = tokenizer["model"]["vocab"];
    more["id"] = std::max(highest + 1, vocabulary.size());
    tokenizer["added_tokens"].push_back(more);
  }
  std::ofstream(copy() / "tokenizer.json") << tokenizer.dump();
  EXPECT_TRUE(says(failure_of([&] { read_model(copy()); }), ErrorCode::kMismatch,
                   {"the tokenizer has", "the embedding " + std::to_string(size) + " rows"}));
}

// A name without the module that holds the decoder, which messages leave out.
std::string stem_of(const std::string& name, Family family) {
  const std::string_view prefix = hf_prefix(get_family_info(family).naming);
  return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
}

TEST_P(FamilyFaults, EveryTensorThatIsMissing) {
  const Family family = read_model(copy()).config().family;
  for (const std::string& name : Weights::read(weights()).names()) {
    const auto failure = with_weights([&](Weights& file) { file.header.erase(name); });
    const std::string reason = sharded() ? "is not there" : "is missing";
    EXPECT_TRUE(says(failure, ErrorCode::kCorrupt, {stem_of(name, family) + "'", reason}));
  }
}

TEST_P(FamilyFaults, NoTensorThatHasNoRoleOrTwo) {
  const Model model = read_model(copy());
  std::vector<std::string> claimed;
  for (const TensorView& tensor : model.tensors()) claimed.push_back(tensor.hf_name);
  std::vector<std::string> stored;
  for (const auto& entry : fs::directory_iterator(copy())) {
    if (entry.path().extension() != ".safetensors") continue;
    for (const std::string& name : Weights::read(entry.path()).names()) stored.push_back(name);
  }
  std::ranges::sort(claimed);
  std::ranges::sort(stored);
  EXPECT_EQ(claimed, stored);
}

TEST_P(FamilyFaults, ATensorThatIsLeftOver) {
  const auto failure = with_weights([](Weights& file) {
    Json entry = file.header.items().begin().value();
    for (const auto& [name, value] : file.header.items()) {
      if (name != "__metadata__") entry = value;
    }
    file.header["model.layers.0.mlp.surprise.weight"] = entry;
  });
  const ErrorCode code = sharded() ? ErrorCode::kCorrupt : ErrorCode::kUnsupported;
  EXPECT_TRUE(says(failure, code, {"surprise.weight"}));
}

TEST_P(FamilyFaults, ATensorOfAnotherTypeOrShape) {
  for (const std::string& name : Weights::read(weights()).names()) {
    EXPECT_TRUE(says(with_weights([&](Weights& file) { file.header[name]["dtype"] = "I8"; }),
                     ErrorCode::kUnsupported, {"'" + name + "'", "dtype I8", "BF16"}));
    const auto failure = with_weights([&](Weights& file) {
      auto& shape = file.header[name]["shape"];
      shape.insert(shape.begin(), 1);
    });
    EXPECT_EQ(failure.code, ErrorCode::kMismatch) << failure.message;
    EXPECT_NE(failure.message.find("has shape [1, "), std::string::npos) << failure.message;
  }
}

TEST_P(FamilyFaults, ATensorThatIsThereTwice) {
  const Family family = read_model(copy()).config().family;
  const auto failure = with_weights([&](Weights& file) {
    for (const std::string& name : file.names()) {
      const std::string stem = stem_of(name, family);
      if (stem == name) continue;
      file.header[stem] = file.header[name];
      return;
    }
  });
  EXPECT_TRUE(says(failure, ErrorCode::kCorrupt,
                   {sharded() ? "which the index does not list here" : "is there twice"}));
}

INSTANTIATE_TEST_SUITE_P(, FamilyFaults, testing::ValuesIn(family_names()), test_name);

// ---- shards

class ShardFaults : public testing::Test {
 protected:
  void SetUp() override { restore(); }
  void TearDown() override {
    restore();
    EXPECT_NO_THROW(read_model(copy()));
  }
  void restore() const {
    fs::remove_all(copy());
    fs::copy(family_path("llama-linear"), copy(), fs::copy_options::recursive);
  }
  fs::path copy() const { return directory_.path() / "model"; }
  fs::path index() const { return copy() / "model.safetensors.index.json"; }

  template <typename Change>
  Failure with_index(Change change) const {
    Json json = Json::parse(read_text_file(index()));
    change(json);
    std::ofstream(index()) << json.dump();
    return reading();
  }
  Failure reading() const {
    const Failure failure = failure_of([&] { read_model(copy()); });
    restore();
    return failure;
  }

  TemporaryDirectory directory_;
};

TEST_F(ShardFaults, AShardThatIsMissing) {
  fs::remove(copy() / "model-00002-of-00003.safetensors");
  EXPECT_TRUE(says(reading(), ErrorCode::kNotFound,
                   {index().string(), "shard 'model-00002-of-00003.safetensors' is missing"}));
}

TEST_F(ShardFaults, AnIndexThatLeadsOutOfTheDirectory) {
  for (const std::string file :
       {"../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", "."}) {
    EXPECT_TRUE(says(with_index([&](Json& json) { json["weight_map"].begin().value() = file; }),
                     ErrorCode::kCorrupt, {index().string(), file, "expected the name of a file"}));
  }
  EXPECT_TRUE(says(with_index([](Json& json) { json["weight_map"].begin().value() = 3; }),
                   ErrorCode::kCorrupt, {"is 3, which has the wrong type"}));
}

TEST_F(ShardFaults, AnIndexThatIsNone) {
  EXPECT_TRUE(says(with_index([](Json& json) { json = Json::object(); }), ErrorCode::kCorrupt,
                   {"\"weight_map\" is missing"}));
  EXPECT_TRUE(says(with_index([](Json& json) { json["weight_map"] = Json::object(); }),
                   ErrorCode::kCorrupt, {"lists no tensors"}));
  EXPECT_TRUE(says(with_index([](Json& json) { json["weight_map"] = Json::array({1}); }),
                   ErrorCode::kCorrupt, {"weight_map"}));
}

TEST_F(ShardFaults, ATensorInAnotherShardThanTheIndexSays) {
  const auto failure = with_index([](Json& json) {
    json["weight_map"]["model.norm.weight"] = "model-00001-of-00003.safetensors";
  });
  EXPECT_TRUE(says(failure, ErrorCode::kCorrupt, {"model.norm.weight"}));
}

TEST_F(ShardFaults, ATensorInTwoShards) {
  Weights first = Weights::read(copy() / "model-00001-of-00003.safetensors");
  const std::string name =
      Weights::read(copy() / "model-00002-of-00003.safetensors").names().front();
  first.header[name] = first.header[first.names().front()];
  first.write(copy() / "model-00001-of-00003.safetensors");
  EXPECT_TRUE(says(reading(), ErrorCode::kCorrupt, {"'" + name + "'", "does not list here"}));
}

}  // namespace
}  // namespace isogloss
