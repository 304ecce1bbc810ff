// How tokens learn their places.
#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "isogloss/forward/graph_impl.h"

namespace isogloss {
namespace {

void append_angles(const RopeConfig& rope, size_t length, size_t places,
                   std::vector<float>& table) {
  const auto frequencies = rotary_frequencies(rope, length);
  const auto scale = static_cast<double>(rope.attention_factor);
  for (size_t place = 0; place < places; ++place) {
    for (const double frequency : frequencies) {
      const double angle = static_cast<double>(place) * frequency;
      table.push_back(static_cast<float>(scale * std::cos(angle)));
      table.push_back(static_cast<float>(scale * std::sin(angle)));
    }
  }
}

}  // namespace

std::vector<int32_t> sequence_places(const Batch& batch) {
  std::vector<int32_t> places(batch.size());
  for (size_t s = 0; s + 1 < batch.starts.size(); ++s) {
    std::iota(places.begin() + static_cast<std::ptrdiff_t>(batch.starts[s]),
              places.begin() + static_cast<std::ptrdiff_t>(batch.starts[s + 1]), 0);
  }
  return places;
}

// Sequences longer than the first context have rows of their own, after those of the others.
Rotation make_rotation(const RopeConfig& rope, const Batch& batch) {
  const bool two_lists = rope.scaling == RopeScaling::kLongRope;
  const auto is_long = [&](size_t length) { return two_lists && length > rope.original_length; };
  size_t most_short = 0;
  size_t most_long = 0;
  for (size_t s = 0; s + 1 < batch.starts.size(); ++s) {
    const size_t length = batch.starts[s + 1] - batch.starts[s];
    size_t& most = is_long(length) ? most_long : most_short;
    most = std::max(most, length);
  }
  Rotation rotation;
  rotation.table.reserve((most_short + most_long) * rope.dims);
  append_angles(rope, most_short, most_short, rotation.table);
  append_angles(rope, most_long, most_long, rotation.table);
  rotation.places = sequence_places(batch);
  for (size_t s = 0; s + 1 < batch.starts.size(); ++s) {
    if (!is_long(batch.starts[s + 1] - batch.starts[s])) continue;
    for (size_t token = batch.starts[s]; token < batch.starts[s + 1]; ++token) {
      rotation.places[token] += static_cast<int32_t>(most_short);
    }
  }
  return rotation;
}

std::vector<float> alibi_slopes(const ModelConfig& config) {
  if (config.positions != Positions::kAlibi) return {};
  constexpr double kSteepest = 8;  // the last of a power of two of heads has slope 2^-8
  const auto power = static_cast<double>(std::bit_floor(config.heads));
  std::vector<float> slopes;
  for (size_t head = 0; head < config.heads; ++head) {
    const auto index = static_cast<double>(head);
    const double exponent = index < power ? (index + 1) * kSteepest / power
                                          : (2 * (index - power) + 1) * kSteepest / (2 * power);
    slopes.push_back(static_cast<float>(std::exp2(-exponent)));
  }
  return slopes;
}

void add_sinusoid(size_t place, std::span<float> row) {
  const size_t half = row.size() / 2;
  const double step = half > 1 ? std::log(10000.0) / static_cast<double>(half - 1) : 0;
  for (size_t i = 0; i < half; ++i) {
    const double angle = static_cast<double>(place) * std::exp(-step * static_cast<double>(i));
    row[i] += static_cast<float>(std::sin(angle));
    row[half + i] += static_cast<float>(std::cos(angle));
  }
}

}  // namespace isogloss
