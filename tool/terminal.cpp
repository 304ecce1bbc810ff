#include "tool/terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <new>

#include "isogloss/base/error.h"
#include "isogloss/base/file.h"

namespace isogloss {
namespace {

constexpr std::string_view kEraseLine = "\r\x1b[K";

std::string duration(double seconds) {
  const auto whole = static_cast<long>(seconds + 0.5);
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

}  // namespace

bool output_has_color() {
  const char* no_color = std::getenv("NO_COLOR");
  return isatty(STDOUT_FILENO) == 1 && (!no_color || *no_color == '\0');
}

void report_failure(const std::exception& error, const std::string& where) {
  const bool memory = dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
  fmt::print(stderr, "isogloss: {}{}{}\n", where, where.empty() ? "" : ": ",
             memory ? "out of memory; a smaller --memory or fewer --langs may help" : error.what());
}

ProgressLine::ProgressLine(bool quiet) : shown_(!quiet && isatty(STDERR_FILENO) == 1) {}

ProgressLine::~ProgressLine() {
  if (shown_) fmt::print(stderr, "{}", kEraseLine);
}

void ProgressLine::update(std::string_view stage, double done) {
  constexpr auto kInterval = std::chrono::milliseconds(200);
  const auto now = Clock::now();
  if (!shown_ || now - last_ < kInterval) return;
  last_ = now;
  const double elapsed = std::chrono::duration<double>(now - start_).count();
  const double left = done > 0 ? elapsed * (1 - done) / done : 0;
  fmt::print(stderr, "{}{:3.0f} %  {} left  {}", kEraseLine, 100 * done, duration(left), stage);
  std::fflush(stderr);
}

void check_can_write(const std::string& path) {
  if (path.empty() || path == "-") return;
  const std::filesystem::path directory = std::filesystem::absolute(path).parent_path();
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error)) {
    fail(ErrorCode::kNotFound, "{}: cannot be written: {} is no directory", path,
         directory.string());
  }
  if (std::filesystem::is_directory(path, error)) {
    fail(ErrorCode::kIo, "{}: cannot be written: it is a directory", path);
  }
}

void check_outputs(const std::string& json, const std::string& csv) {
  check_can_write(json);
  check_can_write(csv);
  if (json == "-" && csv == "-") {
    fail(ErrorCode::kBadArgument, "--json - and --csv -: one of them can go to standard output");
  }
}

void write_result(const std::string& path, std::string_view content) {
  if (path != "-") {
    write_file(path, content);
    return;
  }
  const bool written = std::fwrite(content.data(), 1, content.size(), stdout) == content.size() &&
                       std::fflush(stdout) == 0;
  if (!written) fail(ErrorCode::kIo, "standard output: cannot write");
}

}  // namespace isogloss
