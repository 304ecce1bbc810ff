// Contract of isogloss/model/model.h: quantized directories that are refused, and in which words.
#include <gtest/gtest.h>

#include <limits>

#include "isogloss/base/random.h"
#include "tests/packed_files.h"

namespace isogloss {
namespace {

using Json = nlohmann::ordered_json;

const std::string kModule = "h.0.mlp.c_fc";  // 24 x 16

std::string part(const std::string& name) {
  return kModule + "." + name;
}

// Damages a valid directory and looks at the error; the valid twins load after every test.
class PackedFaults : public Models {
 protected:
  using Damage = std::function<void(HfDirectory&)>;

  static HfDirectory compressed() {
    HfDirectory hf = tiny_hf();
    hf.config["quantization_config"] = compressed_config({4});
    put_compressed(hf, kModule, {.group_size = 4, .asymmetric = true});
    return hf;
  }
  static HfDirectory gptq() {
    HfDirectory hf = tiny_hf();
    hf.config["quantization_config"] = gptq_config(4);
    put_gptq(hf, kModule, {.group_size = 4, .asymmetric = true});
    return hf;
  }
  void TearDown() override {
    EXPECT_NO_THROW(read(compressed()));
    EXPECT_NO_THROW(read(gptq()));
  }

  testing::AssertionResult refuses(HfDirectory hf, const Damage& damage, ErrorCode code,
                                   const Strings& parts) const {
    damage(hf);
    hf.write(directory_);
    return says(failure_of([&] { read_model(directory_.path()); }), code, parts);
  }
  // That one part with another shape is refused; its bytes are as many as the shape says.
  testing::AssertionResult refuses_shape(const HfDirectory& hf, const std::string& name,
                                         const std::vector<uint64_t>& shape,
                                         const Strings& parts) const {
    Strings all = {"tensor '" + kModule + ".", "model.safetensors"};
    all.insert(all.end(), parts.begin(), parts.end());
    return refuses(
        hf,
        [&](HfDirectory& damaged) {
          auto& tensor = damaged.tensor(part(name));
          const uint64_t width = tensor.data.size() / product(tensor.shape);
          tensor.shape = shape;
          tensor.data.resize(product(shape) * width);
        },
        ErrorCode::kCorrupt, all);
  }
};

TEST_F(PackedFaults, AQuantizerThatIsNotRead) {
  const auto refuses_config = [&](const HfDirectory& hf, const char* key, const Json& value,
                                  const Strings& parts) {
    return refuses(
        hf, [&](HfDirectory& damaged) { damaged.config["quantization_config"][key] = value; },
        ErrorCode::kUnsupported, parts);
  };
  EXPECT_TRUE(refuses_config(gptq(), "quant_method", "awq",
                             {"config.json", "\"quant_method\" is awq", "GGUF"}));
  EXPECT_TRUE(refuses_config(gptq(), "bits", 5, {"\"bits\" is 5; read is 2, 3, 4, 8"}));
  EXPECT_TRUE(
      refuses_config(gptq(), "checkpoint_format", "marlin", {"\"checkpoint_format\" is marlin"}));
  EXPECT_TRUE(refuses_config(gptq(), "dynamic", {{"+:.*", {{"bits", 6}}}}, {"\"bits\" is 6"}));
  EXPECT_TRUE(refuses_config(compressed(), "format", "marlin-24", {"\"format\" is marlin-24"}));
  EXPECT_TRUE(refuses_config(compressed(), "config_groups", compressed_config({3})["config_groups"],
                             {"group_3", "\"num_bits\" is 3; read is 4, 8"}));
  Json groups = compressed_config({4})["config_groups"];
  groups["group_4"]["weights"]["type"] = "float";
  EXPECT_TRUE(refuses_config(compressed(), "config_groups", groups, {"\"type\" is float"}));
  groups = compressed_config({4})["config_groups"];
  groups["group_4"]["input_activations"] = {{"num_bits", 8}};
  EXPECT_TRUE(refuses_config(compressed(), "config_groups", groups,
                             {"\"input_activations\"", "weights alone"}));
}

TEST_F(PackedFaults, AConfigurationThatIsNone) {
  for (const char* key : {"quant_method", "bits"}) {
    EXPECT_TRUE(refuses(gptq(),
                        [&](HfDirectory& hf) { hf.config["quantization_config"].erase(key); },
                        ErrorCode::kCorrupt, {fmt::format("\"{}\" is missing", key)}));
  }
  for (const Json& value : {Json(4), Json("gptq"), Json::array()}) {
    EXPECT_TRUE(refuses(gptq(), [&](HfDirectory& hf) { hf.config["quantization_config"] = value; },
                        ErrorCode::kCorrupt, {"\"quantization_config\""}));
  }
  EXPECT_TRUE(
      refuses(compressed(),
              [](HfDirectory& hf) { hf.config["quantization_config"].erase("config_groups"); },
              ErrorCode::kCorrupt, {"\"config_groups\" is missing"}));
}

TEST_F(PackedFaults, CodesThatTheConfigurationDoesNotTellOf) {
  for (const HfDirectory& hf : {compressed(), gptq()}) {
    EXPECT_TRUE(refuses(hf,
                        [](HfDirectory& damaged) { damaged.config.erase("quantization_config"); },
                        ErrorCode::kUnsupported, {"has dtype I", "quantized already?"}));
  }
  EXPECT_TRUE(refuses(compressed(),
                      [](HfDirectory& hf) { hf.config["quantization_config"] = gptq_config(4); },
                      ErrorCode::kUnsupported, {"no part of the layout"}));
}

TEST_F(PackedFaults, APartThatIsMissing) {
  const auto without = [](const std::string& name) {
    return [=](HfDirectory& hf) {
      std::erase_if(hf.tensors, [&](const auto& tensor) { return tensor.name == part(name); });
    };
  };
  for (const char* name : {"weight_packed", "weight_scale", "weight_shape"}) {
    EXPECT_TRUE(refuses(compressed(), without(name), ErrorCode::kCorrupt,
                        {"module '" + kModule + "'", std::string("no '") + name + "'"}));
  }
  for (const char* name : {"qweight", "qzeros", "scales", "g_idx"}) {
    EXPECT_TRUE(refuses(gptq(), without(name), ErrorCode::kCorrupt,
                        {"module '" + kModule + "'", std::string("no '") + name + "'"}));
  }
  EXPECT_TRUE(refuses(gptq(),
                      [](HfDirectory& hf) {
                        hf.tensors.push_back({{part("weight"), {16, 24}}, "F32"});
                      },
                      ErrorCode::kCorrupt, {"has a weight and '"}));
}

TEST_F(PackedFaults, PartsThatDoNotFitEachOther) {
  EXPECT_TRUE(refuses_shape(compressed(), "weight_packed", {23, 2}, {"[23, 2], expected [24, 2]"}));
  EXPECT_TRUE(refuses_shape(compressed(), "weight_packed", {24, 3}, {"3 words for 16 codes"}));
  EXPECT_TRUE(refuses_shape(compressed(), "weight_packed", {48}, {"expected 2 dimensions"}));
  EXPECT_TRUE(refuses_shape(compressed(), "weight_scale", {23, 4}, {"[23, 4], expected [24, 4]"}));
  EXPECT_TRUE(refuses_shape(compressed(), "weight_scale", {24, 3}, {"3 groups", "divide 16"}));
  EXPECT_TRUE(refuses_shape(compressed(), "weight_scale", {24}, {"[24], expected [24, 1]"}));
  EXPECT_TRUE(refuses_shape(compressed(), "weight_scale", {24, 0}, {"0 groups"}));
  EXPECT_TRUE(refuses_shape(compressed(), "weight_scale", {24, 17}, {"17 groups"}));
  EXPECT_TRUE(refuses_shape(compressed(), "weight_scale", {1}, {"weight_zero_point", "one scale"}));
  EXPECT_TRUE(refuses_shape(compressed(), "weight_shape", {3}, {"[3], expected [2]"}));
  EXPECT_TRUE(
      refuses_shape(compressed(), "weight_zero_point", {2, 4}, {"[2, 4], expected [3, 4]"}));
  EXPECT_TRUE(refuses_shape(gptq(), "qweight", {3, 24}, {"3 words for 16 codes"}));
  EXPECT_TRUE(refuses_shape(gptq(), "qweight", {2, 0}, {"matrix of 0 x 16"}));
  EXPECT_TRUE(refuses_shape(gptq(), "qzeros", {4, 2}, {"[4, 2], expected [4, 3]"}));
  EXPECT_TRUE(refuses_shape(gptq(), "scales", {4, 23}, {"[4, 23], expected [4, 24]"}));
  EXPECT_TRUE(refuses_shape(gptq(), "scales", {17, 24}, {"17 groups", "16 columns"}));
  EXPECT_TRUE(refuses_shape(gptq(), "scales", {}, {"0 groups"}));
  EXPECT_TRUE(refuses_shape(gptq(), "g_idx", {8}, {"qweight' has 2 words for 8 codes"}));
  EXPECT_TRUE(refuses_shape(gptq(), "g_idx", {0}, {"matrix of 24 x 0"}));
}

TEST_F(PackedFaults, SizesThatAreNoneOrThatOverflow) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  const std::vector<std::vector<int64_t>> shapes = {
      {0, 16}, {24, 0}, {-24, 16}, {24, -16}, {kMost, 16}, {24, kMost}, {kMost, kMost}};
  for (const auto& shape : shapes) {
    EXPECT_TRUE(
        refuses(compressed(),
                [&](HfDirectory& hf) { hf.tensor(part("weight_shape")).data = bytes_of(shape); },
                ErrorCode::kCorrupt, {kModule + ".weight_"}));
  }
}

TEST_F(PackedFaults, AMatrixThatDoesNotFitTheModel) {
  HfDirectory hf = tiny_hf();
  hf.config["quantization_config"] = gptq_config(4);
  put_gptq(hf, kModule, {.rows = 16, .cols = 24, .group_size = 12});
  EXPECT_TRUE(refuses(hf, [](auto&) {}, ErrorCode::kMismatch,
                      {kModule + ".weight", "[16, 24]", "expected [24, 16]"}));
  put_gptq(hf, "h.0.mlp.c_fd", {});
  EXPECT_TRUE(refuses(hf, [](HfDirectory& damaged) { put_gptq(damaged, kModule, {}); },
                      ErrorCode::kUnsupported, {"h.0.mlp.c_fd"}));
}

TEST_F(PackedFaults, CodesOfWhatIsLookedUp) {
  EXPECT_TRUE(refuses(
      gptq(), [](HfDirectory& hf) { put_gptq(hf, "wte", {.rows = kTinyVocabulary, .cols = 16}); },
      ErrorCode::kUnsupported, {"wte.weight", "only matrices that multiply"}));
}

TEST_F(PackedFaults, AGroupThatIsNotThere) {
  for (const int32_t group : {4, -1, std::numeric_limits<int32_t>::min()}) {
    EXPECT_TRUE(refuses(gptq(),
                        [=](HfDirectory& hf) {
                          std::vector<int32_t> index(16, 0);
                          index[9] = group;
                          hf.tensor(part("g_idx")).data = bytes_of(index);
                        },
                        ErrorCode::kCorrupt,
                        {part("g_idx"), fmt::format("holds {} at 9", group), "4 groups"}));
  }
}

TEST_F(PackedFaults, PartsOfAnotherType) {
  const auto with_dtype = [](const std::string& name, const std::string& dtype, size_t width) {
    return [=](HfDirectory& hf) {
      auto& tensor = hf.tensor(part(name));
      tensor.dtype = dtype;
      tensor.data.resize(product(tensor.shape) * width);
    };
  };
  EXPECT_TRUE(refuses(gptq(), with_dtype("qweight", "F32", 4), ErrorCode::kUnsupported,
                      {part("qweight"), "dtype F32, expected I32"}));
  EXPECT_TRUE(refuses(gptq(), with_dtype("scales", "I32", 4), ErrorCode::kUnsupported,
                      {part("scales"), "dtype I32, expected F16, BF16 or F32"}));
  EXPECT_TRUE(refuses(gptq(), with_dtype("g_idx", "I64", 8), ErrorCode::kUnsupported,
                      {part("g_idx"), "dtype I64, expected I32"}));
  EXPECT_TRUE(refuses(compressed(), with_dtype("weight_zero_point", "I8", 1),
                      ErrorCode::kUnsupported, {part("weight_zero_point"), "dtype I8"}));
  EXPECT_TRUE(refuses(compressed(), with_dtype("weight_shape", "I32", 4), ErrorCode::kUnsupported,
                      {part("weight_shape"), "dtype I32, expected I64"}));
}

TEST_F(PackedFaults, CodesThatCouldBeOfTwoWidths) {
  // A word holds four codes of 8 bits, or of 4.
  HfDirectory hf = tiny_hf();
  hf.config["quantization_config"] = compressed_config({4, 8});
  put_compressed(hf, kModule, {.cols = 4, .group_size = 4});
  EXPECT_TRUE(refuses(hf, [](auto&) {}, ErrorCode::kCorrupt,
                      {"1 words for 4 codes", "several", "4 or 8 bits"}));
}

TEST_F(PackedFaults, AScaleThatIsNotFinite) {
  HfDirectory hf = gptq();
  hf.tensor(part("scales")).data.replace(2, 2, bytes_of(uint16_t{0x7c00}));  // group 0, row 1
  const Model model = read(hf);
  const TensorView& view = model.tensors()[*model.find_tensor(Role::kFfnUp, 0)];
  std::vector<float> numbers(view.count());
  EXPECT_TRUE(says(failure_of([&] { decode(view, numbers); }), ErrorCode::kNotFinite,
                   {"blk.0.ffn_up.weight", "row 1, column"}));
}

// After any damage there is a Model that can be used, or an Error.
bool is_read(const std::filesystem::path& path) {
  try {
    const Model model = read_model(path);
    for (const auto& tensor : model.tensors()) {
      std::vector<float> numbers(tensor.count());
      decode(tensor, numbers);
    }
    return true;
  } catch (const Error&) {
    return false;
  }
}

TEST_F(PackedFaults, AnyByteOfTheHeadOrOfTheGroups) {
  constexpr size_t kRuns = 1500;
  Random random(7);
  for (const HfDirectory& hf : {compressed(), gptq()}) {
    hf.write(directory_);
    const std::string bytes = hf.safetensors();
    const size_t head = 8 + hf.header().dump().size();
    size_t read = 0;
    for (size_t run = 0; run < kRuns; ++run) {
      std::string damaged = bytes;
      const size_t range = run % 4 == 0 ? bytes.size() : head;
      for (size_t i = 0; i < 1 + random.below(3); ++i) {
        damaged[random.below(range)] = static_cast<char>(random.below(256));
      }
      directory_.write("model.safetensors", damaged);
      read += is_read(directory_.path());
    }
    EXPECT_GT(read, 0U);
    EXPECT_LT(read, kRuns);
  }
}

}  // namespace
}  // namespace isogloss
