#include "isogloss/sweep/team_impl.h"

#include <charconv>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "isogloss/base/error.h"

namespace isogloss {
namespace {

using Json = nlohmann::json;

std::optional<size_t> number_in(const char* variable) {
  const char* found = std::getenv(variable);
  if (!found) return std::nullopt;
  const std::string_view text = found;
  size_t number = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
  if (read.ec != std::errc() || read.ptr != text.data() + text.size()) return std::nullopt;
  return number;
}

// How many processes were started with this one, by what starters leave in the environment: a plain
// start must not pay for loading MPI, nor for asking it.
size_t started_together() {
  // Open MPI's mpirun; MPICH's, Intel's and srun --mpi=pmi2.
  for (const char* variable : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}) {
    if (const auto size = number_in(variable)) return *size;
  }
  if (!std::getenv("PMIX_RANK")) return 1;
  // PMIx itself tells its number to MPI alone; srun --mpi=pmix writes it down as well.
  return number_in("SLURM_STEP_NUM_TASKS").value_or(2);
}

// Text goes around as numbers, a byte each.
std::string text_of_rank_0(Team& team, const std::string& own) {
  std::vector<double> numbers;
  for (const char byte : own) numbers.push_back(static_cast<unsigned char>(byte));
  team.broadcast(numbers);
  std::string text;
  for (const double number : numbers) {
    text += static_cast<char>(static_cast<unsigned char>(number));
  }
  return text;
}

}  // namespace

std::unique_ptr<Team> join_team() {
  const size_t size = started_together();
  if (size <= 1) return std::make_unique<SoloTeam>();
  return join_mpi_team(size);
}

void check_same_run(Team& team, const Json& run) {
  if (team.size() == 1) return;
  const std::string own = run.dump(-1, ' ', false, Json::error_handler_t::replace);
  const std::string first = text_of_rank_0(team, own);
  if (own == first) return;
  Json here = Json::parse(own).flatten();
  const Json there = Json::parse(first).flatten();
  Json names = here;
  names.update(there);
  std::string differences;
  for (const auto& [name, unused] : names.items()) {
    const Json mine = here.value(name, Json());
    const Json other = there.value(name, Json());
    if (mine == other) continue;
    differences += fmt::format("{}{} is {} here, {} at rank 0", differences.empty() ? "" : "; ",
                               name.substr(1), mine.dump(), other.dump());
  }
  fail(ErrorCode::kMismatch,
       "not what rank 0 measures: {}; every machine needs the same files and the same program",
       differences);
}

}  // namespace isogloss
