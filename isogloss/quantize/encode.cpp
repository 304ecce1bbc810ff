// Numbers to the codes of a scheme, and back.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "isogloss/base/error.h"
#include "isogloss/base/vector_math.h"
#include "isogloss/quantize/encode_impl.h"
#include "isogloss/base/parallel.h"

namespace isogloss {
namespace {

// Ranges, scales and what codes stand for stay finite below it, with room for codes beyond a clip.
constexpr float kLargestOfBf16Scales = 0x1p126F;

// Beyond it a scale overflows; some of ggml's encoders stop the process then.
float largest_value(const Scheme& scheme) {
  if (scheme.kind == SchemeKind::kSeed) return kLargestBf16;  // in reach of a float scale
  if (scheme.kind == SchemeKind::kInteger) {
    return scheme.scale_type == TensorType::kBf16 ? kLargestOfBf16Scales : kLargestF16;
  }
  if (scheme.type == TensorType::kF32) return std::numeric_limits<float>::max();
  return scheme.type == TensorType::kBf16 ? kLargestBf16 : kLargestF16;
}

[[noreturn]] void refuse(const Scheme& scheme, std::span<const float> values, size_t cols,
                         float largest) {
  const auto bad =
      std::ranges::find_if_not(values, [=](float value) { return std::fabs(value) <= largest; });
  const auto place = static_cast<size_t>(bad - values.begin());
  fail(ErrorCode::kNotFinite,
       "{} at row {}, column {} cannot be stored as {}, which ends at {}; the model is damaged (a "
       "bad conversion?)",
       *bad, place / cols, place % cols, to_string(scheme), largest);
}

void check_range(const Scheme& scheme, std::span<const float> values, size_t cols) {
  const float largest = largest_value(scheme);
  std::atomic<bool> within = true;
  for_ranges(values.size(), kNumbersAtOnce, [&](size_t first, size_t count) {
    // Not so for NaN either.
    if (!(vector_max_abs(values.subspan(first, count)) <= largest)) within = false;
  });
  if (!within) refuse(scheme, values, cols, largest);
}

void check_request(const Scheme& scheme, std::span<const float> values, size_t rows, size_t cols,
                   const EncodeOptions& options) {
  ISOGLOSS_ASSERT(values.size() == rows * cols);
  ISOGLOSS_ASSERT(fitting_scheme(scheme, cols) == scheme);
  ISOGLOSS_ASSERT(options.importance.empty() || options.importance.size() == cols);
  const bool searched = scheme.method == Method::kGptq || scheme.method == Method::kAwq;
  if (searched || (needs_calibration(scheme) && !options.kurtosis)) {
    fail(ErrorCode::kBadArgument,
         "scheme {} goes by what matrices multiply: it takes calibration text, and there is none",
         to_string(scheme));
  }
  if (needs_importance(scheme) && options.importance.empty()) {
    fail(ErrorCode::kBadArgument,
         "scheme {}: ggml encodes this type only with an importance matrix, and there is none",
         to_string(scheme));
  }
  check_range(scheme, values, cols);
}

bool has_real_offsets(const Scheme& scheme) {
  return scheme.kind == SchemeKind::kInteger && scheme.method == Method::kHqq;
}

size_t numbers_per_scale(const Scheme& scheme, size_t rows, size_t cols) {
  if (scheme.kind == SchemeKind::kSeed || scheme.granularity == Granularity::kTensor) {
    return rows * cols;
  }
  return scheme.granularity == Granularity::kGroup ? scheme.group_size : cols;
}

// How many scales, or rows, of `length` numbers one thread takes at a time.
size_t taken_at_once(size_t length) {
  return std::max<size_t>(1, kNumbersAtOnce / length);
}

// The grid is a copy: bytes that are written through a reference could be its own.
void write_codes(IntegerGrid grid, const float* numbers, size_t count, uint8_t* codes) {
#pragma omp simd
  for (size_t i = 0; i < count; ++i) {
    codes[i] = static_cast<uint8_t>(static_cast<int>(grid.code(numbers[i])));
  }
}

void write_codes(const IntegerGrid& grid, std::span<const float> numbers,
                 std::span<uint8_t> codes) {
  for_ranges(numbers.size(), kNumbersAtOnce, [&](size_t first, size_t count) {
    write_codes(grid, &numbers[first], count, &codes[first]);
  });
}

void write_values(const IntegerGrid& grid, std::span<const uint8_t> codes, std::span<float> out) {
  for_ranges(out.size(), kNumbersAtOnce, [&](size_t first, size_t count) {
#pragma omp simd
    for (size_t i = first; i < first + count; ++i) {
      out[i] = grid.value(static_cast<float>(static_cast<int>(codes[i])));
    }
  });
}

void round_in_place(const IntegerGrid& grid, std::span<float> numbers) {
  for_ranges(numbers.size(), kNumbersAtOnce, [&](size_t first, size_t count) {
#pragma omp simd
    for (size_t i = first; i < first + count; ++i) numbers[i] = grid.value(grid.code(numbers[i]));
  });
}

// see(index, first): of each scale, and where its numbers begin; all threads.
template <typename See>
void for_each_scale(size_t numbers, size_t per_scale, const See& see) {
  for_ranges(numbers / per_scale, taken_at_once(per_scale), [&](size_t first, size_t count) {
    for (size_t s = first; s < first + count; ++s) see(s, s * per_scale);
  });
}

void encode_integers(std::span<const float> values, const EncodeOptions& options,
                     EncodedMatrix& matrix) {
  const Scheme& scheme = matrix.scheme;
  const size_t shared = numbers_per_scale(scheme, matrix.rows, matrix.cols);
  const size_t scales = values.size() / shared;
  matrix.codes.resize(values.size());
  matrix.scales.resize(scales);
  if (scheme.asymmetric || has_real_offsets(scheme)) matrix.offsets.resize(scales);
  for_each_scale(values.size(), shared, [&](size_t s, size_t first) {
    const auto numbers = values.subspan(first, shared);
    const IntegerGrid grid = fit_grid(scheme, numbers, options.kurtosis);
    write_codes(grid, numbers, std::span(matrix.codes).subspan(first, shared));
    matrix.scales[s] = grid.scale;
    if (scheme.asymmetric) matrix.offsets[s] = grid.zero;
    if (has_real_offsets(scheme)) matrix.offsets[s] = grid.offset;
  });
}

IntegerGrid grid_of(const EncodedMatrix& matrix, size_t s) {
  IntegerGrid grid;
  grid.scale = matrix.scales[s];
  if (has_real_offsets(matrix.scheme)) {
    grid.offset = matrix.offsets[s];
  } else {
    const auto half = static_cast<float>(1 << (matrix.scheme.bits - 1));
    grid.zero = matrix.scheme.asymmetric ? matrix.offsets[s] : half;
  }
  return grid;
}

}  // namespace

EncodedMatrix encode(const Scheme& scheme, std::span<const float> values, size_t rows, size_t cols,
                     const EncodeOptions& options) {
  ISOGLOSS_ASSERT(scheme.kind != SchemeKind::kNone);
  check_request(scheme, values, rows, cols, options);
  EncodedMatrix matrix{.scheme = scheme, .rows = rows, .cols = cols};
  if (scheme.kind != SchemeKind::kGgml) {
    encode_integers(values, options, matrix);
    return matrix;
  }
  const size_t row_bytes = stored_bytes(scheme, 1, cols);
  matrix.blocks.resize(rows * row_bytes);
  for_ranges(rows, taken_at_once(cols), [&](size_t first, size_t count) {
    encode_rows(scheme.type, values.subspan(first * cols, count * cols), cols, options.importance,
                &matrix.blocks[first * row_bytes]);
  });
  return matrix;
}

void decode(const EncodedMatrix& matrix, std::span<float> out) {
  const Scheme& scheme = matrix.scheme;
  const size_t cols = matrix.cols;
  ISOGLOSS_ASSERT(out.size() == matrix.rows * cols);
  if (scheme.kind == SchemeKind::kGgml) {
    const size_t row_bytes = stored_bytes(scheme, 1, cols);
    for_ranges(matrix.rows, taken_at_once(cols), [&](size_t first, size_t count) {
      decode_rows(scheme.type, &matrix.blocks[first * row_bytes], cols,
                  out.subspan(first * cols, count * cols));
    });
    return;
  }
  const size_t shared = numbers_per_scale(scheme, matrix.rows, cols);
  for_each_scale(out.size(), shared, [&](size_t s, size_t first) {
    write_values(grid_of(matrix, s), std::span(matrix.codes).subspan(first, shared),
                 out.subspan(first, shared));
  });
}

// As decode(encode()), without a copy of all codes.
void round_trip(const Scheme& scheme, std::span<float> values, size_t rows, size_t cols) {
  if (scheme.kind == SchemeKind::kNone) return;
  check_request(scheme, values, rows, cols, {});
  if (scheme.kind == SchemeKind::kGgml) {
    for_ranges(rows, taken_at_once(cols), [&](size_t first, size_t count) {
      const auto part = values.subspan(first * cols, count * cols);
      std::vector<std::byte> blocks(stored_bytes(scheme, count, cols));
      encode_rows(scheme.type, part, cols, {}, blocks.data());
      decode_rows(scheme.type, blocks.data(), cols, part);
    });
    return;
  }
  const size_t shared = numbers_per_scale(scheme, rows, cols);
  for_each_scale(values.size(), shared, [&](size_t, size_t first) {
    const auto numbers = values.subspan(first, shared);
    round_in_place(fit_grid(scheme, numbers), numbers);
  });
}

}  // namespace isogloss
