// The distribution of KL divergences over tokens, in a few kilobytes however many tokens there are:
// counts add up over slices of text and over machines, which quantiles do not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace isogloss {

// Of KL per token, in nats.
struct KlQuantiles {
  double median = 0, p99 = 0, p999 = 0, max = 0;
};

class KlHistogram {
 public:
  // `kl` is finite and at least 0.
  void add(float kl);
  void merge(const KlHistogram& other);

  uint64_t count() const { return count_; }

  // quantile() of what was added, each number replaced by the middle of its bin: wrong by at most
  // kRelativeError of it, or by kLeast where it is below that. 0 when nothing was added.
  double quantile(double p) const;
  // `max` is exact.
  KlQuantiles quantiles() const;

  // Largest number, then bin and count of each bin that is not empty, bins ascending.
  std::vector<double> to_numbers() const;
  // nullopt for what to_numbers() would not give.
  static std::optional<KlHistogram> from_numbers(std::span<const double> numbers);

  // Bins are 64 to an octave: a float's exponent and the first 6 bits of its fraction.
  static constexpr double kRelativeError = 1.0 / 128;
  // In one bin, 0, is everything that the arithmetic cannot tell from 0 (kKlRounding is above).
  static constexpr float kLeast = 0x1p-24F;

  bool operator==(const KlHistogram&) const = default;

 private:
  double value_at(uint64_t place) const;  // of the sorted numbers

  std::vector<uint64_t> bins_;  // as long as the largest bin needs
  uint64_t count_ = 0;
  float max_ = 0;
};

}  // namespace isogloss
