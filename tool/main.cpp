// The program `isogloss`: dispatch, the only catch, exit status.
#include <fmt/format.h>

#include <exception>
#include <new>

#include "isogloss/base/error.h"
#include "tool/commands.h"

namespace {

int report(std::string_view message) {
  fmt::print(stderr, "isogloss: {}\n", message);
  return static_cast<int>(isogloss::Outcome::kFailed);
}

}  // namespace

int main(int argc, char** argv) {
  using isogloss::Outcome;
  try {
    CLI::App app("isogloss: quantize a language model so that every language it speaks survives");
    app.set_version_flag("--version", "isogloss " ISOGLOSS_VERSION);
    app.require_subcommand(1);
    Outcome outcome = Outcome::kDone;
    isogloss::add_audit_command(app, outcome);
    try {
      app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      const int status = app.exit(error);
      return status == 0 ? 0 : static_cast<int>(Outcome::kUsage);
    }
    return static_cast<int>(outcome);
  } catch (const std::bad_alloc&) {
    return report("out of memory; a smaller --memory or fewer --langs may help");
  } catch (const std::exception& error) {
    return report(error.what());
  }
}
