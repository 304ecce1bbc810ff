// What the program shows while it works, and where results go.
#pragma once

#include <chrono>
#include <exception>
#include <string>
#include <string_view>

namespace isogloss {

// True when results may be coloured: standard output is a terminal and NO_COLOR is not set.
bool output_has_color();

// Says on standard error what went wrong; `where` goes before it.
void report_failure(const std::exception& error, const std::string& where = "");

// One line on standard error that is overwritten: stage, percent, time left. Silent when standard
// error is no terminal.
class ProgressLine {
 public:
  explicit ProgressLine(bool quiet);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void update(std::string_view stage, double done);

 private:
  using Clock = std::chrono::steady_clock;
  bool shown_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
};

// Throws Error where write_result could not write, as far as that can be known; "" is no path.
void check_can_write(const std::string& path);

// The same for --json and --csv, of which one can go to standard output.
void check_outputs(const std::string& json, const std::string& csv);

// Writes to standard output where `path` is "-", else to the file. Throws Error(kIo).
void write_result(const std::string& path, std::string_view content);

}  // namespace isogloss
