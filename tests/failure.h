// How a test looks at an Error.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "isogloss/base/error.h"

namespace isogloss {

struct Failure {
  std::optional<ErrorCode> code;  // nothing: did not throw Error
  std::string message;
};

inline Failure failure_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {std::nullopt, "(no error)"};
}

inline testing::AssertionResult says(const std::string& message,
                                     const std::vector<std::string>& parts) {
  for (const std::string& part : parts) {
    if (message.find(part) != std::string::npos) continue;
    return testing::AssertionFailure() << "'" << part << "' is not in: " << message;
  }
  return testing::AssertionSuccess() << "said: " << message;
}

}  // namespace isogloss
