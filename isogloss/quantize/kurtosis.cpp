// NumberMoments, and kurtoses of mixtures.
#include "isogloss/quantize/kurtosis.h"

#include <cmath>

#include "isogloss/base/error.h"
#include "isogloss/base/parallel.h"

namespace isogloss {
namespace {

// Sums of powers of deviations from a mean.
struct Deviations {
  double first = 0, second = 0, fourth = 0;

  Deviations& operator+=(const Deviations& other) {
    first += other.first;
    second += other.second;
    fourth += other.fourth;
    return *this;
  }
};

double sum_of(std::span<const float> numbers) {
  return sum_of_chunks(numbers, [](std::span<const float> chunk) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < chunk.size(); ++i) sum += static_cast<double>(chunk[i]);
    return sum;
  });
}

Deviations deviations_from(double mean, std::span<const float> numbers) {
  return sum_of_chunks(numbers, [=](std::span<const float> chunk) {
    double first = 0;
    double second = 0;
    double fourth = 0;
#pragma omp simd reduction(+ : first, second, fourth)
    for (size_t i = 0; i < chunk.size(); ++i) {
      const double deviation = static_cast<double>(chunk[i]) - mean;
      const double square = deviation * deviation;
      first += std::fabs(deviation);
      second += square;
      fourth += square * square;
    }
    return Deviations{first, second, fourth};
  });
}

double weight_of(std::span<const MixturePart> components) {
  double weight = 0;
  for (const MixturePart& component : components) weight += component.weight;
  ISOGLOSS_ASSERT(weight > 0);
  return weight;
}

}  // namespace

NumberMoments number_moments(std::span<const float> numbers) {
  ISOGLOSS_ASSERT(!numbers.empty());
  const auto count = static_cast<double>(numbers.size());
  NumberMoments moments;
  moments.mean = sum_of(numbers) / count;
  const Deviations sums = deviations_from(moments.mean, numbers);
  moments.variance = sums.second / count;
  moments.absolute = sums.first / count;
  if (sums.second > 0) moments.kurtosis = sums.fourth * count / (sums.second * sums.second) - 3;
  return moments;
}

double mean_kurtosis(std::span<const MixturePart> components) {
  double sum = 0;
  for (const MixturePart& component : components) sum += component.weight * component.kurtosis;
  return sum / weight_of(components);
}

double mixture_kurtosis(std::span<const MixturePart> components) {
  const double weights = weight_of(components);
  double mean = 0;
  for (const MixturePart& component : components) mean += component.weight * component.mean;
  mean /= weights;
  double second = 0;
  double fourth = 0;
  for (const MixturePart& component : components) {
    const double variance = component.variance;
    const double square = (component.mean - mean) * (component.mean - mean);
    second += component.weight * (variance + square);
    fourth += component.weight * ((component.kurtosis + 3) * variance * variance +
                                  6 * variance * square + square * square);
  }
  return second > 0 ? fourth * weights / (second * second) - 3 : 0;
}

}  // namespace isogloss
