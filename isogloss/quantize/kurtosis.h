// NumberMoments of weights, and the two "effective kurtoses" of the published study.
#pragma once

#include <span>

namespace isogloss {

// Of a population: divided by the count.
struct NumberMoments {
  double mean = 0;
  double variance = 0;
  double absolute = 0;  // mean of |w - mean|
  double kurtosis = 0;  // excess: mean((w - mean)^4) / variance^2 - 3; 0 where the variance is 0
};

NumberMoments number_moments(std::span<const float> numbers);

// Numbers in a mixture, by a weight of any positive scale.
struct MixturePart {
  double weight = 0;
  double mean = 0;
  double variance = 0;
  double kurtosis = 0;  // excess
};

// The first reading: sum_i w_i k_i over the sum of weights. What the mean of kurtoses is not: the
// kurtosis of the numbers taken together.
double mean_kurtosis(std::span<const MixturePart> components);

// The second: excess kurtosis of the mixture, from its components' moments,
//   [sum w (k + 3) s^4 + 6 sum w s^2 d^2 + sum w d^4] / (sum w (s^2 + d^2))^2 - 3
// with s^2 the variances and d the means less the mixture's. As the study has it, without the term
// 4 sum w g s^3 d (g: skewness), and so exact only where components are not skewed or their means
// are equal. 0 where the mixture has no variance.
double mixture_kurtosis(std::span<const MixturePart> components);

}  // namespace isogloss
