// The published study's arithmetic, end to end: rounding, perplexity, degradation and disparity
// against a torch implementation of it (tests/reference/make_seed.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <nlohmann/json.hpp>

#include "isogloss/base/file.h"
#include "isogloss/measure/measure.h"
#include "tests/loaded_model.h"

namespace isogloss {
namespace {

// Relative; of sums of cross entropies, and of perplexities.
constexpr double kNllTolerance = 1e-5;
constexpr double kPerplexityTolerance = 1e-5;

// Percentage points of a degradation, for each unit of ppl / unquantized ppl: what 1e-5 of a
// perplexity comes to. A disparity, a ratio of two degradations, takes the shares of both.
constexpr double kDegradationTolerance = 100 * kPerplexityTolerance;

nlohmann::json read_reference() {
  return nlohmann::json::parse(
      read_text_file(repository_path("tests/reference/seed_polyglot-12.json")));
}

SeedFamily family_of(const std::string& name) {
  return name == "A" ? SeedFamily::kA : name == "B" ? SeedFamily::kB : SeedFamily::kC;
}

// The study names protected blocks by a piece of a parameter's name, "h.9."; we, "L9".
std::string unit_set_of(const std::vector<std::string>& pieces) {
  std::string unit_set;
  for (const std::string& piece : pieces) {
    EXPECT_TRUE(piece.starts_with("h.") && piece.ends_with(".")) << piece;
    unit_set += (unit_set.empty() ? "L" : "+L") + piece.substr(2, piece.size() - 3);
  }
  return unit_set;
}

AssignmentRequest seed_request(const std::string& family, int bits, const std::string& protect) {
  AssignmentRequest request;
  request.scheme = parse_scheme("seed-int" + std::to_string(bits));
  request.seed_family = family_of(family);
  request.protect = protect;
  return request;
}

// Of every token but the first, from a softmax in double.
double nll_sum(LoadedModel& ours, const Variant& variant, const std::vector<int32_t>& tokens) {
  const HiddenStates logits = ours.logits(variant, tokens);
  double nll = 0;
  for (size_t t = 0; t + 1 < tokens.size(); ++t) {
    const auto row = logits.row(t);
    const auto most = static_cast<double>(*std::ranges::max_element(row));
    double sum = 0;
    for (const float logit : row) sum += std::exp(static_cast<double>(logit) - most);
    nll += most + std::log(sum) - static_cast<double>(row[static_cast<size_t>(tokens[t + 1])]);
  }
  return nll;
}

void expect_nll_sums(LoadedModel& ours, const Assignment& assignment,
                     const std::vector<std::vector<int32_t>>& sequences,
                     const std::vector<double>& expected) {
  ASSERT_EQ(sequences.size(), expected.size());
  for (size_t s = 0; s < sequences.size(); ++s) {
    const double found = nll_sum(ours, {&ours.model, &assignment}, sequences[s]);
    EXPECT_LT(std::abs(found / expected[s] - 1), kNllTolerance) << "sequence " << s;
  }
}

TEST(Seed, CrossEntropiesOfATinyModelEqualTorchs) {
  const auto tiny = read_reference()["tiny"];
  const std::vector<std::vector<int32_t>> sequences = tiny["sequences"];
  LoadedModel ours(repository_path("tests/data/tiny-gpt2"));
  expect_nll_sums(ours, ours.as_stored, sequences, tiny["unquantized_nll"]);
  for (const auto& [family, expected] : tiny["int4_nll"].items()) {
    SCOPED_TRACE("family " + family);
    expect_nll_sums(ours, assign(ours.model, seed_request(family, 4, "")), sequences, expected);
  }
}

// One unit a language, its tokens from the reference.
TokenizedCorpus corpus_of(const nlohmann::json& tokens) {
  TokenizedCorpus corpus{"line 1", true, {}};
  for (const auto& [code, ids] : tokens.items()) {
    corpus.languages.push_back({code, {"0"}, {{ids, 1, 1}}});
  }
  return corpus;
}

// Every run of the reference, in its order.
AuditResult audit_runs(LoadedModel& ours, const nlohmann::json& reference) {
  std::deque<Assignment> assignments;
  std::vector<AuditRun> runs;
  for (const auto& run : reference["runs"]) {
    const std::string protect = unit_set_of(run["protected"]);
    assignments.push_back(assign(ours.model, seed_request(run["family"], run["bits"], protect)));
    runs.push_back({"run", "seed", protect, {&ours.model, &assignments.back()}});
  }
  AuditOptions options;
  options.draws = 10;
  return audit(ours.engine, ours.stored(), runs, corpus_of(reference["tokens"]), options, {});
}

double degradation_percent(const LanguageResult& language) {
  return 100 * (language.ppl - language.ppl_reference) / language.ppl_reference;
}

// How far a degradation in percent may be off, as a share of itself.
double degradation_tolerance(double degradation) {
  return kDegradationTolerance * (1 + degradation / 100) / degradation;
}

// `run` is what the study's arithmetic makes of `language`, and of English.
void expect_language(const LanguageResult& language, double unquantized,
                     const nlohmann::json& run) {
  SCOPED_TRACE(language.code);
  EXPECT_LT(std::abs(language.ppl_reference / unquantized - 1), kPerplexityTolerance);
  const double ppl = run["ppl"][language.code];
  EXPECT_LT(std::abs(language.ppl / ppl - 1), kPerplexityTolerance);
  const double degradation = run["degradation_percent"][language.code];
  EXPECT_LT(std::abs(degradation_percent(language) / degradation - 1),
            degradation_tolerance(degradation));
  ASSERT_TRUE(language.seed_disparity.estimate) << language.seed_disparity.status;
  const double disparity = run["disparity"][language.code];
  EXPECT_LT(
      std::abs(language.seed_disparity.estimate->value / disparity - 1),
      degradation_tolerance(degradation) + degradation_tolerance(run["degradation_percent"]["en"]));
}

TEST(Seed, PerplexitiesDegradationsAndDisparitiesOfTheShippedModelEqualTorchs) {
  const auto reference = read_reference();
  LoadedModel ours(repository_path("models/polyglot-12"));
  const AuditResult result = audit_runs(ours, reference);
  ASSERT_EQ(result.runs.size(), reference["runs"].size());
  for (size_t r = 0; r < result.runs.size(); ++r) {
    const auto& run = reference["runs"][r];
    SCOPED_TRACE("run " + std::to_string(r) + ", family " + run["family"].get<std::string>());
    ASSERT_EQ(result.runs[r].languages.size(), reference["tokens"].size());
    for (const LanguageResult& language : result.runs[r].languages) {
      expect_language(language, reference["unquantized"][language.code], run);
    }
  }
}

TEST(Seed, TokensAreTheFirstLinesOfOurTexts) {
  const auto tokens = read_reference()["tokens"];
  const Model model = read_model(repository_path("models/polyglot-12"));
  const Tokenizer tokenizer(model.vocabulary(), "polyglot-12");
  for (const auto& language : builtin_corpus({"en", "he", "zh", "de"}, 1).languages) {
    EXPECT_EQ(tokenizer.encode(language.units[0]),
              tokens[language.code].get<std::vector<int32_t>>());
  }
}

// Half to even, without the processor's rounding mode.
double rounded(double value) {
  const double below = std::floor(value);
  const double rest = value - below;
  if (rest != 0.5) return rest < 0.5 ? below : below + 1;
  return std::fmod(below, 2) == 0 ? below : below + 1;
}

TEST(Seed, FourBitsOfATensorAreOneScaleAndSixteenCodes) {
  const Model model = read_model(repository_path("models/polyglot-12"));
  const TensorView& tensor = model.tensors()[model.find_tensor(Role::kQkv, 5).value()];
  std::vector<float> values(tensor.count());
  decode(tensor, values);
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::abs(value));
  const float scale = largest / 7;
  std::vector<float> expected;
  size_t changed = 0;
  for (const float value : values) {
    const float steps = value / scale;
    const double code = std::clamp(rounded(static_cast<double>(steps)), -8.0, 7.0);
    expected.push_back(static_cast<float>(code) * scale);
    changed += expected.back() != value ? 1 : 0;
  }
  round_trip(parse_scheme("seed-int4"), values, tensor.rows, tensor.cols);
  EXPECT_EQ(values, expected);
  EXPECT_GT(changed, values.size() / 2);
}

}  // namespace
}  // namespace isogloss
