// How the processes of a team begin and end together, and what they say when they cannot go on.
#pragma once

#include <functional>
#include <string>

#include "isogloss/sweep/team.h"
#include "tool/commands.h"

namespace isogloss {

// Runs `work` in the team that this process was started in. Where it throws in a process of
// several, that one says so and ends them all.
Outcome run_in_team(const std::function<Outcome(Team&)>& work);

// From now on, rank 0 says on standard error that --resume goes on with what `directory` has when
// it is told to stop (SIGTERM, SIGINT): by the user, by a batch system whose time is over, or by
// mpirun because another process of the team has died; rank 1 says it when it is rank 0 that has
// died. Then they end as they would have. Every rank calls it.
void say_how_to_resume(Team& team, const std::string& directory);

}  // namespace isogloss
