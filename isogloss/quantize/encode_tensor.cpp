// Tensors of a model to codes, some rows at a time: numbers stay in a cache between decoding and
// encoding, and those of an embedding of 262144 rows are never there together.
#include "isogloss/base/error.h"
#include "isogloss/base/parallel.h"
#include "isogloss/quantize/quantize.h"

namespace isogloss {
namespace {

// Whether the codes of a row do not depend on those of others, and it is stored alone too.
bool has_rows_alone(const Scheme& scheme, const TensorView& tensor) {
  if (tensor.order != StorageOrder::kRows) return false;
  if (scheme.kind == SchemeKind::kGgml) return true;
  return scheme.kind == SchemeKind::kInteger && scheme.granularity != Granularity::kTensor;
}

EncodedMatrix encode_whole(const Scheme& scheme, const TensorView& tensor,
                           const EncodeOptions& options) {
  std::vector<float> numbers(tensor.count());
  decode(tensor, numbers);
  try {
    return encode(scheme, numbers, tensor.rows, tensor.cols, options);
  } catch (const Error& error) {
    fail(error.code(), "'{}': {}", tensor.name, error.what());
  }
}

// Puts what stands for `count` rows from `first` on in its place.
template <typename Number>
void place(const std::vector<Number>& part, size_t first, size_t count,
           std::vector<Number>& whole) {
  const size_t per_row = part.size() / count;
  std::ranges::copy(part, whole.begin() + static_cast<std::ptrdiff_t>(first * per_row));
}

class RowEncoder {
 public:
  RowEncoder(const Scheme& scheme, const TensorView& tensor, const EncodeOptions& options)
      : tensor_(tensor), options_(options) {
    matrix_.scheme = scheme;
    matrix_.rows = tensor.rows;
    matrix_.cols = tensor.cols;
  }

  EncodedMatrix run() {
    // The first row tells how much the others take.
    const EncodedMatrix first = encode_part(0, 1);
    matrix_.blocks.resize(first.blocks.size() * tensor_.rows);
    matrix_.codes.resize(first.codes.size() * tensor_.rows);
    matrix_.scales.resize(first.scales.size() * tensor_.rows);
    matrix_.offsets.resize(first.offsets.size() * tensor_.rows);
    const size_t at_once = std::max<size_t>(1, kNumbersAtOnce / tensor_.cols);
    for_ranges(tensor_.rows, at_once, [&](size_t row, size_t count) {
      const EncodedMatrix part = encode_part(row, count);
      place(part.blocks, row, count, matrix_.blocks);
      place(part.codes, row, count, matrix_.codes);
      place(part.scales, row, count, matrix_.scales);
      place(part.offsets, row, count, matrix_.offsets);
    });
    return std::move(matrix_);
  }

 private:
  EncodedMatrix encode_part(size_t first, size_t count) const {
    thread_local std::vector<float> numbers;
    numbers.resize(count * tensor_.cols);
    decode(rows_of(tensor_, first, count), numbers);
    return encode(matrix_.scheme, numbers, count, tensor_.cols, options_);
  }

  const TensorView& tensor_;
  const EncodeOptions& options_;
  EncodedMatrix matrix_;
};

}  // namespace

EncodedMatrix encode(const Scheme& scheme, const TensorView& tensor, const EncodeOptions& options) {
  if (!has_rows_alone(scheme, tensor)) return encode_whole(scheme, tensor, options);
  try {
    return RowEncoder(scheme, tensor, options).run();
  } catch (const Error&) {
    return encode_whole(scheme, tensor, options);  // says the same, with the place in the tensor
  }
}

}  // namespace isogloss
