// In place of load_mpi.cpp where there is no MPI.
#include "isogloss/base/error.h"
#include "isogloss/sweep/team_impl.h"

namespace isogloss {

std::unique_ptr<Team> join_mpi_team(size_t size) {
  fail(ErrorCode::kUnsupported,
       "started as one of {} processes, but built without MPI; install libopenmpi-dev and "
       "openmpi-bin and build isogloss again, or start it alone",
       size);
}

}  // namespace isogloss
