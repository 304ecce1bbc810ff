// Bounds by the distribution that numbers are taken to have.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "isogloss/base/error.h"
#include "isogloss/quantize/clip_impl.h"

namespace isogloss {
namespace {

// Where `slope`, of one sign below its root and of the other above, is 0 within [low, high].
template <typename Slope>
double root_between(double low, double high, const Slope& slope) {
  const bool rising = slope(high) > 0;
  for (;;) {
    const double middle = (low + high) / 2;
    if (middle <= low || middle >= high) return middle;  // neighbours
    ((slope(middle) > 0) == rising ? high : low) = middle;
  }
}

constexpr int kMostBits = 16;
constexpr double kFarBound = 32;  // beyond any root up to kMostBits

// root(noise) for each number of bits, once; noise: the squared error of rounding, over a^2.
template <typename Root>
std::array<double, kMostBits + 1> bounds_by_bits(const Root& root) {
  std::array<double, kMostBits + 1> bounds = {};
  for (int bits = 1; bits <= kMostBits; ++bits) {
    bounds[static_cast<size_t>(bits)] = root(1 / (3 * std::pow(4, bits)));
  }
  return bounds;
}

// Half of the derivative by a / b of the expected squared error over b^2.
double laplace_root(double noise) {
  return root_between(0, kFarBound, [=](double a) { return a * noise - std::exp(-a); });
}

// The same by a / sigma.
double gauss_root(double noise) {
  return root_between(0, kFarBound, [=](double a) {
    const double density = std::exp(-a * a / 2) / std::sqrt(2 * std::numbers::pi);
    return a * (std::erfc(a / std::numbers::sqrt2) + noise) - 2 * density;
  });
}

double gauss_bound(int bits, const NumberMoments& moments, double) {
  return aciq_gauss_bound(bits) * std::sqrt(moments.variance);
}

double laplace_bound(int bits, const NumberMoments& moments, double) {
  return aciq_laplace_bound(bits) * moments.absolute;
}

double own_laaciq_bound(int bits, const NumberMoments& moments, double) {
  return laaciq_bound(bits, moments.kurtosis) * std::sqrt(moments.variance);
}

double effective_laaciq_bound(int bits, const NumberMoments& moments, double kurtosis) {
  return laaciq_bound(bits, kurtosis) * std::sqrt(moments.variance);
}

}  // namespace

const std::array<ClipRule, 7> kClipRules = {{
    {Clip::kNone, "none", true, false, false, nullptr},
    {Clip::kMse, "mse", true, false, true, nullptr},
    {Clip::kAciqGauss, "aciq-gauss", false, false, false, gauss_bound},
    {Clip::kAciqLaplace, "aciq-laplace", false, false, false, laplace_bound},
    {Clip::kLaAciq, "laaciq", false, false, false, own_laaciq_bound},
    {Clip::kLaAciqMean, "laaciq-mean", false, true, false, effective_laaciq_bound},
    {Clip::kLaAciqMixture, "laaciq-mixture", false, true, false, effective_laaciq_bound},
}};

const ClipRule& rule_of(Clip clip) {
  const auto found = std::ranges::find(kClipRules, clip, &ClipRule::clip);
  ISOGLOSS_ASSERT(found != kClipRules.end());
  return *found;
}

double aciq_laplace_bound(int bits) {
  static const auto kBounds = bounds_by_bits(laplace_root);
  return kBounds.at(static_cast<size_t>(bits));
}

double aciq_gauss_bound(int bits) {
  static const auto kBounds = bounds_by_bits(gauss_root);
  return kBounds.at(static_cast<size_t>(bits));
}

double laaciq_bound(int bits, double kurtosis) {
  const double at_zero = bits == 3 ? 2.0 : bits == 8 ? 4.0 : 2.5;
  return at_zero + 0.3 * std::log1p(std::max(kurtosis, 0.0));
}

}  // namespace isogloss
