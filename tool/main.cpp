// The program `isogloss`: dispatch, the last catch, exit status.
#include <unistd.h>

#include <cstdlib>
#include <exception>

#include "tool/commands.h"
#include "tool/terminal.h"

namespace {

// Threads that wait for each other between operations should sleep rather than spin: beside other
// load spinning costs half the speed (measured 1.6 to 3.2 times), on an idle machine nothing. The
// OpenMP runtime reads this setting before main, so the program starts itself once more.
void sleep_while_waiting(char** argv) {
  constexpr const char* kPolicy = "OMP_WAIT_POLICY";
  if (std::getenv(kPolicy) || setenv(kPolicy, "passive", 1) != 0) return;
  execv("/proc/self/exe", argv);  // where that is impossible, go on as we are
}

}  // namespace

int main(int argc, char** argv) {
  sleep_while_waiting(argv);
  using isogloss::Outcome;
  try {
    CLI::App app("isogloss: quantize a language model so that every language it speaks survives");
    app.set_version_flag("--version", "isogloss " ISOGLOSS_VERSION);
    app.require_subcommand(1);
    Outcome outcome = Outcome::kDone;
    isogloss::add_audit_command(app, outcome);
    isogloss::add_convert_command(app, outcome);
    isogloss::add_inspect_command(app, outcome);
    isogloss::add_quantize_command(app, outcome);
    isogloss::add_sweep_command(app, outcome);
    isogloss::add_verify_command(app, outcome);
    try {
      app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      const int status = app.exit(error);
      return status == 0 ? 0 : static_cast<int>(Outcome::kUsage);
    }
    return static_cast<int>(outcome);
  } catch (const std::exception& error) {
    isogloss::report_failure(error);
    return static_cast<int>(Outcome::kFailed);
  }
}
