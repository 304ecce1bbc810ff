#include "isogloss/study/moments_impl.h"

#include <algorithm>
#include <cmath>
#include <exception>

#include "isogloss/base/error.h"
#include "isogloss/base/vector_math.h"

namespace isogloss {
namespace {

// Enough work for a thread, and little enough to stay in its cache.
constexpr size_t kPieceNumbers = 1 << 14;

// The tensor as rows of its file. Statistics do not ask for the order of numbers, and to put it
// right would cost a transposition.
TensorView as_it_lies(const TensorView& tensor) {
  TensorView lying = tensor;
  if (tensor.order == StorageOrder::kColumns) std::swap(lying.rows, lying.cols);
  lying.order = StorageOrder::kRows;
  return lying;
}

size_t rows_at_once(const TensorView& lying) {
  return std::max<size_t>(1, kPieceNumbers / lying.cols);
}

TensorView piece_of(const TensorView& lying, size_t piece) {
  const size_t first = piece * rows_at_once(lying);
  return rows_of(lying, first, std::min(rows_at_once(lying), lying.rows - first));
}

// A piece's error counts rows from the piece; decoded whole, the tensor says where it is bad.
[[noreturn]] void rethrow(const TensorView& tensor, const std::exception_ptr& error) {
  std::vector<float> numbers(tensor.count());
  decode(tensor, numbers);
  std::rethrow_exception(error);
}

}  // namespace

Moments moments_of(std::span<const float> numbers) {
  Moments moments;
  moments.count = numbers.size();
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < numbers.size(); ++i) sum += static_cast<double>(numbers[i]);
  const double mean = sum / static_cast<double>(numbers.size());
  double m2 = 0;
  double m3 = 0;
  double m4 = 0;
#pragma omp simd reduction(+ : m2, m3, m4)
  for (size_t i = 0; i < numbers.size(); ++i) {
    const double distance = static_cast<double>(numbers[i]) - mean;
    const double square = distance * distance;
    m2 += square;
    m3 += square * distance;
    m4 += square * square;
  }
  uint64_t zeros = 0;
  uint64_t near_zero = 0;
#pragma omp simd reduction(+ : zeros, near_zero)
  for (size_t i = 0; i < numbers.size(); ++i) {
    const float size = std::abs(numbers[i]);
    zeros += size == 0 ? 1 : 0;
    near_zero += size < kSeedNearZero ? 1 : 0;
  }
  moments.mean = mean;
  moments.m2 = m2;
  moments.m3 = m3;
  moments.m4 = m4;
  moments.max_abs = static_cast<double>(vector_max_abs(numbers));
  moments.zeros = zeros;
  moments.near_zero = near_zero;
  return moments;
}

// Pebay 2008, for two sets.
void merge(Moments& moments, const Moments& other) {
  if (other.count == 0) return;
  if (moments.count == 0) {
    moments = other;
    return;
  }
  const auto a = static_cast<double>(moments.count);
  const auto b = static_cast<double>(other.count);
  const double n = a + b;
  const double delta = other.mean - moments.mean;
  const double step = delta / n;
  const double spread = delta * step * a * b;  // what the distance of the means adds to m2
  moments.m4 += other.m4 + spread * step * step * (a * a - a * b + b * b) +
                6 * step * step * (a * a * other.m2 + b * b * moments.m2) +
                4 * step * (a * other.m3 - b * moments.m3);
  moments.m3 += other.m3 + spread * step * (a - b) + 3 * step * (a * other.m2 - b * moments.m2);
  moments.m2 += other.m2 + spread;
  moments.mean += step * b;
  moments.count += other.count;
  moments.max_abs = std::max(moments.max_abs, other.max_abs);
  moments.zeros += other.zeros;
  moments.near_zero += other.near_zero;
}

WeightStatistics statistics_of(const Moments& moments, StatisticsWay way) {
  const bool seed = way == StatisticsWay::kSeed;
  const auto count = static_cast<double>(moments.count);
  const double degrees = seed ? std::max(1.0, count - 1) : count;
  WeightStatistics statistics;
  statistics.count = moments.count;
  statistics.mean = moments.mean;
  statistics.sd = std::sqrt(moments.m2 / degrees);
  statistics.max_abs = moments.max_abs;
  statistics.sparsity = static_cast<double>(seed ? moments.near_zero : moments.zeros) / count;
  if (statistics.sd == 0) {
    statistics.status = fmt::format("CONSTANT: every weight is {:.6g}", moments.mean);
    return statistics;
  }
  const double variance = moments.m2 / degrees;
  WeightStatistics::Shape shape;
  shape.skewness = moments.m3 / count / (variance * statistics.sd);
  shape.excess_kurtosis = moments.m4 / count / (variance * variance) - 3;
  shape.max_over_sd = moments.max_abs / statistics.sd;
  statistics.shape = shape;
  return statistics;
}

uint64_t count_beyond(std::span<const float> numbers, double bound) {
  uint64_t beyond = 0;
#pragma omp simd reduction(+ : beyond)
  for (size_t i = 0; i < numbers.size(); ++i) {
    beyond += std::abs(static_cast<double>(numbers[i])) > bound ? 1 : 0;
  }
  return beyond;
}

size_t count_pieces(const TensorView& tensor) {
  const TensorView lying = as_it_lies(tensor);
  return (lying.rows + rows_at_once(lying) - 1) / rows_at_once(lying);
}

void for_each_piece(const TensorView& tensor,
                    const std::function<void(size_t piece, std::span<const float>)>& visit) {
  const TensorView lying = as_it_lies(tensor);
  const size_t pieces = count_pieces(tensor);
  std::exception_ptr error;  // must not leave a parallel region on its own
#pragma omp parallel for schedule(dynamic)
  for (size_t piece = 0; piece < pieces; ++piece) {
    try {
      const TensorView part = piece_of(lying, piece);
      std::vector<float> numbers(part.count());
      decode(part, numbers);
      visit(piece, numbers);
    } catch (...) {
#pragma omp critical
      error = std::current_exception();
    }
  }
  if (error) rethrow(tensor, error);
}

}  // namespace isogloss
