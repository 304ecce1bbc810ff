// A team of several processes by MPI. check_team.py starts it, with mpirun.
#include <gtest/gtest.h>

#include <iterator>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "isogloss/sweep/team.h"

namespace isogloss {
namespace {

// Around what mpi_team.cpp sends at a time.
constexpr size_t kPiece = size_t{1} << 20;
constexpr size_t kLengths[] = {0, 1, kPiece - 1, kPiece, kPiece + 1, 2 * kPiece, 3 * kPiece + 5};

// One for all tests: MPI begins and ends once in a process.
std::unique_ptr<Team> team;

class WithTeam : public testing::Environment {
 public:
  void SetUp() override { team = join_team(); }
  void TearDown() override { team.reset(); }
};

const testing::Environment* const kWithTeam = testing::AddGlobalTestEnvironment(new WithTeam);

std::vector<double> numbers_of(size_t length, double first) {
  std::vector<double> numbers(length);
  std::iota(numbers.begin(), numbers.end(), first);
  return numbers;
}

TEST(MpiTeam, HasSeveralRanksOnThisMachine) {
  EXPECT_GT(team->size(), 1U);
  EXPECT_LT(team->rank(), team->size());
  EXPECT_EQ(team->size_here(), team->size());
}

TEST(MpiTeam, BroadcastsAnyLength) {
  for (const size_t length : kLengths) {
    const auto expected = numbers_of(length, 0.5);
    std::vector<double> numbers = team->rank() == 0 ? expected : std::vector<double>(7, -1);
    team->broadcast(numbers);
    EXPECT_TRUE(numbers == expected) << length;
  }
}

// Every rank's messages come whole and in the order in which it sent them, though rank 0 begins to
// receive when all have been sent: a send that waited for it would never return.
TEST(MpiTeam, SendsAnyLengthWithoutWaitingForTheReceiver) {
  std::vector<double> done = {1};
  if (team->rank() != 0) {
    for (const size_t length : kLengths) {
      team->send(numbers_of(length + 1, static_cast<double>(team->rank())));
    }
    team->broadcast(done);
    team->broadcast(done);
    return;
  }
  std::map<double, size_t> received;  // of each rank
  std::optional<std::vector<double>> early;
  while (!early) early = team->receive(/*wait=*/false);
  team->broadcast(done);
  for (size_t left = (team->size() - 1) * std::size(kLengths); left > 0; --left) {
    const auto message = early ? std::exchange(early, std::nullopt) : team->receive(/*wait=*/true);
    ASSERT_TRUE(message.has_value());
    ASSERT_FALSE(message->empty());
    const double source = message->front();
    ASSERT_LT(received[source], std::size(kLengths));
    EXPECT_TRUE(*message == numbers_of(kLengths[received[source]] + 1, source));
    ++received[source];
  }
  EXPECT_EQ(received.size(), team->size() - 1);
  EXPECT_FALSE(team->receive(/*wait=*/false).has_value());
  team->broadcast(done);  // nobody sends for the next test before
}

// What was sent last is not lost where the sender has nothing more to do.
TEST(MpiTeam, DeliversWhatWasSentBeforeTheEnd) {
  if (team->rank() != 0) {
    team->send(numbers_of(2 * kPiece, 1));
    return;
  }
  for (size_t source = 1; source < team->size(); ++source) {
    EXPECT_TRUE(team->receive(/*wait=*/true) == numbers_of(2 * kPiece, 1));
  }
}

}  // namespace
}  // namespace isogloss
