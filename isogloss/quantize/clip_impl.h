// Clips: how far codes reach where that is less than the largest number.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "isogloss/quantize/kurtosis.h"
#include "isogloss/quantize/quantize.h"

namespace isogloss {

// kMse tries the range times 2^(-i * kMseClipStep) for i = 0 .. kMseClipSteps: 1, 0.957, 0.917, ...
// 1/64, less than what outliers of single weights call for.
constexpr double kMseClipStep = 1.0 / 16;
constexpr int kMseClipSteps = 96;

// The bound for numbers of these moments; `kurtosis`: the effective one, for clips that go by it.
using BoundFunction = double (*)(int bits, const NumberMoments& moments, double kurtosis);

struct ClipRule {
  Clip clip;
  std::string_view name;  // in schemes
  bool asymmetric;        // goes with a zero point
  bool calibrated;        // goes by an effective kurtosis
  bool searched;          // by squared error, on the numbers themselves
  BoundFunction bound;    // null where it is none or searched
};

extern const std::array<ClipRule, 7> kClipRules;

const ClipRule& rule_of(Clip clip);

// a / b and a / sigma where the expected squared error of 2^bits codes over [-a, a] is least, for a
// Laplacian of mean absolute deviation b and a Gaussian (Banner, Nahshan & Soudry 2019, "Post
// training 4-bit quantization of convolutional networks for rapid-deployment"):
//   Laplace  2 b^2 e^(-a/b) + n
//   Gauss    (a^2 + s^2) erfc(a / (s sqrt 2)) - sqrt(2 / pi) a s e^(-a^2 / 2s^2) + n
// with n = a^2 / (3 * 4^bits) for rounding.
double aciq_laplace_bound(int bits);
double aciq_gauss_bound(int bits);

// The published study's bound in units of sigma: C + 0.3 ln(1 + max(0, kurtosis)) with C of 2 at 3
// bits, 4 at 8 and 2.5 else. Fitted to no theory: docs/methods.md has its errors.
double laaciq_bound(int bits, double kurtosis);

}  // namespace isogloss
