// Work on many numbers, shared by all threads.
#pragma once

#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>
#include <cstddef>
#include <exception>
#include <span>
#include <vector>

namespace isogloss {

// 128 KiB of F32: several passes over them stay in a core's cache.
constexpr size_t kNumbersAtOnce = size_t{1} << 15;

// Whether this is one of several threads that share work.
inline bool shares_work() {
#ifdef _OPENMP
  return omp_in_parallel() != 0;
#else
  return false;
#endif
}

// Calls body(first, count) for [0, total) cut into ranges of at most `at_once`, on all threads
// where it is not called by one of several already. An exception of the body comes out; of several,
// that of the lowest range.
template <typename Body>
void for_ranges(size_t total, size_t at_once, const Body& body) {
  const size_t ranges = (total + at_once - 1) / at_once;
  if (ranges == 0) return;
  // Entering a parallel region, even of one thread, takes longer than a group's codes, and a lock.
  if (ranges == 1 || shares_work()) {
    for (size_t i = 0; i < total; i += at_once) body(i, std::min(at_once, total - i));
    return;
  }
  size_t failed = ranges;
  std::exception_ptr error;  // must not leave a parallel region on its own
#pragma omp parallel for schedule(dynamic)
  for (size_t i = 0; i < ranges; ++i) {
    try {
      body(i * at_once, std::min(at_once, total - i * at_once));
    } catch (...) {
#pragma omp critical(isogloss_for_ranges)
      if (i < failed) {
        failed = i;
        error = std::current_exception();
      }
    }
  }
  if (error) std::rethrow_exception(error);
}

// part(chunk) of chunks of the numbers, added up in their order, so that the sum does not depend on
// the threads. Sum is made by part, and has +=.
template <typename Part>
auto sum_of_chunks(std::span<const float> numbers, const Part& part) {
  using Sum = decltype(part(numbers));
  if (numbers.size() <= kNumbersAtOnce) return part(numbers);
  std::vector<Sum> sums((numbers.size() + kNumbersAtOnce - 1) / kNumbersAtOnce);
  for_ranges(numbers.size(), kNumbersAtOnce, [&](size_t first, size_t count) {
    sums[first / kNumbersAtOnce] = part(numbers.subspan(first, count));
  });
  Sum total = sums.front();
  for (size_t i = 1; i < sums.size(); ++i) total += sums[i];
  return total;
}

}  // namespace isogloss
