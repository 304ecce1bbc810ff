// Contract of --mode patch (isogloss/sweep/sweep.h): states written over, frozen blocks, gains.
#include <gtest/gtest.h>

#include <cmath>

#include "isogloss/base/random.h"
#include "isogloss/sweep/gains_impl.h"
#include "isogloss/sweep/sets_impl.h"
#include "tests/loaded_model.h"

namespace isogloss {
namespace {

// Shares of a loss: rounding of what is scored apart.
constexpr double kShareTolerance = 1e-6;

struct TwoLayers : LoadedModel {
  TwoLayers()
      : LoadedModel(repository_path("tests/data/families/llama")),
        corpus(tokenize(builtin_corpus({"en", "de", "fr"}, 4),
                        Tokenizer(model.vocabulary(), "llama"), model.config().context_length)) {}

  PatchResult patched() {
    SweepRequest request;
    request.quantize.scheme = parse_scheme("rtn-int4-g32");
    request.mode = SweepMode::kPatch;
    SweepOptions options;
    options.draws = 200;
    SoloTeam team;
    return *sweep(engine, model, corpus, request, options, team, nullptr, {}).patch;
  }

  TokenizedCorpus corpus;
};

double value(const Effect& effect) {
  return effect.value.estimate->value;
}

TEST(Patch, WritesStatesOver) {
  TwoLayers ours;
  const PatchResult result = ours.patched();
  ASSERT_EQ(result.blocks.size(), 2U);
  for (size_t l = 0; l < 3; ++l) {
    // Neither embedding nor head is quantized: after the last block a state is everything.
    EXPECT_NEAR(value(result.blocks[1].restored[l]), 1, kShareTolerance);
    EXPECT_NEAR(value(result.blocks[1].damaged[l]), 1, kShareTolerance);
    EXPECT_GT(value(result.blocks[0].restored[l]), 0);
    EXPECT_LT(value(result.blocks[0].restored[l]), 1);
    EXPECT_NEAR(value(result.direct[1][l]), 1, kShareTolerance);
  }
}

// With two blocks, what passes the frozen later block is what does not pass through it.
TEST(Patch, OneLaterBlockMediatesWhatIsNotDirect) {
  TwoLayers ours;
  const PatchResult result = ours.patched();
  ASSERT_EQ(result.mediations.size(), 1U);
  EXPECT_EQ(result.mediations[0].block, 0U);
  EXPECT_EQ(result.mediations[0].through, 1U);
  for (size_t l = 0; l < 3; ++l) {
    EXPECT_NEAR(value(result.mediations[0].share[l]), 1 - value(result.direct[0][l]), 1e-12);
  }
}

// A state written over is the same as other weights before it, where the output's are apart.
TEST(Patch, AStateWrittenOverEqualsTheOtherModelsBlocks) {
  TwoLayers ours;
  AssignmentRequest request;
  request.scheme = parse_scheme("rtn-int4-g32");
  ConfigurationBuilder builder(ours.model, assign(ours.model, request));
  const SweepUnit first = make_unit(ours.model, builder.quantized(), "L0");
  const SweepUnit* unit = &first;
  Configuration patched = builder.everything();
  patched.name = "patched";
  patched.first_block = 1;
  patched.before = ours.stored();
  const std::vector<Configuration> configurations = {patched, builder.restore({&unit, 1}),
                                                     builder.everything()};
  SweepOptions options;
  SoloTeam team;
  const ScoreTable table =
      Measurer(ours.engine, ours.stored(), ours.corpus, options, team, nullptr, {})
          .measure("test", configurations, 1);
  EXPECT_EQ(table.configurations[0], table.configurations[1]);
  EXPECT_NE(table.configurations[0], table.configurations[2]);
}

double norm(std::span<const float> row) {
  double sum = 0;
  for (const float number : row) sum += static_cast<double>(number) * static_cast<double>(number);
  return std::sqrt(sum);
}

double relative(const HiddenStates& state, const HiddenStates& clean, size_t token) {
  std::vector<float> difference(clean.width());
  for (size_t i = 0; i < difference.size(); ++i) {
    difference[i] = state.row(token)[i] - clean.row(token)[i];
  }
  return norm(difference) / norm(clean.row(token));
}

// The second block's gain, one sequence at a time.
TEST(Patch, GainsAreRatiosOfRelativeErrors) {
  TwoLayers ours;
  AssignmentRequest request;
  request.scheme = parse_scheme("rtn-int4-g32");
  const Assignment assignment = assign(ours.model, request);
  const Variant quantized{&ours.model, &assignment};
  const auto blocks = [&](const Variant& variant, const Batch& batch, HiddenStates state,
                          size_t first, size_t last) {
    for (size_t half = 2 * first; half < 2 * last; ++half) {
      ours.engine.run_half(variant, half, batch, state);
    }
    return state;
  };
  std::vector<double> gains(3), own(3);
  for (size_t l = 0; l < 3; ++l) {
    size_t count = 0;
    for (const Sequence& sequence : ours.corpus.languages[l].sequences) {
      Batch batch;
      batch.append(sequence.tokens);
      const HiddenStates start = ours.engine.embed(ours.stored(), batch);
      const HiddenStates clean = blocks(ours.stored(), batch, start, 0, 1);
      const HiddenStates wrong = blocks(quantized, batch, start, 0, 1);
      const HiddenStates clean_after = blocks(ours.stored(), batch, clean, 1, 2);
      const HiddenStates passed = blocks(ours.stored(), batch, wrong, 1, 2);
      const HiddenStates of_block = blocks(quantized, batch, clean, 1, 2);
      for (size_t t = sequence.first_scored - 1; t + 1 < sequence.tokens.size(); ++t) {
        gains[l] += std::log(relative(passed, clean_after, t) / relative(wrong, clean, t));
        own[l] += std::log(relative(of_block, clean_after, t));
        ++count;
      }
    }
    gains[l] = std::exp(gains[l] / static_cast<double>(count));
    own[l] = std::exp(own[l] / static_cast<double>(count));
  }
  const PatchResult result = ours.patched();
  constexpr double kTolerance = 1e-4;  // relative: errors are small differences of F32 states
  for (size_t l = 0; l < 3; ++l) {
    EXPECT_NEAR(result.blocks[1].gain[l].estimate->value / gains[l], 1, kTolerance);
    EXPECT_NEAR(result.blocks[1].own_error[l].estimate->value / own[l], 1, kTolerance);
    // No error reaches the first block, for embeddings are not quantized.
    EXPECT_FALSE(result.blocks[0].gain[l].estimate.has_value());
    EXPECT_TRUE(result.blocks[0].gain[l].status.starts_with("UNDEFINED"));
  }
}

// Positions whose ln gain is a number of the language plus multiples of their covariates.
struct MadeUp {
  TokenizedCorpus corpus;
  std::vector<double> sums;
};

MadeUp made_up(const std::vector<double>& of_language, const std::vector<double>& shift,
               const std::array<double, kCovariates>& slopes) {
  constexpr size_t kUnitsEach = 30, kPositions = 20;
  Random random(5);
  MadeUp made;
  for (size_t l = 0; l < of_language.size(); ++l) {
    TokenizedLanguage& language = made.corpus.languages.emplace_back();
    for (size_t u = 0; u < kUnitsEach; ++u) {
      language.sequences.push_back({std::vector<int32_t>(kPositions + 1), 1, 1});
      std::vector<double> columns(gain_columns());
      for (size_t p = 0; p < kPositions; ++p) {
        std::array<double, kCovariates> x{};
        double y = of_language[l];
        for (size_t i = 0; i < kCovariates; ++i) {
          // The last covariate is the same everywhere, and determines nothing.
          x[i] =
              i + 1 == kCovariates ? 3 : random.uniform() + shift[l] * static_cast<double>(i + 1);
          y += slopes[i] * x[i];
        }
        add_gain_position(columns, y, x);
      }
      made.sums.insert(made.sums.end(), columns.begin(), columns.end());
    }
  }
  return made;
}

TEST(AnalyseGains, TakesTheCovariatesOutOfALanguagesEffect) {
  const std::vector<double> of_language = {0.1, -0.2, 0.4};
  const std::vector<double> shift = {0, 2, -1};
  const MadeUp made = made_up(of_language, shift, {0.5, -0.3, 0.2, 1.5, 7});
  SweepOptions options;
  options.draws = 200;
  std::vector<PatchedBlock> blocks(1);
  analyse_gains(made.corpus, made.sums, options, blocks);
  for (size_t l = 0; l < 3; ++l) {
    EXPECT_NEAR(value(blocks[0].adjusted_gain_effect[l]), of_language[l] - 0.1, 1e-9);
    EXPECT_GT(std::abs(value(blocks[0].gain_effect[l]) - (of_language[l] - 0.1)), 0.5);
  }
}

// An effect that is nothing but the covariates' vanishes.
TEST(AnalyseGains, LeavesNothingOfAConfoundedEffect) {
  const MadeUp made = made_up({0, 0}, {0, 1}, {0.5, 0.5, 0.5, 0.5, 0});
  SweepOptions options;
  options.draws = 200;
  std::vector<PatchedBlock> blocks(1);
  analyse_gains(made.corpus, made.sums, options, blocks);
  EXPECT_LT(blocks[0].gain_effect[0].q_value, kFalseDiscoveryRate);
  EXPECT_NEAR(value(blocks[0].adjusted_gain_effect[0]), 0, 1e-9);
}

}  // namespace
}  // namespace isogloss
