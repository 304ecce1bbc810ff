// Every family: table, reader and forward pass agree with each other and with transformers.
#include <gtest/gtest.h>

#include <set>

#include "tests/families.h"
#include "tests/nmse.h"

namespace isogloss {
namespace {

// What isogloss promises of its logits.
constexpr double kLogitNmse = 1e-6;
constexpr double kBf16LogitNmse = 5e-4;

// Of hidden states in F32. Measured 1.1e-10 at most; a GELU of the other kind is beyond 1e-8.
constexpr double kHiddenNmse = 1e-9;

// All samples in one batch, or each alone.
enum class Packing { kTogether, kAlone };

class FamilyForward : public testing::TestWithParam<std::string> {};

void keep_stage(const Batch& batch, const HiddenStates& hidden, std::vector<FamilySample>& found) {
  for (size_t s = 0; s < found.size(); ++s) {
    auto& stage = found[s].hidden.emplace_back();
    for (const size_t position : found[s].positions) {
      const auto row = hidden.row(batch.starts[s] + position);
      stage.insert(stage.end(), row.begin(), row.end());
    }
  }
}

std::vector<FamilySample> compute(LoadedModel& ours, std::span<const FamilySample> samples) {
  Batch batch;
  std::vector<FamilySample> found;
  for (const FamilySample& sample : samples) {
    batch.append(sample.ids);
    found.push_back({sample.name, sample.ids, sample.positions, {}, {}});
  }
  HiddenStates hidden = ours.engine.embed(ours.stored(), batch);
  keep_stage(batch, hidden, found);
  for (size_t half = 0; half < Engine::halves(ours.model); ++half) {
    ours.engine.run_half(ours.stored(), half, batch, hidden);
    if (half % 2 == 1) keep_stage(batch, hidden, found);
  }
  for (size_t s = 0; s < found.size(); ++s) {
    HiddenStates rows(found[s].positions.size(), hidden.width());
    for (size_t i = 0; i < rows.tokens(); ++i) {
      std::ranges::copy(hidden.row(batch.starts[s] + found[s].positions[i]), rows.row(i).begin());
    }
    HiddenStates logits = ours.head(ours.stored(), std::move(rows));
    found[s].logits.assign(logits.data(), logits.data() + logits.tokens() * logits.width());
  }
  return found;
}

void expect_equal(const FamilySample& found, const FamilySample& expected) {
  SCOPED_TRACE(expected.name);
  ASSERT_EQ(found.hidden.size(), expected.hidden.size());
  for (size_t stage = 0; stage < expected.hidden.size(); ++stage) {
    EXPECT_LT(nmse(found.hidden[stage], expected.hidden[stage]), kHiddenNmse)
        << (stage == 0 ? "embeddings" : "block " + std::to_string(stage - 1));
  }
  EXPECT_LT(nmse(found.logits, expected.logits), kLogitNmse);
}

TEST_P(FamilyForward, EqualsTransformersWhenAllSequencesArePacked) {
  const auto expected = read_family_reference(GetParam());
  LoadedModel ours(family_path(GetParam()), /*threads=*/2);
  const auto found = compute(ours, expected);
  ASSERT_FALSE(found.empty());
  for (size_t s = 0; s < found.size(); ++s) expect_equal(found[s], expected[s]);
}

TEST_P(FamilyForward, EqualsTransformersWhenEachSequenceIsAlone) {
  LoadedModel ours(family_path(GetParam()));
  for (const FamilySample& sample : read_family_reference(GetParam())) {
    expect_equal(compute(ours, {&sample, 1}).front(), sample);
  }
}

TEST_P(FamilyForward, IsNearTransformersInBf16) {
  const auto expected = read_family_reference(GetParam());
  LoadedModel ours(family_path(GetParam()), /*threads=*/1, ComputeType::kBf16);
  const auto found = compute(ours, expected);
  for (size_t s = 0; s < found.size(); ++s) {
    EXPECT_LT(nmse(found[s].logits, expected[s].logits), kBf16LogitNmse) << expected[s].name;
  }
}

INSTANTIATE_TEST_SUITE_P(, FamilyForward, testing::ValuesIn(family_names()), test_name);

}  // namespace
}  // namespace isogloss
