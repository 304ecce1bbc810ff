// Processes that share the measuring of one sweep. Rank 0 keeps the results.
#pragma once

#include <cstddef>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <vector>

namespace isogloss {

class Team {
 public:
  virtual ~Team() = default;
  virtual size_t rank() const = 0;
  virtual size_t size() const = 0;

  // How many of them share this machine and its memory, this one included.
  virtual size_t size_here() const { return size(); }

  // Every rank calls it, and has what rank 0 gave when it returns.
  virtual void broadcast(std::vector<double>& numbers) = 0;

  // From another rank to rank 0, which receives what is there, or waits for it. Neither a send nor
  // a receive that does not wait is held up by what the other side is computing.
  virtual void send(std::span<const double> numbers) = 0;
  virtual std::optional<std::vector<double>> receive(bool wait) = 0;

  // Ends every process of the team with this exit status, this one too: the others would wait for
  // ever for one that has failed. Returns where the process is alone.
  virtual void end_all(int /*status*/) {}
};

// One process alone.
class SoloTeam : public Team {
 public:
  size_t rank() const override { return 0; }
  size_t size() const override { return 1; }
  void broadcast(std::vector<double>&) override {}
  void send(std::span<const double>) override {}
  std::optional<std::vector<double>> receive(bool) override { return std::nullopt; }
};

// The team that this process was started in, by mpirun or the like; alone where there is none.
// Called once, while the process has one thread. A team's destructor waits until every rank has
// come to it, unless an exception is in flight. Throws Error(kUnsupported) where there is a team
// and this program was built without MPI, or with another MPI than the team was started by.
std::unique_ptr<Team> join_team();

// Every rank calls it with a description of what it is about to measure. Throws Error(kMismatch),
// which says what differs, on each rank whose description is not that of rank 0.
void check_same_run(Team& team, const nlohmann::json& run);

}  // namespace isogloss
