// The scale and the zero point of numbers that share them.
#include "isogloss/quantize/grid.h"

#include "isogloss/base/error.h"
#include "isogloss/base/vector_math.h"
#include "isogloss/quantize/clip_impl.h"
#include "isogloss/quantize/encode_impl.h"
#include "isogloss/base/parallel.h"

namespace isogloss {
namespace {

// What codes shall reach; low <= 0 <= high.
struct Range {
  float low = 0, high = 0;

  Range& operator+=(const Range& other) {
    low = std::min(low, other.low);
    high = std::max(high, other.high);
    return *this;
  }
};

Range range_of(std::span<const float> numbers) {
  return sum_of_chunks(numbers, [](std::span<const float> chunk) {
    if (chunk.empty()) return Range{};
    const auto [least, most] = vector_range(chunk);
    return Range{std::min(least, 0.0F), std::max(most, 0.0F)};
  });
}

// As Range, of codes as far below 0 as above.
Range symmetric(float bound) {
  return {-bound, bound};
}

IntegerGrid grid_over(const Scheme& scheme, const Range& range) {
  IntegerGrid grid;
  const int codes = 1 << scheme.bits;
  grid.top = static_cast<float>(codes - 1);
  if (scheme.asymmetric) {
    grid.scale = round_to(scheme.scale_type, (range.high - range.low) / grid.top);
    if (grid.scale == 0) return grid;
    grid.zero = std::clamp(std::nearbyint(-range.low / grid.scale), 0.0F, grid.top);
    return grid;
  }
  const auto half = static_cast<float>(codes / 2);
  const float scale = range.high / (half - 1);
  grid.scale = scheme.kind == SchemeKind::kSeed ? scale : round_to(scheme.scale_type, scale);
  grid.zero = half;
  return grid;
}

// Squared errors of numbers in a grid.
struct SquaredErrors {
  double total = 0;
  double cut = 0;  // of the distances to the range, widened by a step at each end

  SquaredErrors& operator+=(const SquaredErrors& other) {
    total += other.total;
    cut += other.cut;
    return *this;
  }
};

SquaredErrors errors_of(const IntegerGrid& grid, const Range& range,
                        std::span<const float> numbers) {
  const double low = static_cast<double>(range.low) - static_cast<double>(grid.scale);
  const double high = static_cast<double>(range.high) + static_cast<double>(grid.scale);
  return sum_of_chunks(numbers, [&](std::span<const float> chunk) {
    double total = 0;
    double cut = 0;
#pragma omp simd reduction(+ : total, cut)
    for (size_t i = 0; i < chunk.size(); ++i) {
      const float steps = std::nearbyint(chunk[i] / grid.scale) + grid.zero;
      const float code = std::min(std::max(steps, 0.0F), grid.top);
      const auto number = static_cast<double>(chunk[i]);
      const double error = number - static_cast<double>((code - grid.zero) * grid.scale);
      const double beyond = std::max(std::max(low - number, number - high), 0.0);
      total += error * error;
      cut += beyond * beyond;
    }
    return SquaredErrors{total, cut};
  });
}

// The least squared error among ranges that shrink by kMseClipStep; of equal ones the widest. As
// ranges shrink their cuts only grow, so that none after a cut above the least error is better.
IntegerGrid least_squares_grid(const Scheme& scheme, const Range& range,
                               std::span<const float> numbers) {
  IntegerGrid best = grid_over(scheme, range);
  if (best.scale == 0) return best;
  double least = errors_of(best, range, numbers).total;
  for (int i = 1; i <= kMseClipSteps; ++i) {
    const auto factor = static_cast<float>(std::exp2(-i * kMseClipStep));
    const Range shrunk{range.low * factor, range.high * factor};
    const IntegerGrid grid = grid_over(scheme, shrunk);
    if (grid.scale == 0) break;
    const SquaredErrors errors = errors_of(grid, shrunk, numbers);
    if (errors.total < least) {
      least = errors.total;
      best = grid;
    }
    if (errors.cut > least) break;
  }
  return best;
}

}  // namespace

IntegerGrid fit_grid(const Scheme& scheme, std::span<const float> numbers,
                     std::optional<double> kurtosis) {
  ISOGLOSS_ASSERT(!numbers.empty());
  ISOGLOSS_ASSERT(scheme.kind == SchemeKind::kSeed || scheme.kind == SchemeKind::kInteger);
  if (scheme.method == Method::kHqq) return fit_hqq(scheme, numbers);
  const Range found = range_of(numbers);
  const float largest = std::max(found.high, -found.low);
  const Range range = scheme.asymmetric ? found : symmetric(largest);
  const ClipRule& rule = rule_of(scheme.clip);
  if (rule.searched) return least_squares_grid(scheme, range, numbers);
  if (!rule.bound || largest == 0) return grid_over(scheme, range);
  ISOGLOSS_ASSERT(!scheme.asymmetric && (kurtosis.has_value() || !rule.calibrated));
  const double bound = rule.bound(scheme.bits, number_moments(numbers), kurtosis.value_or(0));
  return grid_over(scheme, symmetric(std::min(static_cast<float>(bound), largest)));
}

}  // namespace isogloss
