#include "tool/team_run.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

#include "tool/terminal.h"

namespace isogloss {
namespace {

// Not touched once a handler may read them.
std::string farewell;
pid_t spokesman = 0;  // who says it, if it is still there; 0: this process

// Only what a signal handler may do.
void say_farewell(int signal) {
  const int error = errno;
  if (spokesman == 0 || (::kill(spokesman, 0) != 0 && errno == ESRCH)) {
    const ssize_t written = ::write(STDERR_FILENO, farewell.data(), farewell.size());
    static_cast<void>(written);
  }
  errno = error;
  ::raise(signal);  // takes effect when this returns: SA_RESETHAND
}

std::string describe_rank(const Team& team) {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host = {"an unnamed machine"};
  return fmt::format("rank {} of {} on {}", team.rank(), team.size(), host.data());
}

}  // namespace

Outcome run_in_team(const std::function<Outcome(Team&)>& work) {
  const std::unique_ptr<Team> team = join_team();
  if (team->size() == 1) return work(*team);
  try {
    return work(*team);
  } catch (const std::exception& error) {
    // What is wrong for all, a file that is nowhere, is rank 0's to say: it ends the others
    // meanwhile.
    constexpr auto kHeadStart = std::chrono::seconds(3);
    if (team->rank() != 0) std::this_thread::sleep_for(kHeadStart);
    report_failure(error, describe_rank(*team));
    team->end_all(static_cast<int>(Outcome::kFailed));
    std::_Exit(static_cast<int>(Outcome::kFailed));
  }
}

void say_how_to_resume(Team& team, const std::string& directory) {
  std::vector<double> first = {static_cast<double>(::getpid())};
  team.broadcast(first);
  if (team.rank() > 1) return;
  // Elsewhere its number means nothing, and saying it twice is better than not at all.
  const bool is_here = team.size_here() == team.size();
  if (team.rank() == 1 && is_here) spokesman = static_cast<pid_t>(first.front());
  farewell = fmt::format(
      "{}isogloss: stopped; what was measured is in {}, and the same command with --resume goes on "
      "from there\n",
      ::isatty(STDERR_FILENO) == 1 ? "\n" : "", directory);
  struct sigaction action {};
  action.sa_handler = say_farewell;
  action.sa_flags = SA_RESETHAND;
  for (const int signal : {SIGTERM, SIGINT}) {
    struct sigaction before {};
    ::sigaction(signal, nullptr, &before);
    if (before.sa_handler != SIG_IGN) ::sigaction(signal, &action, nullptr);
  }
}

}  // namespace isogloss
