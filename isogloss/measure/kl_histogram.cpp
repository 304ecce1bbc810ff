#include "isogloss/measure/kl_histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "isogloss/base/error.h"

namespace isogloss {
namespace {

constexpr int kDroppedBits = std::numeric_limits<float>::digits - 1 - 6;

// Of positive floats, in their order.
constexpr uint32_t prefix_of(float value) {
  return std::bit_cast<uint32_t>(value) >> kDroppedBits;
}
constexpr uint32_t kFirstPrefix = prefix_of(KlHistogram::kLeast);
constexpr size_t kBins = prefix_of(std::numeric_limits<float>::max()) - kFirstPrefix + 2;

size_t bin_of(float kl) {
  return kl < KlHistogram::kLeast ? 0 : prefix_of(kl) - kFirstPrefix + 1;
}

double middle_of(size_t bin) {
  if (bin == 0) return 0;
  const auto prefix = static_cast<uint32_t>(bin - 1) + kFirstPrefix;
  const auto edge = [](uint32_t of) {
    return static_cast<double>(std::bit_cast<float>(of << kDroppedBits));
  };
  return (edge(prefix) + edge(prefix + 1)) / 2;
}

bool is_count(double number) {
  return number >= 0 && number <= 0x1p53 && number == std::floor(number);
}

}  // namespace

void KlHistogram::add(float kl) {
  ISOGLOSS_ASSERT(kl >= 0 && std::isfinite(kl));
  const size_t bin = bin_of(kl);
  if (bin >= bins_.size()) bins_.resize(bin + 1);
  ++bins_[bin];
  ++count_;
  max_ = std::max(max_, kl);
}

void KlHistogram::merge(const KlHistogram& other) {
  bins_.resize(std::max(bins_.size(), other.bins_.size()));
  for (size_t b = 0; b < other.bins_.size(); ++b) bins_[b] += other.bins_[b];
  count_ += other.count_;
  max_ = std::max(max_, other.max_);
}

double KlHistogram::value_at(uint64_t place) const {
  uint64_t before = 0;
  for (size_t b = 0; b < bins_.size(); ++b) {
    before += bins_[b];
    if (place < before) return std::min(middle_of(b), static_cast<double>(max_));
  }
  return static_cast<double>(max_);
}

double KlHistogram::quantile(double p) const {
  if (count_ == 0) return 0;
  const double place = p * static_cast<double>(count_ - 1);
  const auto below = static_cast<uint64_t>(place);
  const double lower = value_at(below), upper = value_at(std::min(below + 1, count_ - 1));
  return lower + (upper - lower) * (place - static_cast<double>(below));
}

KlQuantiles KlHistogram::quantiles() const {
  return {quantile(0.5), quantile(0.99), quantile(0.999), static_cast<double>(max_)};
}

std::vector<double> KlHistogram::to_numbers() const {
  std::vector<double> numbers = {static_cast<double>(max_)};
  for (size_t b = 0; b < bins_.size(); ++b) {
    if (bins_[b] == 0) continue;
    numbers.insert(numbers.end(), {static_cast<double>(b), static_cast<double>(bins_[b])});
  }
  return numbers;
}

std::optional<KlHistogram> KlHistogram::from_numbers(std::span<const double> numbers) {
  if (numbers.size() % 2 != 1 || !(numbers[0] >= 0) ||
      numbers[0] > static_cast<double>(std::numeric_limits<float>::max())) {
    return std::nullopt;
  }
  KlHistogram histogram;
  histogram.max_ = static_cast<float>(numbers[0]);
  for (size_t i = 1; i < numbers.size(); i += 2) {
    if (!is_count(numbers[i]) || numbers[i] >= static_cast<double>(kBins)) return std::nullopt;
    if (!is_count(numbers[i + 1]) || numbers[i + 1] == 0) return std::nullopt;
    const auto bin = static_cast<size_t>(numbers[i]);
    if (bin < histogram.bins_.size()) return std::nullopt;  // they ascend
    histogram.bins_.resize(bin + 1);
    histogram.bins_[bin] = static_cast<uint64_t>(numbers[i + 1]);
    histogram.count_ += histogram.bins_[bin];
  }
  const size_t largest = histogram.bins_.empty() ? 0 : histogram.bins_.size() - 1;
  if (bin_of(histogram.max_) != largest) return std::nullopt;
  return histogram;
}

}  // namespace isogloss
