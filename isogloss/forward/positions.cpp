// How tokens learn their places.
#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "isogloss/forward/graph_impl.h"

namespace isogloss {
namespace {

bool is_long(const RopeConfig& rope, size_t length) {
  return rope.scaling == RopeScaling::kLongRope && length > rope.original_length;
}

size_t sequence_length(const Batch& batch, size_t sequence) {
  return batch.starts[sequence + 1] - batch.starts[sequence];
}

// Rounded up to powers of two, so that few tables serve all batches.
RotationLengths lengths_of(const RopeConfig& rope, const Batch& batch) {
  RotationLengths lengths;
  for (size_t s = 0; s + 1 < batch.starts.size(); ++s) {
    const size_t length = sequence_length(batch, s);
    size_t& most = is_long(rope, length) ? lengths.most_long : lengths.most;
    most = std::max(most, std::bit_ceil(length));
  }
  return lengths;
}

void append_angles(const RopeConfig& rope, size_t length, size_t places,
                   std::vector<float>& numbers) {
  const auto frequencies = rotary_frequencies(rope, length);
  const auto scale = static_cast<double>(rope.attention_factor);
  for (size_t place = 0; place < places; ++place) {
    for (const double frequency : frequencies) {
      const double angle = static_cast<double>(place) * frequency;
      numbers.push_back(static_cast<float>(scale * std::cos(angle)));
      numbers.push_back(static_cast<float>(scale * std::sin(angle)));
    }
  }
}

RotationTable make_table(const RopeConfig& rope, const RotationLengths& lengths) {
  RotationTable table{rope, lengths, {}};
  table.numbers.reserve((lengths.most + lengths.most_long) * rope.dims);
  append_angles(rope, /*length=*/0, lengths.most, table.numbers);
  append_angles(rope, lengths.most_long, lengths.most_long, table.numbers);
  return table;
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

const RotationTable& RotationCache::get(const RopeConfig& rope, const Batch& batch) {
  constexpr size_t kMostTables = 8;
  const RotationLengths lengths = lengths_of(rope, batch);
  const auto found = std::ranges::find_if(tables_, [&](const RotationTable& table) {
    return table.lengths == lengths && table.rope == rope;
  });
  if (found != tables_.end()) return *found;
  if (tables_.size() == kMostTables) tables_.erase(tables_.begin());
  return tables_.emplace_back(make_table(rope, lengths));
}

std::vector<int32_t> rotation_rows(const RotationTable& table, const Batch& batch) {
  std::vector<int32_t> rows = sequence_places(batch);
  for (size_t s = 0; s + 1 < batch.starts.size(); ++s) {
    if (!is_long(table.rope, sequence_length(batch, s))) continue;
    for (size_t token = batch.starts[s]; token < batch.starts[s + 1]; ++token) {
      rows[token] += static_cast<int32_t>(table.lengths.most);
    }
  }
  return rows;
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
