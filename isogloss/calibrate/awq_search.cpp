// The searches of AWQ: scales of columns, bounds of groups.
#include <algorithm>
#include <cmath>

#include "isogloss/base/error.h"
#include "isogloss/calibrate/awq_impl.h"

namespace isogloss {
namespace {

// As in the published code (llm-awq, auto_scale.py and auto_clip.py).
constexpr size_t kRatios = 20;  // powers 0, 1/20, ..., 19/20
constexpr float kLeastScale = 1e-4F;
constexpr size_t kBounds = 10;  // 1, 19/20, ..., 11/20 of the largest number
constexpr double kBoundStep = 1.0 / 20;

std::vector<float> scales_of(const std::vector<double>& means, double power) {
  std::vector<float> scales;
  for (const double mean : means) {
    scales.push_back(std::max(static_cast<float>(std::pow(mean, power)), kLeastScale));
  }
  const auto [least, most] = std::ranges::minmax(scales);
  const float middle = std::sqrt(least * most);
  for (float& scale : scales) scale /= middle;
  return scales;
}

Scheme nearest(Scheme scheme) {
  scheme.method = Method::kRtn;
  return scheme;
}

// Q(W s) / s: what the matrix does when its inputs are divided by s.
std::shared_ptr<const std::vector<float>> scaled_round_trip(const Scheme& scheme,
                                                            const std::vector<float>& weights,
                                                            std::span<const float> scales,
                                                            size_t rows) {
  const size_t cols = scales.size();
  auto numbers = std::make_shared<std::vector<float>>(weights);
  for (size_t i = 0; i < numbers->size(); ++i) (*numbers)[i] *= scales[i % cols];
  round_trip(nearest(scheme), *numbers, rows, cols);
  for (size_t i = 0; i < numbers->size(); ++i) (*numbers)[i] /= scales[i % cols];
  return numbers;
}

double mean_squared_difference(const HiddenStates& a, const HiddenStates& b) {
  double sum = 0;
  for (size_t token = 0; token < a.tokens(); ++token) {
    const auto x = a.row(token);
    const auto y = b.row(token);
    for (size_t i = 0; i < x.size(); ++i) {
      const double difference = static_cast<double>(x[i]) - y[i];
      sum += difference * difference;
    }
  }
  return sum / static_cast<double>(a.tokens() * a.width());
}

double output_error(const HalfTask& task, const SearchText& text, const TensorOverrides& targets) {
  TensorOverrides overrides = *task.variant.overrides;
  for (const auto& [tensor, numbers] : targets) overrides[tensor] = numbers;
  Variant variant = task.variant;
  variant.overrides = &overrides;
  double error = 0;
  for (size_t b = 0; b < text.batches.size(); ++b) {
    HiddenStates hidden = text.batches[b]->hidden;
    task.engine->run_half(variant, task.half, text.batches[b]->batch, hidden);
    error += text.weights[b] * mean_squared_difference(hidden, text.outputs[b]);
  }
  return error;
}

// The squared error d^T M d of what one group of a row contributes, by the second moments of its
// inputs divided by scales.
double contribution_error(const std::vector<float>& moments, std::span<const double> d) {
  double error = 0;
  for (size_t i = 0; i < d.size(); ++i) {
    double sum = 0;
    for (size_t j = 0; j < d.size(); ++j) sum += moments[i * d.size() + j] * d[j];
    error += d[i] * sum;
  }
  return error;
}

// The share of its largest number to which a group is best bounded.
double best_bound(const Scheme& scheme, const std::vector<float>& moments,
                  std::span<const float> group) {
  const auto [least, most] = std::ranges::minmax(group);
  double best = 1;
  double best_error = std::numeric_limits<double>::infinity();
  std::vector<float> rounded(group.size());
  std::vector<double> difference(group.size());
  for (size_t i = 0; i < kBounds; ++i) {
    const double share = 1 - kBoundStep * static_cast<double>(i);
    const float top = std::max(std::abs(least), std::abs(most)) * static_cast<float>(share);
    for (size_t k = 0; k < group.size(); ++k) rounded[k] = std::clamp(group[k], -top, top);
    round_trip(scheme, rounded, 1, group.size());
    for (size_t k = 0; k < group.size(); ++k) {
      difference[k] = static_cast<double>(rounded[k]) - group[k];
    }
    const double error = contribution_error(moments, difference);
    if (error < best_error) {
      best_error = error;
      best = share;
    }
  }
  return best;
}

// [size][size], of the columns first .. first + size.
std::vector<float> group_moments(const Hessian& moments, std::span<const float> scales,
                                 size_t first, size_t size) {
  std::vector<float> group(size * size);
  for (size_t i = 0; i < size; ++i) {
    for (size_t j = 0; j < size; ++j) {
      const float product = scales[first + i] * scales[first + j];
      group[i * size + j] = moments.at(first + i, first + j) / product;
    }
  }
  return group;
}

}  // namespace

std::vector<float> search_scales(const HalfTask& task, const SearchText& text, const Fold& fold,
                                 const FoldInputs& inputs) {
  std::vector<std::vector<float>> weights;
  for (const size_t tensor : fold.targets) {
    const TensorView& view = task.model().tensors()[tensor];
    decode(view, weights.emplace_back(view.count()));
  }
  std::vector<float> best;
  double best_error = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < kRatios; ++i) {
    auto scales = scales_of(inputs.means, static_cast<double>(i) / kRatios);
    TensorOverrides targets;
    for (size_t t = 0; t < fold.targets.size(); ++t) {
      const size_t tensor = fold.targets[t];
      targets[tensor] = scaled_round_trip(task.scheme(tensor), weights[t], scales,
                                          task.model().tensors()[tensor].rows);
    }
    const double error = output_error(task, text, targets);
    if (error < best_error) {
      best_error = error;
      best = std::move(scales);
    }
  }
  return best;
}

void clip_groups(const Scheme& scheme, const Hessian& moments, std::span<const float> scales,
                 std::span<float> weights, size_t rows) {
  const size_t cols = scales.size();
  const size_t size = scheme.granularity == Granularity::kGroup ? scheme.group_size : cols;
  Scheme group_scheme = nearest(scheme);
  group_scheme.granularity = Granularity::kChannel;
  group_scheme.group_size = 0;
  // What cannot be encoded must throw here, and not on one of several threads.
  std::vector<float> checked(weights.begin(), weights.end());
  round_trip(nearest(scheme), checked, rows, cols);
  for (size_t first = 0; first < cols; first += size) {
    const auto group = group_moments(moments, scales, first, size);
#pragma omp parallel for schedule(dynamic, 16)
    for (size_t row = 0; row < rows; ++row) {
      const auto numbers = weights.subspan(row * cols + first, size);
      const auto [least, most] = std::ranges::minmax(numbers);
      const float largest = std::max(std::abs(least), std::abs(most));
      const float top = largest * static_cast<float>(best_bound(group_scheme, group, numbers));
      for (float& number : numbers) number = std::clamp(number, -top, top);
    }
  }
}

}  // namespace isogloss
