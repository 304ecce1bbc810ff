// Sums of powers that merge without loss, and the pieces of a tensor they are taken over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "isogloss/model/model.h"
#include "isogloss/study/study.h"

namespace isogloss {

// Of a set of numbers: sums of powers of the distances from their mean, and what else one reading
// tells.
struct Moments {
  uint64_t count = 0;
  double mean = 0;
  double m2 = 0, m3 = 0, m4 = 0;
  double max_abs = 0;
  uint64_t zeros = 0;      // exactly 0
  uint64_t near_zero = 0;  // below kSeedNearZero
};

Moments moments_of(std::span<const float> numbers);

// Those of both sets together.
void merge(Moments& moments, const Moments& other);

// Without outlier_ratio, which needs a second reading.
WeightStatistics statistics_of(const Moments& moments, StatisticsWay way);

// How many of `numbers` are beyond `bound` from 0.
uint64_t count_beyond(std::span<const float> numbers, double bound);

// A tensor's numbers in pieces of whole stored rows, whatever order these are in: for sums over all
// of them. The pieces depend on the tensor alone.
size_t count_pieces(const TensorView& tensor);

// Calls `visit` with each piece and its index, on all threads at once.
void for_each_piece(const TensorView& tensor,
                    const std::function<void(size_t piece, std::span<const float>)>& visit);

}  // namespace isogloss
