// The order in which configurations are computed, so that what several have in common is computed
// once.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace isogloss {

// For one configuration, what each stage computes with: equal ids mean equal weights. Stages follow
// each other; the state after a stage depends on it and those before.
using StageIds = std::vector<size_t>;

// Part of a schedule. States lie in slots.
struct Step {
  enum class Kind {
    kCompute,  // `stage` with the weights of `configuration`, from slot `source` into slot
               // `target`; stage 0 has no source
    kFinish,   // all stages of `configuration` are done; its state lies in slot `source`
  };
  Kind kind = Kind::kCompute;
  size_t configuration = 0;
  size_t stage = 0;
  size_t source = 0, target = 0;

  bool operator==(const Step&) const = default;
};

struct Schedule {
  std::vector<Step> steps;
  size_t slots = 0;  // states held at once

  size_t computed() const;  // stages, all together
};

// Configurations that agree on their first stages form a trie, which is walked depth first:
// every edge is computed once, every configuration finished once, configuration 0 before all
// others. A state is kept where the trie branches, so that there are at most as many slots as
// stages. All configurations have the same number of stages, at least one.
Schedule make_schedule(std::span<const StageIds> configurations);

}  // namespace isogloss
