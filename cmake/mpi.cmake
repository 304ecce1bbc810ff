# MPI, where it is installed. What is linked with it is a module of its own, which only a process
# that was started in a team loads.
set(ISOGLOSS_HAS_MPI OFF)
if(ISOGLOSS_MPI)
  find_package(MPI QUIET COMPONENTS C)
  if(MPI_C_FOUND)
    set(ISOGLOSS_HAS_MPI ON)
  endif()
endif()
message(STATUS "Teams of processes by MPI: ${ISOGLOSS_HAS_MPI}")
