// Rotary frequencies under every scaling that models use.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "isogloss/base/error.h"
#include "isogloss/model/model.h"

namespace isogloss {
namespace {

// The pair that makes `turns` full turns within the original context.
double pair_of_turns(const RopeConfig& rope, double turns) {
  const auto dims = static_cast<double>(rope.dims);
  const auto length = static_cast<double>(rope.original_length);
  return dims * std::log(length / (turns * 2 * std::numbers::pi)) /
         (2 * std::log(static_cast<double>(rope.base)));
}

// Peng et al. 2023, "YaRN", section 3.2: fast pairs keep their frequency, slow ones are divided by
// the factor, those between are mixed in proportion to their index.
void apply_yarn(const RopeConfig& rope, std::vector<double>& frequencies) {
  const auto last = static_cast<double>(rope.dims - 1);
  const double first_mixed =
      std::max(0.0, std::floor(pair_of_turns(rope, static_cast<double>(rope.beta_fast))));
  const double last_mixed =
      std::min(last, std::ceil(pair_of_turns(rope, static_cast<double>(rope.beta_slow))));
  constexpr double kLeastSpan = 0.001;  // as transformers and ggml do
  const double span = std::max(kLeastSpan, last_mixed - first_mixed);
  for (size_t pair = 0; pair < frequencies.size(); ++pair) {
    const double slow = std::clamp((static_cast<double>(pair) - first_mixed) / span, 0.0, 1.0);
    const double divided = frequencies[pair] / static_cast<double>(rope.factor);
    frequencies[pair] = slow * divided + (1 - slow) * frequencies[pair];
  }
}

}  // namespace

std::vector<double> rotary_frequencies(const RopeConfig& rope, size_t length) {
  std::vector<double> frequencies(rope.dims / 2);
  for (size_t pair = 0; pair < frequencies.size(); ++pair) {
    frequencies[pair] = std::pow(static_cast<double>(rope.base),
                                 -static_cast<double>(2 * pair) / static_cast<double>(rope.dims));
  }
  switch (rope.scaling) {
    case RopeScaling::kNone:
      break;
    case RopeScaling::kLinear:
      for (double& frequency : frequencies) frequency /= static_cast<double>(rope.factor);
      break;
    case RopeScaling::kYarn:
      apply_yarn(rope, frequencies);
      break;
    case RopeScaling::kFactors:
    case RopeScaling::kLongRope: {
      const bool is_long = rope.scaling == RopeScaling::kLongRope && length > rope.original_length;
      const auto& factors = is_long ? rope.long_factors : rope.factors;
      ISOGLOSS_ASSERT(factors.size() == frequencies.size());
      for (size_t i = 0; i < factors.size(); ++i) {
        frequencies[i] /= static_cast<double>(factors[i]);
      }
      break;
    }
  }
  return frequencies;
}

}  // namespace isogloss
