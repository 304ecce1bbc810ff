// How far two lists of numbers are apart.
#pragma once

#include <gtest/gtest.h>

#include <span>

namespace isogloss {

// Normalised mean squared error: |a - b|^2 / |b|^2.
inline double nmse(std::span<const float> found, std::span<const float> expected) {
  EXPECT_EQ(found.size(), expected.size());
  double error = 0;
  double size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference = static_cast<double>(found[i]) - static_cast<double>(expected[i]);
    error += difference * difference;
    size += static_cast<double>(expected[i]) * static_cast<double>(expected[i]);
  }
  return error / size;
}

}  // namespace isogloss
