// The end of a process that found a fault of its own.
#include "isogloss/base/error.h"

#include <cstdio>
#include <cstdlib>

namespace isogloss {

void assertion_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "isogloss: internal error: %s is false (%s:%d)\n", condition, file, line);
  std::abort();
}

}  // namespace isogloss
