// Processes that share the measuring of one sweep. Rank 0 keeps the results.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace isogloss {

class Team {
 public:
  virtual ~Team() = default;
  virtual size_t rank() const = 0;
  virtual size_t size() const = 0;

  // Every rank calls it, and has what rank 0 gave when it returns.
  virtual void broadcast(std::vector<double>& numbers) = 0;

  // From another rank to rank 0, which receives what is there, or waits for it.
  virtual void send(std::span<const double> numbers) = 0;
  virtual std::optional<std::vector<double>> receive(bool wait) = 0;
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
// Throws Error(kUnsupported) where there is one and this program was built without MPI.
std::unique_ptr<Team> join_team();

}  // namespace isogloss
