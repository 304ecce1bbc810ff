// How isogloss fails. Three kinds of failure, three means: bad input throws Error, an expected
// absence is a return value (find_x), and a fault of our own stops at ISOGLOSS_ASSERT, which no
// input can reach.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace isogloss {

enum class ErrorCode {
  kNotFound,     // a file, language, tensor or name that is not there
  kCorrupt,      // bytes that contradict their own format
  kUnsupported,  // well-formed, and beyond what this program knows
  kMismatch,     // two inputs that do not belong together
  kBadArgument,  // a value the caller chose and cannot be used
  kIo,           // the operating system refused
  kNotFinite,    // NaN or infinity where numbers must be finite
};

// A message reads: where, which object, what was found, what was expected, the likely cause.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, std::string message)
      : std::runtime_error(std::move(message)), code_(code) {}

  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

// Throws Error with a formatted message: fail(ErrorCode::kCorrupt, "{}: ...", path).
template <typename... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

// Stops the process after a fault of our own, naming the broken condition on standard error.
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);

}  // namespace isogloss

// Always on: a broken invariant must not become a number in a report.
#define ISOGLOSS_ASSERT(condition)    \
  ((condition) ? static_cast<void>(0) \
               : ::isogloss::assertion_failed(#condition, __FILE__, __LINE__))
