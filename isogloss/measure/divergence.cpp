// Rows of logits to token scores, a slice of the vocabulary at a time, so that no row is ever there
// as a whole. Vectorised over the slice, sums in double.
#include <algorithm>
#include <array>
#include <cmath>

#include "isogloss/base/error.h"
#include "isogloss/base/vector_math.h"
#include "isogloss/measure/measure_impl.h"

namespace isogloss {
namespace {

// The first place of `value`; 0 when it is nowhere (a NaN).
size_t place_of(std::span<const float> values, float value) {
  const auto found = std::find(values.begin(), values.end(), value);
  return found == values.end() ? 0 : static_cast<size_t>(found - values.begin());
}

// What sums of exponentials less `from` are multiplied by to be less `to`.
double rescaling(float from, float to) {
  return from == to ? 1 : std::exp(static_cast<double>(from) - static_cast<double>(to));
}

// Replaces each logit by e^(logit - most); their sum. Not inlined, so that equal rows give equal
// sums.
[[gnu::noinline]] double exponentiate(std::span<float> logits, float most) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = vector_exp(logits[i] - most);
    sum += static_cast<double>(logits[i]);
  }
  return sum;
}

[[gnu::noinline]] double dot_product(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < a.size(); ++i) {
    sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  }
  return sum;
}

// The largest logit so far and its place, and the sum of exponentials less it.
void find_most(LogitSums& sums, std::span<const float> logits, size_t first) {
  const float most = vector_max(logits);
  const bool is_first = first == 0;
  if (!is_first && !(most > sums.most)) return;
  sums.argmax = first + place_of(logits, most);
  sums.sum = is_first ? 0 : sums.sum * rescaling(sums.most, most);
  sums.most = most;
}

void find_target(LogitSums& sums, std::span<const float> logits, size_t first, size_t target) {
  if (target >= first && target - first < logits.size()) sums.target = logits[target - first];
}

double log_sum(const LogitSums& sums) {
  return static_cast<double>(sums.most) + std::log(sums.sum);
}

}  // namespace

void add_reference_logits(ReferenceSums& reference, std::span<const float> logits, size_t first,
                          size_t target, std::span<float> weights) {
  ISOGLOSS_ASSERT(weights.size() == logits.size() && !logits.empty());
  find_target(reference, logits, first, target);
  const float most_before = reference.most;
  find_most(reference, logits, first);
  reference.rescale = first == 0 ? 0 : rescaling(most_before, reference.most);
  std::ranges::copy(logits, weights.begin());
  reference.sum += exponentiate(weights, reference.most);
  reference.cross = reference.cross * reference.rescale + dot_product(weights, logits);
}

void add_logits(LogitSums& sums, const ReferenceSums& reference, std::span<const float> weights,
                std::span<float> logits, size_t first, size_t target) {
  ISOGLOSS_ASSERT(weights.size() == logits.size() && !logits.empty());
  find_target(sums, logits, first, target);
  sums.cross = sums.cross * reference.rescale + dot_product(weights, logits);
  find_most(sums, logits, first);
  sums.sum += exponentiate(logits, sums.most);
}

TokenScore compare(const ReferenceSums& reference, const LogitSums& sums) {
  const double reference_log_sum = log_sum(reference);
  const double run_log_sum = log_sum(sums);
  const double kl =
      (reference.cross - sums.cross) / reference.sum - reference_log_sum + run_log_sum;
  return {reference_log_sum - static_cast<double>(reference.target),
          run_log_sum - static_cast<double>(sums.target),
          // Rounding can leave a KL of nothing a little below 0; what is not finite passes through.
          static_cast<float>(kl < 0 && std::isfinite(kl) ? 0 : kl), reference.argmax != sums.argmax,
          static_cast<float>(reference_log_sum - reference.cross / reference.sum)};
}

TokenScore compare_logits(std::span<const float> reference, std::span<const float> logits,
                          size_t target) {
  ISOGLOSS_ASSERT(reference.size() == logits.size() && target < logits.size());
  constexpr size_t kSlice = 2048;  // numbers of two copies that the first cache holds
  std::array<float, kSlice> weights;
  std::array<float, kSlice> copy;
  ReferenceSums reference_sums;
  LogitSums sums;
  for (size_t first = 0; first < logits.size(); first += kSlice) {
    const size_t count = std::min(kSlice, logits.size() - first);
    const std::span slice_weights = std::span(weights).first(count);
    const std::span slice = std::span(copy).first(count);
    std::ranges::copy(logits.subspan(first, count), slice.begin());
    add_reference_logits(reference_sums, reference.subspan(first, count), first, target,
                         slice_weights);
    add_logits(sums, reference_sums, slice_weights, slice, first, target);
  }
  return compare(reference_sums, sums);
}

}  // namespace isogloss
