// Private to sweep/: teams by MPI.
#pragma once

#include "isogloss/sweep/team.h"

namespace isogloss {

// How the module that is linked with MPI is called, and what it has.
constexpr const char* kMpiModule = "isogloss_mpi.so";
constexpr const char* kMpiEntry = "isogloss_join_mpi_team";
using MpiEntry = Team*();

// `size` is what the environment says of the team, for messages. Throws Error(kUnsupported) where
// this program was built without MPI, or cannot load it.
std::unique_ptr<Team> join_mpi_team(size_t size);

}  // namespace isogloss
