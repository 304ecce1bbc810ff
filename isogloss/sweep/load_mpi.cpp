// MPI is loaded by processes of a team only: loading it takes a third of the time that a start
// does.
#include <dlfcn.h>

#include <filesystem>

#include "isogloss/base/error.h"
#include "isogloss/sweep/team_impl.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;

// Beside the program where it was built, else where it was installed.
fs::path module_path() {
  std::error_code error;
  const fs::path beside = fs::read_symlink("/proc/self/exe", error).parent_path() / kMpiModule;
  return !error && fs::exists(beside, error) ? beside : fs::path(ISOGLOSS_MODULES) / kMpiModule;
}

MpiEntry* find_entry(const fs::path& path) {
  // RTLD_GLOBAL: MPI's own plug-ins look for its symbols. Never unloaded.
  void* module = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  void* entry = module ? ::dlsym(module, kMpiEntry) : nullptr;
  if (!entry) {
    fail(ErrorCode::kUnsupported,
         "started in a team, and cannot load what speaks MPI: {}; install openmpi-bin, and build "
         "or install isogloss as a whole",
         ::dlerror());
  }
  return reinterpret_cast<MpiEntry*>(entry);
}

}  // namespace

std::unique_ptr<Team> join_mpi_team(size_t size) {
  std::unique_ptr<Team> team(find_entry(module_path())());
  if (team->size() == 1) {
    fail(ErrorCode::kUnsupported,
         "started as one of {} processes, which MPI does not know of; likely cause: an mpirun of "
         "another MPI than the one isogloss was built with, or srun without --mpi=pmix",
         size);
  }
  return team;
}

}  // namespace isogloss
