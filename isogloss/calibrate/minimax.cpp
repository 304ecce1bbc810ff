// Weights of languages that follow their losses (group DRO: Sagawa et al. 2020, algorithm 1).
#include <cmath>
#include <numeric>

#include "isogloss/base/error.h"
#include "isogloss/calibrate/calibrate.h"

namespace isogloss {

std::vector<double> follow_losses(const std::vector<double>& weights,
                                  const std::vector<double>& losses, double step) {
  ISOGLOSS_ASSERT(weights.size() == losses.size() && !weights.empty());
  const double mean =
      std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(losses.size());
  if (!(mean > 0)) return weights;
  std::vector<double> moved;
  for (size_t l = 0; l < weights.size(); ++l) {
    moved.push_back(weights[l] * std::exp(step * (losses[l] / mean - 1)));
  }
  const double sum = std::accumulate(moved.begin(), moved.end(), 0.0);
  for (double& weight : moved) weight /= sum;
  return moved;
}

}  // namespace isogloss
