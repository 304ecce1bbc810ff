#include "isogloss/sweep/team.h"

#include <cstdlib>

#include "isogloss/base/error.h"

namespace isogloss {

std::unique_ptr<Team> join_team() {
  return std::make_unique<SoloTeam>();
}

}  // namespace isogloss
