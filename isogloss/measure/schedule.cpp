#include "isogloss/measure/schedule_impl.h"

#include <algorithm>
#include <numeric>

#include "isogloss/base/error.h"

namespace isogloss {
namespace {

class TrieWalk {
 public:
  explicit TrieWalk(std::span<const StageIds> configurations) : all_(configurations) {}

  Schedule run() {
    std::vector<size_t> members(all_.size());
    std::iota(members.begin(), members.end(), size_t{0});
    if (!members.empty()) visit(members, /*stage=*/0, /*slot=*/0);
    return std::move(schedule_);
  }

 private:
  // `members` agree on all stages before `stage`; the state after those lies in `slot`, and slots
  // after it are free.
  void visit(const std::vector<size_t>& members, size_t stage, size_t slot) {
    schedule_.slots = std::max(schedule_.slots, slot + 1);
    if (stage == all_[members.front()].size()) {
      for (const size_t member : members) {
        schedule_.steps.push_back({Step::Kind::kFinish, member, stage, slot, slot});
      }
      return;
    }
    const auto branches = branches_of(members, stage);
    for (size_t b = 0; b < branches.size(); ++b) {
      // The last branch may overwrite the state, as may any at the start, where there is none.
      const bool last = b + 1 == branches.size();
      const size_t target = last || stage == 0 ? slot : slot + 1;
      schedule_.steps.push_back({Step::Kind::kCompute, branches[b].front(), stage, slot, target});
      visit(branches[b], stage + 1, target);
    }
  }

  // By id, in order of the first member that has it.
  std::vector<std::vector<size_t>> branches_of(const std::vector<size_t>& members,
                                               size_t stage) const {
    std::vector<std::vector<size_t>> branches;
    for (const size_t member : members) {
      const auto found = std::ranges::find_if(branches, [&](const auto& branch) {
        return all_[branch.front()][stage] == all_[member][stage];
      });
      if (found == branches.end()) {
        branches.push_back({member});
      } else {
        found->push_back(member);
      }
    }
    return branches;
  }

  std::span<const StageIds> all_;
  Schedule schedule_;
};

}  // namespace

size_t Schedule::computed() const {
  return static_cast<size_t>(std::ranges::count(steps, Step::Kind::kCompute, &Step::kind));
}

Schedule make_schedule(std::span<const StageIds> configurations) {
  for (const StageIds& ids : configurations) {
    ISOGLOSS_ASSERT(!ids.empty() && ids.size() == configurations[0].size());
  }
  return TrieWalk(configurations).run();
}

}  // namespace isogloss
