// Contract of isogloss/write/write.h for Hugging Face directories: what runtimes read in them, and
// the bytes of their codes, by hand.
#include <gtest/gtest.h>

#include "tests/directories.h"
#include "tests/patterns.h"

namespace isogloss {
namespace {

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

}  // namespace
}  // namespace isogloss
