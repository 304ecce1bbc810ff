// P-values from bootstrap draws, and their adjustment for a family of hypotheses.
#include <algorithm>
#include <cmath>

#include "isogloss/base/error.h"
#include "isogloss/measure/statistics.h"

namespace isogloss {
namespace {

// Hypotheses that were tested, by ascending p-value.
std::vector<size_t> tested_in_order(std::span<const double> p_values) {
  std::vector<size_t> order;
  for (size_t i = 0; i < p_values.size(); ++i) {
    if (std::isnan(p_values[i])) continue;
    if (p_values[i] < 0 || p_values[i] > 1) {
      fail(ErrorCode::kBadArgument,
           "p-values of {} hypotheses: that of hypothesis {} is {}, expected 0 to 1",
           p_values.size(), i, p_values[i]);
    }
    order.push_back(i);
  }
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return p_values[a] < p_values[b]; });
  return order;
}

}  // namespace

double bootstrap_p_value(double value_under_null, std::span<const double> draws) {
  if (draws.empty()) {
    fail(ErrorCode::kBadArgument, "bootstrap p-value: 0 draws, expected at least 1");
  }
  size_t at_most = 0;
  size_t at_least = 0;
  for (size_t draw = 0; draw < draws.size(); ++draw) {
    const double value = draws[draw];
    if (std::isnan(value) || std::isnan(value_under_null)) {
      fail(ErrorCode::kNotFinite,
           "bootstrap p-value: draw {} is {} and the null value {}, "
           "expected numbers",
           draw, value, value_under_null);
    }
    at_most += value <= value_under_null ? 1 : 0;
    at_least += value >= value_under_null ? 1 : 0;
  }
  const double tail = static_cast<double>(1 + std::min(at_most, at_least));
  return std::min(1.0, 2 * tail / static_cast<double>(draws.size() + 1));
}

std::vector<double> benjamini_hochberg(std::span<const double> p_values) {
  const std::vector<size_t> order = tested_in_order(p_values);
  std::vector<double> adjusted(p_values.begin(), p_values.end());
  const double tested = static_cast<double>(order.size());
  double least = 1;
  for (size_t place = order.size(); place-- > 0;) {
    const double factor = tested / static_cast<double>(place + 1);
    least = std::min(least, factor * p_values[order[place]]);
    adjusted[order[place]] = least;
  }
  return adjusted;
}

std::vector<double> holm(std::span<const double> p_values) {
  const std::vector<size_t> order = tested_in_order(p_values);
  std::vector<double> adjusted(p_values.begin(), p_values.end());
  double largest = 0;
  for (size_t place = 0; place < order.size(); ++place) {
    const double factor = static_cast<double>(order.size() - place);
    largest = std::max(largest, std::min(1.0, factor * p_values[order[place]]));
    adjusted[order[place]] = largest;
  }
  return adjusted;
}

}  // namespace isogloss
