// Contract of isogloss/study/study.h, and of the reports that show it: against NumPy, SciPy and the
// published study's own lines (tests/reference/make_weight_statistics.py), and in closed form.
#include "isogloss/study/study.h"

#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "failure.h"
#include "isogloss/base/file.h"
#include "isogloss/report/report.h"
#include "tests/families.h"
#include "tests/loaded_model.h"
#include "tests/patterns.h"

namespace isogloss {
namespace {

using nlohmann::json;

// Both sides sum in double. What they round differently is some units in the last place of a sum of
// at most 10^7 terms; skewness and kurtosis divide two of those.
constexpr double kRounding = 1e-11;

WeightStudyOptions everything() {
  return {.by_layer = true, .by_tensor = true, .seed_way = true};
}

// A model whose tensors are given: nothing else is read of it. Their numbers live as long as the
// program, so that models may outlive their maker.
class MadeModel {
 public:
  MadeModel& add(Role role, size_t layer, std::vector<float> numbers, size_t rows = 1) {
    static std::deque<std::vector<float>> all;
    const std::vector<float>& kept = all.emplace_back(std::move(numbers));
    TensorView tensor;
    tensor.role = role;
    tensor.layer = layer;
    tensor.name = gguf_tensor_name(get_role_info(role), layer);
    tensor.hf_name = hf_tensor_name(get_role_info(role), Family::kGpt2, layer);
    tensor.rows = rows;
    tensor.cols = kept.size() / rows;
    tensor.bytes = std::as_bytes(std::span(kept));
    tensors_.push_back(std::move(tensor));
    return *this;
  }
  TensorView& last() { return tensors_.back(); }

  Model build() const {
    ModelConfig config;
    config.layers = 1;
    for (const TensorView& tensor : tensors_) {
      if (tensor.layer != kNoLayer) config.layers = std::max(config.layers, tensor.layer + 1);
    }
    config.layer_configs.resize(config.layers);
    return {"made", config, {}, tensors_, {}};
  }

 private:
  std::vector<TensorView> tensors_;
};

WeightStatistics statistics_of_numbers(const std::vector<float>& numbers, size_t rows = 1) {
  const Model model = MadeModel().add(Role::kFfnUp, 0, numbers, rows).build();
  return study_weights(model, everything()).tensors.at(0).statistics;
}

const WeightGroup& group_named(const std::vector<WeightGroup>& groups, const std::string& name,
                               std::optional<TensorKind> kind) {
  for (const WeightGroup& group : groups) {
    if (group.name == name && group.kind == kind) return group;
  }
  throw std::runtime_error("no group " + name);
}

// --- Closed forms

TEST(WeightStatistics, OfTwoPointsAreInClosedForm) {
  // p of the numbers are 3, the others -1: a Bernoulli variable, stretched.
  constexpr size_t kNumbers = 40000;
  constexpr double kShare = 0.125;
  std::vector<float> numbers(kNumbers, -1.0F);
  for (size_t i = 0; i < kNumbers; i += 8) numbers[i] = 3.0F;
  const WeightStatistics found = statistics_of_numbers(numbers, 100);
  const double variance = kShare * (1 - kShare);
  EXPECT_EQ(found.count, kNumbers);
  EXPECT_NEAR(found.mean, -1 + 4 * kShare, kRounding);
  EXPECT_NEAR(found.sd, 4 * std::sqrt(variance), kRounding);
  EXPECT_EQ(found.max_abs, 3);
  EXPECT_EQ(found.sparsity, 0);
  ASSERT_TRUE(found.shape);
  EXPECT_NEAR(found.shape->skewness, (1 - 2 * kShare) / std::sqrt(variance), kRounding);
  EXPECT_NEAR(found.shape->excess_kurtosis, (1 - 6 * variance) / variance, kRounding);
  EXPECT_EQ(found.shape->outlier_ratio, 0);
  EXPECT_NEAR(found.shape->max_over_sd, 3 / found.sd, kRounding);
}

TEST(WeightStatistics, OfAlternatingSignsHaveTheLeastKurtosis) {
  std::vector<float> numbers(3001, 0.0F);
  for (size_t i = 0; i < 3000; ++i) numbers[i] = i % 2 == 0 ? 0.25F : -0.25F;
  numbers.pop_back();
  const WeightStatistics found = statistics_of_numbers(numbers, 3);
  EXPECT_EQ(found.mean, 0);
  EXPECT_EQ(found.sd, 0.25);
  ASSERT_TRUE(found.shape);
  EXPECT_EQ(found.shape->skewness, 0);
  EXPECT_EQ(found.shape->excess_kurtosis, -2);
  EXPECT_EQ(found.shape->outlier_ratio, 0);
  EXPECT_EQ(found.shape->max_over_sd, 1);
}

// |w| > 3 sd, not |w - mean| > 3 sd; and a number on the bound is none.
TEST(WeightStatistics, CountOutliersFromZero) {
  const std::vector<float> far = {9, 10, 11};
  EXPECT_EQ(statistics_of_numbers(far).shape->outlier_ratio, 1);
  // One 1 in ten numbers: the mean is 0.1, the deviation 0.3, and 0.9 < 1.
  std::vector<float> rare(10, 0.0F);
  rare[4] = 1;
  EXPECT_EQ(statistics_of_numbers(rare).shape->outlier_ratio, 0.1);
  EXPECT_EQ(statistics_of_numbers(rare).sparsity, 0.9);
  // Two numbers of ten, 3 sd = 1.2: none is beyond.
  rare[5] = 1;
  EXPECT_EQ(statistics_of_numbers(rare).shape->outlier_ratio, 0);
}

TEST(WeightStatistics, SparsityCountsZerosOfEitherSign) {
  EXPECT_EQ(statistics_of_numbers({0.0F, -0.0F, 1e-45F, 1}).sparsity, 0.5);
}

// A deviation of exactly 0, whatever the constant: sums of equal numbers must not round.
TEST(WeightStatistics, OfConstantsHaveAStatusInPlaceOfAShape) {
  for (const float constant : {0.0F, 1.0F, 0.1F, -1e-30F, 3e38F, 0.333333343F}) {
    const WeightStatistics found =
        statistics_of_numbers(std::vector<float>(300 * 333, constant), 300);
    EXPECT_EQ(found.mean, static_cast<double>(constant));
    EXPECT_EQ(found.sd, 0);
    EXPECT_FALSE(found.shape);
    EXPECT_EQ(found.status.rfind("CONSTANT: every weight is ", 0), 0U) << found.status;
  }
  const WeightStatistics single = statistics_of_numbers({0.5F});
  EXPECT_FALSE(single.shape);
  EXPECT_EQ(single.status, "CONSTANT: every weight is 0.5");
}

// A mean a million deviations away costs one-pass sums all their digits.
TEST(WeightStatistics, AreSoundFarFromZero) {
  std::vector<float> numbers;
  for (size_t i = 0; i < 100000; ++i) {
    numbers.push_back(i % 4 == 0 ? 8388608.0F + 3 : 8388608.0F - 1);
  }
  const WeightStatistics found = statistics_of_numbers(numbers, 50);
  EXPECT_EQ(found.mean, 8388608.0);
  EXPECT_NEAR(found.sd, std::sqrt(3.0), kRounding);
  ASSERT_TRUE(found.shape);
  EXPECT_NEAR(found.shape->skewness, 2 / std::sqrt(3.0), kRounding);
  EXPECT_NEAR(found.shape->excess_kurtosis, 7.0 / 3 - 3, kRounding);
}

TEST(WeightStatistics, DoNotOverflowOrVanishWhereFloatsDoNot) {
  for (const float size : {3e38F, 1e-38F}) {
    const WeightStatistics found = statistics_of_numbers({size, -size, size, -size});
    EXPECT_EQ(found.sd, static_cast<double>(size));
    ASSERT_TRUE(found.shape);
    EXPECT_NEAR(found.shape->excess_kurtosis, -2, kRounding);
  }
}

// --- Groups

TEST(WeightGroups, KeepMatricesNormsAndBiasesApart) {
  MadeModel made;
  made.add(Role::kTokenEmbedding, kNoLayer, {1, 2, 3, 4});
  for (const size_t layer : {0, 1}) {
    made.add(Role::kAttentionNorm, layer, {1, 1});
    made.add(Role::kAttentionNormBias, layer, {0, 1});
    made.add(Role::kQkv, layer, {1, -1, 1, -1}, 2);
    made.add(Role::kFfnDown, layer, {3, -3, 3, -3}, 2);
  }
  made.add(Role::kOutputNorm, kNoLayer, {1, 2});
  const WeightStudy study = study_weights(made.build(), everything());
  std::vector<std::string> names;
  for (const auto& group : study.layers) names.push_back(group.name);
  EXPECT_EQ(names, (std::vector<std::string>{"L0", "L1", "L0-1", "token_embd", "L0", "L1",
                                             "output_norm", "L0", "L1"}));
  const WeightGroup& matrices = group_named(study.layers, "L1", TensorKind::kMatrix);
  EXPECT_EQ(matrices.statistics.count, 8U);
  EXPECT_NEAR(matrices.statistics.sd, std::sqrt(5.0), kRounding);
  EXPECT_EQ(group_named(study.layers, "L0-1", TensorKind::kMatrix).statistics.count, 16U);
  EXPECT_EQ(group_named(study.layers, "L1", TensorKind::kNorm).statistics.mean, 1);
  EXPECT_EQ(group_named(study.layers, "L1", TensorKind::kBias).statistics.mean, 0.5);
  EXPECT_EQ(study.tensors.size(), 10U);
  EXPECT_EQ(study.tensors[3].name, "blk.0.attn_qkv");
  EXPECT_EQ(study.tensors[2].name, "blk.0.attn_norm.bias");
}

TEST(WeightGroups, AreOnlyThoseAskedFor) {
  const Model model = MadeModel().add(Role::kFfnUp, 0, {1, 2}).build();
  const WeightStudy none =
      study_weights(model, {.by_layer = false, .by_tensor = false, .seed_way = false});
  EXPECT_TRUE(none.layers.empty() && none.tensors.empty() && none.seed.empty());
  const WeightStudy some = study_weights(model, {.by_layer = false, .by_tensor = true});
  EXPECT_TRUE(some.layers.empty() && some.tensors.size() == 1 && some.seed.empty());
}

// --- The published study's way

TEST(SeedWay, IsItsFormula) {
  const std::vector<float> matrix = {0.5F, -0.25F, 0.005F, -2, 0.125F, 0};
  const std::vector<float> norm = {1, 0.75F};
  const Model model = MadeModel()
                          .add(Role::kAttentionNorm, 0, norm)
                          .add(Role::kAttentionNormBias, 0, {100, 200})
                          .add(Role::kQkv, 0, matrix, 2)
                          .add(Role::kQkvBias, 0, {300, 400})
                          .build();
  std::vector<float> all = norm;
  all.insert(all.end(), matrix.begin(), matrix.end());
  const auto n = static_cast<double>(all.size());
  double sum = 0;
  for (const float w : all) sum += static_cast<double>(w);
  double m2 = 0;
  double m3 = 0;
  double m4 = 0;
  for (const float w : all) {
    const double distance = static_cast<double>(w) - sum / n;
    m2 += std::pow(distance, 2);
    m3 += std::pow(distance, 3);
    m4 += std::pow(distance, 4);
  }
  const double sd = std::sqrt(m2 / (n - 1));
  const WeightStudy study = study_weights(model, {.by_layer = false, .seed_way = true});
  ASSERT_EQ(study.seed.size(), 1U);
  EXPECT_EQ(study.seed[0].name, "L0");
  const WeightStatistics& found = study.seed[0].statistics;
  EXPECT_EQ(found.count, 8U);
  EXPECT_NEAR(found.mean, sum / n, kRounding);
  EXPECT_NEAR(found.sd, sd, kRounding);
  EXPECT_EQ(found.max_abs, 2);
  EXPECT_EQ(found.sparsity, 0.25);  // 0.005 and 0
  ASSERT_TRUE(found.shape);
  EXPECT_NEAR(found.shape->skewness, m3 / n / std::pow(sd, 3), kRounding);
  EXPECT_NEAR(found.shape->excess_kurtosis, m4 / n / std::pow(sd, 4) - 3, kRounding);
}

// What docs/inspect.md says of it: norms near 1 among small weights look like heavy tails.
TEST(SeedWay, IsInflatedByNorms) {
  std::vector<float> matrix;
  for (size_t i = 0; i < 4096; ++i) matrix.push_back(i % 2 == 0 ? 0.05F : -0.05F);
  const Model model = MadeModel()
                          .add(Role::kAttentionNorm, 0, std::vector<float>(64, 1.0F))
                          .add(Role::kQkv, 0, matrix, 64)
                          .build();
  const WeightStudy study = study_weights(model, everything());
  const auto& sound = *group_named(study.layers, "L0", TensorKind::kMatrix).statistics.shape;
  const auto& seed = *study.seed.at(0).statistics.shape;
  EXPECT_NEAR(sound.excess_kurtosis, -2, kRounding);
  EXPECT_EQ(sound.outlier_ratio, 0);
  EXPECT_GT(seed.excess_kurtosis, 40);
  EXPECT_NEAR(seed.outlier_ratio, 64.0 / (64 + 4096), kRounding);
}

// --- Real weights, by others

class References : public testing::TestWithParam<size_t> {};

json reference_models() {
  static const json all =
      json::parse(read_text_file(repository_path("tests/reference/weight_statistics.json")));
  EXPECT_EQ(all["columns"].dump(),
            R"(["count","mean","sd","max_abs","sparsity","skewness","excess_kurtosis",)"
            R"("outlier_ratio"])");
  return all["models"];
}

void expect_close(double found, const json& expected, const std::string& what) {
  const double value = expected.get<double>();
  EXPECT_NEAR(found, value, kRounding * std::max(1.0, std::abs(value))) << what;
}

void expect_statistics(const WeightStatistics& found, const json& expected,
                       const std::string& what) {
  EXPECT_EQ(found.count, expected[0].get<uint64_t>()) << what;
  expect_close(found.mean, expected[1], what + " mean");
  expect_close(found.sd, expected[2], what + " sd");
  EXPECT_EQ(found.max_abs, expected[3].get<double>()) << what;
  expect_close(found.sparsity, expected[4], what + " sparsity");
  ASSERT_EQ(found.shape.has_value(), !expected[5].is_null()) << what;
  if (!found.shape) return;
  expect_close(found.shape->skewness, expected[5], what + " skewness");
  expect_close(found.shape->excess_kurtosis, expected[6], what + " kurtosis");
  expect_close(found.shape->outlier_ratio, expected[7], what + " outliers");
  expect_close(found.shape->max_over_sd, expected[3].get<double>() / expected[2].get<double>(),
               what + " max");
}

// The reference's name of a group.
std::string reference_name(const Model& model, const WeightGroup& group) {
  if (group.layer == kNoLayer && group.tensors.size() == 1) {
    return model.tensors()[group.tensors[0]].hf_name;
  }
  static constexpr const char* kNames[] = {"matrix", "embedding", "norm", "bias"};
  const std::string layer = group.layer == kNoLayer ? "all" : std::to_string(group.layer);
  return kNames[static_cast<size_t>(*group.kind)] + (" " + layer);
}

TEST_P(References, AreWhatNumpyAndScipyFind) {
  const json expected = reference_models().at(GetParam());
  const Model model = read_model(repository_path(expected["path"]));
  const WeightStudy study = study_weights(model, everything());
  EXPECT_EQ(study.layers.size(), expected["layers"].size());
  for (const WeightGroup& group : study.layers) {
    const std::string name = reference_name(model, group);
    ASSERT_TRUE(expected["layers"].contains(name)) << name;
    expect_statistics(group.statistics, expected["layers"][name], name);
  }
  size_t compared = 0;
  for (const WeightGroup& group : study.tensors) {
    const std::string& name = model.tensors()[group.tensors[0]].hf_name;
    if (!expected["tensors"].contains(name)) continue;
    expect_statistics(group.statistics, expected["tensors"][name], name);
    ++compared;
  }
  EXPECT_EQ(compared, expected["tensors"].size());
  ASSERT_EQ(study.seed.size(), expected["seed"].size());
  for (size_t layer = 0; layer < study.seed.size(); ++layer) {
    expect_statistics(study.seed[layer].statistics, expected["seed"][layer],
                      "seed " + study.seed[layer].name);
  }
}

std::string reference_test_name(const testing::TestParamInfo<size_t>& info) {
  return std::to_string(info.param);
}

INSTANTIATE_TEST_SUITE_P(WeightStatistics, References, testing::Range<size_t>(0, 4),
                         reference_test_name);

// --- Threads, errors, progress

InspectReport inspect(const Model& model, const WeightStudyOptions& options = everything()) {
  InspectReport report{{"made", "made", "gpt2", 1, 2, 3, 4.5, ""}, &model, {}};
  report.weights = study_weights(model, options);
  return report;
}

TEST(StudyWeights, DoesNotDependOnTheNumberOfThreads) {
  const Model model = read_model(repository_path("models/polyglot-12"));
  std::set<std::string> results;
  for (const size_t threads : {1, 2, 3, 7}) {
    const Device device("cpu", threads);  // our threads and ggml's are one pool
    results.insert(to_json(inspect(model)));
  }
  EXPECT_EQ(results.size(), 1U);
}

// Rows are read in pieces and matrices as they lie; the place is that of the tensor.
TEST(StudyWeights, NamesTheNumberThatIsNotFinite) {
  constexpr size_t kRows = 300;
  constexpr size_t kCols = 200;
  std::vector<float> numbers(kRows * kCols, 0.5F);
  numbers[250 * kCols + 7] = std::nanf("");
  MadeModel made;
  made.add(Role::kFfnUp, 0, numbers, kRows);
  Failure failure = failure_of([&] { study_weights(made.build(), everything()); });
  EXPECT_EQ(failure.code, ErrorCode::kNotFinite);
  EXPECT_TRUE(says(failure.message, {"'blk.0.ffn_up.weight'", "row 250, column 7"}));

  std::swap(made.last().rows, made.last().cols);
  made.last().order = StorageOrder::kColumns;
  failure = failure_of([&] { study_weights(made.build(), everything()); });
  EXPECT_TRUE(says(failure.message, {"row 7, column 250"}));

  numbers[250 * kCols + 7] = 0;
  const Model valid = MadeModel().add(Role::kFfnUp, 0, numbers, kRows).build();
  EXPECT_EQ(study_weights(valid, everything()).tensors[0].statistics.count, numbers.size());
}

TEST(StudyWeights, ReportsProgressFromNothingToAll) {
  const Model model =
      MadeModel().add(Role::kFfnUp, 0, {1, 2}).add(Role::kFfnDown, 0, {1, 2, 3, 5, 6, 7}).build();
  std::vector<double> shares;
  study_weights(model, everything(),
                [&](std::string_view, double done) { shares.push_back(done); });
  EXPECT_EQ(shares, (std::vector<double>{0.125, 0.5, 0.625, 1}));
}

// --- Reports

void collect_names(const json& value, std::set<std::string>& names) {
  for (const auto& [name, part] : value.items()) {
    if (value.is_object()) names.insert(name);
    if (part.is_structured()) collect_names(part, names);
  }
}

Model constant_model() {
  return MadeModel().add(Role::kFfnUp, 0, {1, 1}).build();
}

TEST(InspectJson, HasNoNameThatItsPageLacks) {
  std::set<std::string> names;
  collect_names(json::parse(to_json(inspect(constant_model()))), names);
  const Model rotating = read_model(repository_path("tests/data/families/gpt-neox"));
  collect_names(json::parse(to_json(inspect(rotating))), names);
  const std::string page = read_text_file(repository_path("docs/json.md"));
  for (const auto& name : names) {
    const bool documented = page.find('`' + name + '`') != std::string::npos;
    EXPECT_TRUE(documented) << name << " is not in docs/json.md";
  }
}

TEST(InspectJson, HasTheNamesOfItsPage) {
  const json report = json::parse(to_json(inspect(constant_model())));
  const auto names_of = [](const json& object) {
    std::vector<std::string> names;
    for (const auto& [name, value] : object.items()) names.push_back(name);
    return names;
  };
  using Names = std::vector<std::string>;  // in the order of the alphabet, as they are parsed
  EXPECT_EQ(names_of(report),
            (Names{"architecture", "isogloss", "model", "tensors", "tokenizer", "weights"}));
  EXPECT_EQ(names_of(report["weights"]), (Names{"layers", "seed_way", "tensors"}));
  EXPECT_EQ(names_of(report["tensors"][0]), (Names{"cols", "hf_name", "kind", "layer", "name",
                                                   "parameters", "rows", "size_bytes", "type"}));
  EXPECT_EQ(names_of(report["weights"]["tensors"][0]),
            (Names{"count", "excess_kurtosis", "kind", "layer", "max_abs", "max_over_sd", "mean",
                   "name", "outlier_ratio", "sd", "skewness", "sparsity", "status", "tensors"}));
}

TEST(InspectJson, WritesMissingNumbersAsNullWithAStatus) {
  const Model model = constant_model();
  const std::string text = to_json(inspect(model));
  EXPECT_FALSE(contains_match(text, R"([:\[,]\s*[-+]?(nan|inf))"));
  const json group = json::parse(text)["weights"]["layers"][0];
  for (const char* name : {"skewness", "excess_kurtosis", "outlier_ratio", "max_over_sd"}) {
    EXPECT_TRUE(group[name].is_null()) << name;
  }
  EXPECT_EQ(group["sd"], 0.0);
  EXPECT_EQ(group["status"], "CONSTANT: every weight is 1");
}

TEST(InspectJson, KeepsEveryBitOfAStatistic) {
  const Model model = MadeModel().add(Role::kFfnUp, 0, {0.1F, 0.7F, -0.3F}).build();
  const InspectReport report = inspect(model);
  EXPECT_EQ(json::parse(to_json(report))["weights"]["layers"][0]["sd"],
            report.weights.layers[0].statistics.sd);
}

TEST(InspectTable, IsAtMostHundredColumnsWide) {
  MadeModel made;
  for (size_t layer = 0; layer < 200; ++layer) {
    // Every other layer is of another shape, so that no two neighbours fold.
    made.add(Role::kAttentionPostNorm, layer, std::vector<float>(4 + layer % 2, -1e-5F));
    made.add(Role::kFfnDown, layer, {1e-9F, -2e30F, 3, 4}, 2);
  }
  const Model model = made.build();
  for (const bool unfold : {false, true}) {
    std::istringstream table(to_table(inspect(model), {.unfold = unfold}));
    for (std::string line; std::getline(table, line);) EXPECT_LE(line.size(), 100U) << line;
  }
}

class InspectFamilies : public testing::TestWithParam<std::string> {};

TEST_P(InspectFamilies, AreShownWhole) {
  const Model model = read_model(family_path(GetParam()));
  const InspectReport report = inspect(model);
  const json parsed = json::parse(to_json(report));
  EXPECT_EQ(parsed["tensors"].size(), model.tensors().size());
  EXPECT_EQ(parsed["architecture"]["layers"].size(), model.config().layers);
  std::istringstream table(to_table(report, {.unfold = true}));
  for (std::string line; std::getline(table, line);) EXPECT_LE(line.size(), 100U) << line;
}

INSTANTIATE_TEST_SUITE_P(All, InspectFamilies, testing::ValuesIn(family_names()), test_name);

TEST(InspectTable, FoldsLayersWhoseShapeAgrees) {
  MadeModel made;
  for (size_t layer = 0; layer < 6; ++layer) {
    made.add(Role::kFfnDown, layer, std::vector<float>(layer == 3 ? 8 : 4, 1.0F), 2);
  }
  const Model model = made.build();
  const std::string table = to_table(inspect(model), {});
  EXPECT_TRUE(says(table, {"blk.0-2,4-5 ffn_down ", "blk.3 ffn_down "}));
  EXPECT_TRUE(says(to_table(inspect(model), {.unfold = true}), {"blk.5.ffn_down "}));
}

}  // namespace
}  // namespace isogloss
