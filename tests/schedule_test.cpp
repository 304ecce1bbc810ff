// Contract of isogloss/measure/schedule_impl.h.
#include "isogloss/measure/schedule_impl.h"

#include <gtest/gtest.h>

#include <set>

#include "isogloss/base/random.h"

namespace isogloss {
namespace {

using Configurations = std::vector<StageIds>;

Configurations random_configurations(uint64_t seed) {
  Random random(seed);
  const size_t count = 1 + random.below(40);
  const size_t stages = 1 + random.below(9);
  const size_t kinds = 1 + random.below(3);
  Configurations all(count, StageIds(stages));
  for (StageIds& ids : all) {
    for (size_t& id : ids) id = random.below(kinds);
  }
  return all;
}

// Every subset of so many layers, a stage each.
Configurations subsets(size_t layers) {
  Configurations all;
  for (size_t set = 0; set < size_t{1} << layers; ++set) {
    StageIds& ids = all.emplace_back();
    for (size_t layer = 0; layer < layers; ++layer) ids.push_back(set >> layer & 1);
  }
  return all;
}

std::set<StageIds> prefixes(const Configurations& configurations) {
  std::set<StageIds> found;
  for (const StageIds& ids : configurations) {
    for (size_t length = 1; length <= ids.size(); ++length) {
      found.insert({ids.data(), ids.data() + length});
    }
  }
  return found;
}

// Runs a schedule with states that are the ids they were computed with; the configurations in the
// order in which they finished.
std::vector<size_t> run(const Schedule& schedule, const Configurations& configurations) {
  std::vector<StageIds> slots(schedule.slots);
  std::vector<size_t> finished;
  std::set<StageIds> computed;
  for (const Step& step : schedule.steps) {
    const StageIds& ids = configurations.at(step.configuration);
    if (step.kind == Step::Kind::kFinish) {
      EXPECT_EQ(slots.at(step.source), ids);
      finished.push_back(step.configuration);
      continue;
    }
    StageIds state = step.stage == 0 ? StageIds() : slots.at(step.source);
    EXPECT_EQ(state, StageIds(ids.data(), ids.data() + step.stage));
    state.push_back(ids.at(step.stage));
    EXPECT_TRUE(computed.insert(state).second) << "an edge is computed twice";
    slots.at(step.target) = state;
  }
  EXPECT_EQ(computed, prefixes(configurations));
  return finished;
}

TEST(Schedule, ComputesEachEdgeAndFinishesEachConfigurationOnce) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Configurations configurations = random_configurations(seed);
    const Schedule schedule = make_schedule(configurations);
    const auto finished = run(schedule, configurations);
    EXPECT_EQ(finished.size(), configurations.size());
    EXPECT_EQ(std::set(finished.begin(), finished.end()).size(), configurations.size());
    EXPECT_EQ(finished.front(), 0U);
    EXPECT_EQ(schedule.computed(), prefixes(configurations).size());
    EXPECT_LE(schedule.slots, configurations[0].size());
  }
}

TEST(Schedule, SharesWhatSubsetsOfLayersHaveInCommon) {
  for (const size_t layers : {1U, 3U, 12U}) {
    const Configurations all = subsets(layers);
    const Schedule schedule = make_schedule(all);
    run(schedule, all);
    EXPECT_EQ(schedule.computed(), 2 * all.size() - 2);
    EXPECT_LE(schedule.slots, layers);
  }
}

TEST(Schedule, HoldsOneStateWhereNothingBranches) {
  const Configurations same(5, StageIds{3, 1, 2});
  const Schedule schedule = make_schedule(same);
  EXPECT_EQ(schedule.slots, 1U);
  EXPECT_EQ(schedule.computed(), 3U);
  EXPECT_EQ(run(schedule, same).size(), 5U);
}

TEST(Schedule, OfNothingIsEmpty) {
  EXPECT_TRUE(make_schedule({}).steps.empty());
}

}  // namespace
}  // namespace isogloss
