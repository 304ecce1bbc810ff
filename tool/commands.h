// The program's commands. Each adds itself to the command line and runs when it is chosen.
#pragma once

#include <CLI/CLI.hpp>

namespace isogloss {

// What a finished command means for the exit status.
enum class Outcome : int {
  kDone = 0,
  kFailed = 1,     // an Error, reported
  kUsage = 2,      // the command line was wrong
  kThreshold = 3,  // done, and a limit that the user set was missed (--fail-if)
};

// Each adds `isogloss NAME`; `outcome` is set when it ran.
void add_audit_command(CLI::App& app, Outcome& outcome);
void add_convert_command(CLI::App& app, Outcome& outcome);
void add_inspect_command(CLI::App& app, Outcome& outcome);
void add_quantize_command(CLI::App& app, Outcome& outcome);
void add_sweep_command(CLI::App& app, Outcome& outcome);
void add_verify_command(CLI::App& app, Outcome& outcome);

}  // namespace isogloss
