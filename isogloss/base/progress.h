// How long work reports how far it is.
#pragma once

#include <functional>
#include <string_view>

namespace isogloss {

// Called now and then from the thread that does the work: `stage` names what runs ("reference",
// "q4_k"), `done` is the share of the whole work in [0, 1]. May throw to stop the work.
using Progress = std::function<void(std::string_view stage, double done)>;

}  // namespace isogloss
