// Contract of isogloss/quantize/quantize.h: assignments.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>

#include "isogloss/quantize/quantize.h"
#include "tests/failure.h"

namespace isogloss {
namespace {

using Strings = std::vector<std::string>;

const Model& polyglot() {
  static const Model kModel = read_model(ISOGLOSS_SOURCE_DIR "/models/polyglot-12");
  return kModel;
}

constexpr size_t kLayers = 12;
constexpr uint64_t kFileBytes = 27606016;  // tensor data of polyglot-12, F16
constexpr uint64_t kParameters = kFileBytes / 2;
constexpr uint64_t kLayerMatrix = 256 * 768 + 256 * 256 + 2 * 256 * 1024;  // numbers

using NameTest = std::function<bool(const std::string&)>;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Of the names that Hugging Face gives.
void expect_schemes(const Model& model, const Assignment& assignment,
                    const std::function<std::string(const std::string&)>& expected) {
  ASSERT_EQ(assignment.schemes.size(), model.tensors().size());
  for (size_t i = 0; i < model.tensors().size(); ++i) {
    const std::string& name = model.tensors()[i].hf_name;
    EXPECT_EQ(to_string(assignment.schemes[i]), expected(name)) << name;
  }
}

std::string scheme_if(bool condition, const std::string& scheme) {
  return condition ? scheme : "none";
}

bool is_block_matrix(const std::string& name) {
  return name.starts_with("h.") && has(name, ".c_") && name.ends_with(".weight");
}

size_t count_taken(const Assignment& assignment) {
  const auto none = std::ranges::count(assignment.schemes, Scheme{});
  return assignment.schemes.size() - static_cast<size_t>(none);
}

AssignmentRequest request_for(const std::string& scheme, Strings include = {}) {
  return {.scheme = parse_scheme(scheme), .include = std::move(include)};
}

AssignmentRequest seed_request(SeedFamily family) {
  return {.scheme = parse_scheme("seed-int4"), .seed_family = family};
}

TEST(Assign, GivesTheSchemeToTheWeightMatricesOfTheBlocks) {
  const Assignment assignment = assign(polyglot(), request_for("q4_k"));
  expect_schemes(polyglot(), assignment,
                 [](const auto& name) { return scheme_if(is_block_matrix(name), "q4_k"); });
  EXPECT_EQ(count_taken(assignment), kLayers * 4);
  EXPECT_TRUE(assignment.fallbacks.empty());
}

TEST(Assign, IncludesEmbeddingsHeadAndNorms) {
  const std::map<std::string, NameTest> groups = {
      {"embeddings", [](auto& name) { return name == "wte.weight" || name == "wpe.weight"; }},
      {"head", [](auto& name) { return name == "wte.weight"; }},  // tied
      {"norms", [](auto& name) { return has(name, "ln_") && name.ends_with(".weight"); }}};
  for (const auto& [group, is_in] : groups) {
    const Assignment assignment = assign(polyglot(), request_for("q8_0", {group}));
    expect_schemes(polyglot(), assignment, [&](const auto& name) {
      return scheme_if(is_block_matrix(name) || is_in(name), "q8_0");
    });
  }
  const Assignment all = assign(polyglot(), request_for("q8_0", {"norms", "embeddings", "head"}));
  EXPECT_EQ(count_taken(all), kLayers * (4 + 2) + 1 + 2);
}

TEST(Assign, RefusesAGroupItDoesNotKnow) {
  for (const char* group : {"biases", "embedings", "L0", ""}) {
    const Failure failure = failure_of([&] { assign(polyglot(), request_for("q8_0", {group})); });
    EXPECT_EQ(failure.code, ErrorCode::kBadArgument);
    EXPECT_TRUE(says(failure.message, {group, "embeddings, head, norms"}));
  }
  const Failure near = failure_of([] { assign(polyglot(), request_for("q8_0", {"embedings"})); });
  EXPECT_TRUE(says(near.message, {"did you mean 'embeddings'"}));
}

TEST(Assign, TakesTheParametersOfTheStudysFamilies) {
  const std::map<SeedFamily, NameTest> families = {
      {SeedFamily::kA, [](auto& name) { return has(name, "weight"); }},
      {SeedFamily::kB, [](auto& name) { return has(name, "weight") && !has(name, "ln_f"); }},
      {SeedFamily::kC, [](auto&) { return true; }}};
  const std::map<SeedFamily, size_t> counts = {
      {SeedFamily::kA, kLayers * 6 + 3},  // six weights a block, wte, wpe and ln_f
      {SeedFamily::kB, kLayers * 6 + 2},
      {SeedFamily::kC, kLayers * 12 + 4}};
  for (const auto& [family, is_in] : families) {
    const Assignment assignment = assign(polyglot(), seed_request(family));
    expect_schemes(polyglot(), assignment,
                   [&](const auto& name) { return scheme_if(is_in(name), "seed-int4"); });
    EXPECT_EQ(count_taken(assignment), counts.at(family));
  }
}

TEST(Assign, LetsTheFamilyAloneDecideForSeedSchemes) {
  AssignmentRequest request = seed_request(SeedFamily::kA);
  request.include = {"norms"};
  const Failure failure = failure_of([&] { assign(polyglot(), request); });
  EXPECT_EQ(failure.code, ErrorCode::kBadArgument);
  EXPECT_TRUE(says(failure.message, {"seed-int4", "'norms'", "--seed-family"}));
  request.include.clear();
  EXPECT_EQ(count_taken(assign(polyglot(), request)), kLayers * 6 + 3);
}

TEST(Assign, GivesProtectedTensorsTheOtherScheme) {
  AssignmentRequest request = request_for("q4_k");
  request.protect = "L0+L11.mlp";
  const auto is_protected = [](const std::string& name) {
    return name.starts_with("h.0.") || name.starts_with("h.11.mlp");
  };
  for (const std::string other : {"none", "q8_0"}) {
    request.protect_scheme = parse_scheme(other);
    expect_schemes(polyglot(), assign(polyglot(), request), [&](const auto& name) -> std::string {
      if (!is_block_matrix(name)) return "none";
      return is_protected(name) ? other : "q4_k";
    });
  }
}

TEST(Assign, DoesNotQuantizeByProtection) {
  AssignmentRequest request = seed_request(SeedFamily::kB);
  request.protect = "L0";
  request.protect_scheme = parse_scheme("seed-int8");
  expect_schemes(polyglot(), assign(polyglot(), request), [](const auto& name) -> std::string {
    if (!has(name, "weight") || has(name, "ln_f")) return "none";
    return name.starts_with("h.0.") ? "seed-int8" : "seed-int4";
  });
  request = request_for("q4_k");
  request.protect = "embeddings+head+norms+biases";
  request.protect_scheme = parse_scheme("q8_0");
  EXPECT_EQ(assign(polyglot(), request).schemes, assign(polyglot(), request_for("q4_k")).schemes);
}

TEST(Assign, RefusesToProtectWhatIsNotThere) {
  AssignmentRequest request = request_for("q4_k");
  request.protect = "L0+L12";
  const Failure failure = failure_of([&] { assign(polyglot(), request); });
  EXPECT_EQ(failure.code, ErrorCode::kBadArgument);
  EXPECT_TRUE(says(failure.message, {"L12"}));
  request.protect = "L0+L11";
  EXPECT_EQ(count_taken(assign(polyglot(), request)), (kLayers - 2) * 4);
}

// One block of a Llama with a head of its own, whose rows are 640, 100 and 64 numbers long.
Model untied_model() {
  static const std::vector<std::byte> kBytes(4 * 640 * 640);
  ModelConfig config;
  config.family = Family::kLlama;
  config.layers = 1;
  std::vector<TensorView> tensors;
  const auto add = [&](Role role, size_t layer, size_t rows, size_t cols) {
    const RoleInfo& info = get_role_info(role);
    tensors.push_back({.role = role,
                       .layer = layer,
                       .name = gguf_tensor_name(info, layer),
                       .hf_name = hf_tensor_name(info, config.family, layer),
                       .rows = rows,
                       .cols = cols,
                       .bytes = std::span(kBytes).first(4 * rows * cols)});
  };
  add(Role::kTokenEmbedding, kNoLayer, 3, 640);
  add(Role::kAttentionNorm, 0, 1, 64);
  add(Role::kQuery, 0, 640, 640);
  add(Role::kFfnDown, 0, 640, 100);
  add(Role::kHead, kNoLayer, 3, 640);
  return Model("untied", config, Vocabulary{}, std::move(tensors), {});
}

TEST(Assign, TellsAHeadOfItsOwnFromTheEmbedding) {
  const auto schemes = [](const Strings& include) {
    Strings names;
    for (const Scheme& scheme : assign(untied_model(), request_for("q8_0", include)).schemes) {
      names.push_back(to_string(scheme));
    }
    return names;
  };
  EXPECT_EQ(schemes({}), (Strings{"none", "none", "q8_0", "f16", "none"}));
  EXPECT_EQ(schemes({"head"}), (Strings{"none", "none", "q8_0", "f16", "q8_0"}));
  EXPECT_EQ(schemes({"embeddings"}), (Strings{"q8_0", "none", "q8_0", "f16", "none"}));
  EXPECT_EQ(schemes({"norms"}), (Strings{"none", "q8_0", "q8_0", "f16", "none"}));
}

TEST(Assign, RecordsEveryFallbackAndNothingElse) {
  AssignmentRequest request = request_for("q4_k", {"embeddings", "norms"});
  request.protect = "blk.0.ffn_down";
  request.protect_scheme = parse_scheme("rtn-int8-g64-asym");
  Strings lines;
  for (const Fallback& fallback : assign(untied_model(), request).fallbacks) {
    lines.push_back(fmt::format("{} {} {}", fallback.tensor, to_string(fallback.wanted),
                                to_string(fallback.used)));
  }
  EXPECT_EQ(lines, (Strings{"0 q4_k q5_0", "1 q4_k q5_0", "2 q4_k q5_0",
                            "3 rtn-int8-g64-asym rtn-int8-channel-asym"}));
  request.scheme = parse_scheme("q5_0");
  request.protect.clear();
  EXPECT_EQ(assign(untied_model(), request).fallbacks.size(), 1U);  // 100 numbers: F16
}

// Names of OPT, which this program does not read.
TEST(Assign, LeavesFinalLayerNormsOutOfFamilyB) {
  TensorView norm{.layer = 0, .name = "n", .hf_name = "layers.0.final_layer_norm.weight"};
  norm.role = Role::kAttentionNorm;
  norm.rows = 1;
  norm.cols = 64;
  ModelConfig config;
  config.layers = 1;
  const Model model("norm", config, Vocabulary{}, {norm}, {});
  EXPECT_EQ(count_taken(assign(model, seed_request(SeedFamily::kA))), 1U);
  EXPECT_EQ(count_taken(assign(model, seed_request(SeedFamily::kB))), 0U);
}

TEST(Unchanged, LeavesEveryTensorAsItIsStored) {
  const Assignment assignment = unchanged(polyglot());
  EXPECT_EQ(assignment.schemes, std::vector<Scheme>(polyglot().tensors().size()));
  EXPECT_TRUE(assignment.fallbacks.empty());
  EXPECT_EQ(assign(polyglot(), request_for("none")).schemes, assignment.schemes);
}

TEST(AssignedSize, OfTheModelAsItIsStoredIsThatOfItsTensors) {
  const ModelSize size = assigned_size(polyglot(), unchanged(polyglot()));
  EXPECT_EQ(size.size_bytes, kFileBytes);  // every tensor is a multiple of 32 bytes
  EXPECT_EQ(size.bits_per_weight, 16);
}

TEST(AssignedSize, CountsTheBytesOfEachScheme) {
  const uint64_t rest = kFileBytes - kLayers * 2 * kLayerMatrix;
  const std::map<std::string, uint64_t> block_bytes = {
      {"q4_0", kLayerMatrix / 32 * 18},
      {"q4_k", kLayerMatrix / 256 * 144},
      {"rtn-int4-g128", kLayerMatrix / 2 + kLayerMatrix / 128 * 2},
      {"rtn-int8-channel", kLayerMatrix + 2 * (768 + 256 + 1024 + 256)}};
  for (const auto& [name, bytes] : block_bytes) {
    const ModelSize size = assigned_size(polyglot(), assign(polyglot(), request_for(name)));
    EXPECT_EQ(size.size_bytes, rest + kLayers * bytes) << name;
    EXPECT_DOUBLE_EQ(size.bits_per_weight,
                     8.0 * static_cast<double>(rest + kLayers * bytes) / kParameters);
  }
}

// Codes and a float a tensor: 4 bytes over, which padding makes 32.
TEST(AssignedSize, PadsEachTensorTo32Bytes) {
  const ModelSize size =
      assigned_size(polyglot(), assign(polyglot(), seed_request(SeedFamily::kC)));
  EXPECT_EQ(size.size_bytes, kParameters / 2 + (kLayers * 12 + 4) * 32);
}

}  // namespace
}  // namespace isogloss
