// Ranks, how they vary over bootstrap draws, and rank correlations.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "isogloss/base/error.h"
#include "isogloss/measure/statistics.h"

namespace isogloss {
namespace {

void check_values(std::span<const double> values) {
  for (size_t item = 0; item < values.size(); ++item) {
    if (std::isnan(values[item])) {
      fail(ErrorCode::kNotFinite, "ranks of {} items: item {} is NaN, expected a number",
           values.size(), item);
    }
  }
}

// Calls visit(begin, end) for each run of equal values, the largest first: the items
// order[begin .. end) have ranks begin + 1 to end. `order` is overwritten.
template <typename Visit>
void visit_ties(std::span<const double> values, std::vector<size_t>& order, Visit visit) {
  check_values(values);
  order.resize(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] > values[b]; });
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin + 1;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    visit(begin, end);
    begin = end;
  }
}

// Twice the mean of the ranks begin + 1 to end.
size_t twice_the_rank(size_t begin, size_t end) {
  return begin + 1 + end;
}

// 1, 0 or -1, as for infinities that are equal.
int sign_of_difference(double a, double b) {
  return (a > b ? 1 : 0) - (a < b ? 1 : 0);
}

}  // namespace

std::vector<double> ranks(std::span<const double> values) {
  std::vector<double> result(values.size());
  std::vector<size_t> order;
  visit_ties(values, order, [&](size_t begin, size_t end) {
    const double rank = 0.5 * static_cast<double>(twice_the_rank(begin, end));
    for (size_t i = begin; i < end; ++i) result[order[i]] = rank;
  });
  return result;
}

RankCounter::RankCounter(size_t items)
    : items_(items), first_(items, 0.0), counts_(2 * items * items, 0) {}

void RankCounter::add(std::span<const double> values) {
  ISOGLOSS_ASSERT(values.size() == items_);
  ISOGLOSS_ASSERT(draws_ < std::numeric_limits<uint32_t>::max());
  visit_ties(values, order_, [&](size_t begin, size_t end) {
    const size_t bin = twice_the_rank(begin, end) - 2;
    for (size_t i = begin; i < end; ++i) {
      ++counts_[order_[i] * 2 * items_ + bin];
      if (begin == 0) first_[order_[i]] += 1 / static_cast<double>(end);
    }
  });
  ++draws_;
}

double RankCounter::first_share(size_t item) const {
  ISOGLOSS_ASSERT(item < items_ && draws_ > 0);
  return first_[item] / static_cast<double>(draws_);
}

// The rank at a place, from 0, among the item's ranks in ascending order.
double RankCounter::rank_at(size_t item, size_t place) const {
  const uint32_t* counts = counts_.data() + item * 2 * items_;
  size_t bin = 0;
  for (size_t seen = counts[0]; seen <= place; seen += counts[bin]) ++bin;
  return 0.5 * static_cast<double>(bin + 2);
}

double RankCounter::rank_quantile(size_t item, double p) const {
  ISOGLOSS_ASSERT(item < items_ && draws_ > 0);
  ISOGLOSS_ASSERT(p >= 0 && p <= 1);
  const double position = p * static_cast<double>(draws_ - 1);
  const size_t place = static_cast<size_t>(position);
  const double low = rank_at(item, place);
  if (place + 1 >= draws_) return low;
  const double fraction = position - static_cast<double>(place);
  return low + fraction * (rank_at(item, place + 1) - low);
}

std::pair<double, double> RankCounter::interval(size_t item) const {
  return {rank_quantile(item, (1 - kConfidence) / 2), rank_quantile(item, (1 + kConfidence) / 2)};
}

double spearman(std::span<const double> a, std::span<const double> b) {
  ISOGLOSS_ASSERT(a.size() == b.size());
  const std::vector<double> ranks_a = ranks(a);
  const std::vector<double> ranks_b = ranks(b);
  const double mean = 0.5 * static_cast<double>(a.size() + 1);
  double products = 0;
  double squares_a = 0;
  double squares_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    products += (ranks_a[i] - mean) * (ranks_b[i] - mean);
    squares_a += (ranks_a[i] - mean) * (ranks_a[i] - mean);
    squares_b += (ranks_b[i] - mean) * (ranks_b[i] - mean);
  }
  if (squares_a == 0 || squares_b == 0) return std::numeric_limits<double>::quiet_NaN();
  return products / std::sqrt(squares_a * squares_b);
}

double kendall_tau_b(std::span<const double> a, std::span<const double> b) {
  ISOGLOSS_ASSERT(a.size() == b.size());
  check_values(a);
  check_values(b);
  int64_t excess = 0;
  int64_t untied_a = 0;
  int64_t untied_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const int order_a = sign_of_difference(a[i], a[j]);
      const int order_b = sign_of_difference(b[i], b[j]);
      excess += order_a * order_b;
      untied_a += order_a * order_a;
      untied_b += order_b * order_b;
    }
  }
  if (untied_a == 0 || untied_b == 0) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(excess) /
         std::sqrt(static_cast<double>(untied_a) * static_cast<double>(untied_b));
}

}  // namespace isogloss
