// config.json as different versions of transformers write it, and keys that are not there.
#include <gtest/gtest.h>

#include <fstream>

#include "tests/families.h"
#include "tests/model_files.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class HfConfig : public testing::Test {
 protected:
  // The configuration of a fixture once `change` was made to its config.json.
  template <typename Change>
  ModelConfig config_of(const std::string& family, Change change) const {
    fs::remove_all(copy());
    fs::copy(family_path(family), copy(), fs::copy_options::recursive);
    Json config = Json::parse(read_text_file(copy() / "config.json"));
    change(config);
    std::ofstream(copy() / "config.json") << config.dump();
    return read_model(copy()).config();
  }
  ModelConfig config_of(const std::string& family) const {
    return config_of(family, [](Json&) {});
  }
  template <typename Change>
  Failure failure_of_config(const std::string& family, Change change) const {
    return failure_of([&] { config_of(family, change); });
  }
  fs::path copy() const { return directory_.path() / "model"; }

  TemporaryDirectory directory_;
};

void expect_same_positions(const ModelConfig& found, const ModelConfig& expected) {
  ASSERT_EQ(found.layers, expected.layers);
  for (size_t layer = 0; layer < expected.layers; ++layer) {
    EXPECT_EQ(found.layer_configs[layer].window, expected.layer_configs[layer].window);
    const RopeConfig* rope = found.layer_rope(layer);
    const RopeConfig* other = expected.layer_rope(layer);
    ASSERT_EQ(rope == nullptr, other == nullptr);
    if (!rope) continue;
    EXPECT_EQ(rope->pairs, other->pairs);
    EXPECT_EQ(rope->attention_factor, other->attention_factor);
    for (const size_t length : {size_t{1}, found.context_length}) {
      EXPECT_EQ(rotary_frequencies(*rope, length), rotary_frequencies(*other, length));
    }
  }
}

// As transformers 4 wrote what transformers 5 calls rope_parameters.
void to_version_4(Json& config) {
  Json rope = config["rope_parameters"];
  config.erase("rope_parameters");
  config["torch_dtype"] = config["dtype"];
  config.erase("dtype");
  const bool by_layer = rope.contains("full_attention");
  if (by_layer) {
    config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"];
    rope = Json(rope["full_attention"]);
  }
  const bool neox = config["model_type"] == "gpt_neox";
  config[neox ? "rotary_emb_base" : "rope_theta"] = rope["rope_theta"];
  if (rope.contains("partial_rotary_factor")) {
    config[neox ? "rotary_pct" : "partial_rotary_factor"] = rope["partial_rotary_factor"];
  }
  rope.erase("rope_theta");
  rope.erase("partial_rotary_factor");
  config["rope_scaling"] = rope["rope_type"] == "default" ? Json() : rope;
}

TEST_F(HfConfig, MeansTheSameAsTransformers4WroteIt) {
  for (const std::string& family : family_names()) {
    const Json config = Json::parse(read_text_file(family_path(family) / "config.json"));
    if (!config.contains("rope_parameters")) continue;
    SCOPED_TRACE(family);
    expect_same_positions(config_of(family, to_version_4), config_of(family));
  }
}

TEST_F(HfConfig, NamesLongRopeAsPhi3DidFirst) {
  for (const char* name : {"su", "yarn"}) {
    expect_same_positions(config_of("phi3",
                                    [&](Json& config) {
                                      to_version_4(config);
                                      config["rope_scaling"].erase("rope_type");
                                      config["rope_scaling"]["type"] = name;
                                    }),
                          config_of("phi3"));
  }
}

TEST_F(HfConfig, LayersFollowTheirPatternWhereNoneIsListed) {
  const auto windows_of = [&](const std::string& family, const Json& pattern) {
    std::vector<bool> windowed;
    const auto config = config_of(family, [&](Json& file) {
      file.erase("layer_types");
      if (!pattern.is_null()) file["sliding_window_pattern"] = pattern;
    });
    for (const LayerConfig& layer : config.layer_configs) windowed.push_back(layer.window != 0);
    return windowed;
  };
  EXPECT_EQ(windows_of("gemma2", nullptr), (std::vector<bool>{true, false}));
  EXPECT_EQ(windows_of("gemma2", 1), (std::vector<bool>{true, false}));  // is not Gemma 2's key
  EXPECT_EQ(windows_of("gemma3", nullptr), (std::vector<bool>{true, true, true}));
  EXPECT_EQ(windows_of("gemma3", 2), (std::vector<bool>{true, false, true}));
  EXPECT_EQ(windows_of("cohere2", 3), (std::vector<bool>{true, true, false}));
}

TEST_F(HfConfig, KeysThatAreNotThereTakeTheClassesDefaults) {
  const auto without = [&](const std::string& family, const char* key) {
    return config_of(family, [&](Json& config) { config.erase(key); });
  };
  EXPECT_EQ(without("mistral", "sliding_window").layer_configs[0].window, 4096U);
  EXPECT_EQ(without("gemma2", "sliding_window").layer_configs[0].window, 4096U);
  EXPECT_EQ(without("cohere2", "sliding_window").layer_configs[0].window, 4096U);
  EXPECT_EQ(without("gemma2", "final_logit_softcapping").logit_softcap, 30);
  EXPECT_EQ(without("gemma2", "attn_logit_softcapping").attention_softcap, 50);
  EXPECT_EQ(without("gemma3", "final_logit_softcapping").logit_softcap, 0);
  EXPECT_EQ(without("phi3", "rms_norm_eps").norm_epsilon, 1e-5F);
  EXPECT_EQ(without("phi3", "original_max_position_embeddings").rope.original_length, 4096U);
}

TEST_F(HfConfig, NullMeansNone) {
  const auto with_null = [&](const std::string& family, const char* key) {
    return config_of(family, [&](Json& config) { config[key] = nullptr; });
  };
  EXPECT_EQ(with_null("mistral", "sliding_window").layer_configs[0].window, 0U);
  EXPECT_EQ(with_null("gemma2", "final_logit_softcapping").logit_softcap, 0);
  EXPECT_EQ(with_null("smollm2", "head_dim").head_dim, config_of("smollm2").head_dim);
  for (const char* family : {"gemma3", "cohere2"}) {
    EXPECT_TRUE(says(failure_of_config(family, [](Json& c) { c["sliding_window"] = nullptr; }),
                     ErrorCode::kUnsupported, {"\"sliding_window\" is null"}));
  }
}

TEST_F(HfConfig, TheOlderNameOfRotaryScalingMayNotContradictTheNewer) {
  const auto failure = failure_of_config("qwen2", [](Json& config) {
    config["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 4}};
  });
  EXPECT_TRUE(says(failure, ErrorCode::kMismatch, {"rope_parameters", "rope_scaling", "differ"}));
  EXPECT_NO_THROW(config_of("qwen2", [](Json& config) { config["rope_scaling"] = nullptr; }));
  EXPECT_NO_THROW(
      config_of("qwen2", [](Json& config) { config["rope_scaling"] = config["rope_parameters"]; }));
}

TEST_F(HfConfig, KeysOfOtherFamiliesChangeNothing) {
  const auto with = [&](const std::string& family, const char* key, const Json& value) {
    return config_of(family, [&](Json& config) { config[key] = value; });
  };
  EXPECT_EQ(with("smollm2", "hidden_activation", "relu").activation, Activation::kSilu);
  EXPECT_EQ(with("gemma3", "hidden_act", "silu").activation, Activation::kGeluTanh);
  EXPECT_EQ(with("gpt-neox", "num_key_value_heads", 1).kv_heads, config_of("gpt-neox").heads);
  EXPECT_TRUE(says(
      failure_of_config("smollm2", [](Json& config) { config["partial_rotary_factor"] = 0.5; }),
      ErrorCode::kUnsupported, {"rotates whole heads"}));
}

TEST_F(HfConfig, APartThatIsNoNumberIsRefusedByName) {
  for (const Json& value : {Json("half"), Json(true), Json::array({0.5})}) {
    EXPECT_TRUE(says(failure_of_config("phi3",
                                       [&](Json& config) {
                                         config["rope_parameters"]["partial_rotary_factor"] = value;
                                       }),
                     ErrorCode::kCorrupt, {"\"partial_rotary_factor\" is " + value.dump()}));
  }
}

TEST_F(HfConfig, SaysWhichGemma3IsRead) {
  EXPECT_TRUE(says(failure_of_config("gemma3", [](Json& c) { c["model_type"] = "gemma3"; }),
                   ErrorCode::kUnsupported, {"gemma3_text"}));
}

TEST_F(HfConfig, MessagesStayShort) {
  const auto failure = failure_of_config(
      "smollm2", [](Json& config) { config["hidden_act"] = std::string(100'000, 'x'); });
  EXPECT_LT(failure.message.size(), 1000U);
}

}  // namespace
}  // namespace isogloss
