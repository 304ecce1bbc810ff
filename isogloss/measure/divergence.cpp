// Two rows of logits to a token score: vectorised over the vocabulary, sums in double.
#include <algorithm>
#include <cmath>

#include "isogloss/base/error.h"
#include "isogloss/base/vector_math.h"
#include "isogloss/measure/measure_impl.h"

namespace isogloss {
namespace {

float maximum(std::span<const float> values) {
  float most = values[0];
#pragma omp simd reduction(max : most)
  for (size_t i = 0; i < values.size(); ++i) most = std::max(most, values[i]);
  return most;
}

// The first place of `value`; 0 when it is nowhere (a NaN).
size_t place_of(std::span<const float> values, float value) {
  const auto found = std::find(values.begin(), values.end(), value);
  return found == values.end() ? 0 : static_cast<size_t>(found - values.begin());
}

}  // namespace

LogitRow summarize_logits(std::span<const float> logits) {
  const float most = maximum(logits);
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < logits.size(); ++i) {
    sum += static_cast<double>(vector_exp(logits[i] - most));
  }
  return {logits, most, place_of(logits, most), static_cast<double>(most) + std::log(sum)};
}

// With p and q the two distributions and a, b their logits:
//   KL(p || q) = sum p (log p - log q) = sum p (a - b) - log_sum(a) + log_sum(b).
TokenScore compare_logits(const LogitRow& reference, std::span<const float> logits,
                          int32_t target) {
  const std::span<const float> base = reference.logits;
  const float base_most = reference.most;
  const float most = maximum(logits);
  double sum = 0;
  double base_sum = 0;
  double difference = 0;
#pragma omp simd reduction(+ : sum, base_sum, difference)
  for (size_t i = 0; i < logits.size(); ++i) {
    const double p = static_cast<double>(vector_exp(base[i] - base_most));
    sum += static_cast<double>(vector_exp(logits[i] - most));
    base_sum += p;
    difference += p * static_cast<double>(base[i] - logits[i]);
  }
  const double log_sum = static_cast<double>(most) + std::log(sum);
  const double kl = difference / base_sum - reference.log_sum + log_sum;
  const auto place = static_cast<size_t>(target);
  ISOGLOSS_ASSERT(target >= 0 && place < logits.size());
  return {reference.log_sum - static_cast<double>(base[place]),
          log_sum - static_cast<double>(logits[place]),
          // Rounding can leave a KL of nothing a little below 0; what is not finite passes through.
          static_cast<float>(kl < 0 && std::isfinite(kl) ? 0 : kl),
          place_of(logits, most) != reference.argmax};
}

}  // namespace isogloss
