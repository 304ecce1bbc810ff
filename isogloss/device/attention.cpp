// Causal attention over packed sequences, inside ggml's graph and on ggml's threads. The keys of
// one head of one sequence are turned, and its values gathered, into memory without gaps; then a
// few queries at a time meet all the keys they may see as two small products whose sums stay in
// registers.
#include <algorithm>
#include <vector>

#include "isogloss/base/error.h"
#include "isogloss/base/vector_math.h"
#include "isogloss/device/device_impl.h"

namespace isogloss {
namespace {

// Rows and columns of a tile: its sums, and a row of factors, fill the vector registers, of which
// there must be enough sums to hide the latency of a multiply-add.
#ifdef __AVX512F__
constexpr size_t kQueries = 8;
constexpr size_t kColumns = 32;
#else
constexpr size_t kQueries = 4;
constexpr size_t kColumns = 16;
#endif

size_t whole_tiles(size_t columns) {
  return (columns + kColumns - 1) / kColumns * kColumns;
}

// A row-major matrix whose rows lie `stride` floats apart.
struct Matrix {
  const float* data;
  size_t stride;
};

// sums[r][c] = sum over i < depth of left[r][i] * right[i][c], for one tile.
void multiply_tile(Matrix left, Matrix right, size_t depth, float* sums, size_t stride) {
  float tile[kQueries][kColumns] = {};
  for (size_t i = 0; i < depth; ++i) {
    const float* columns = right.data + i * right.stride;
    for (size_t r = 0; r < kQueries; ++r) {
      const float factor = left.data[r * left.stride + i];
#pragma omp simd
      for (size_t c = 0; c < kColumns; ++c) tile[r][c] += factor * columns[c];
    }
  }
  for (size_t r = 0; r < kQueries; ++r) std::copy_n(tile[r], kColumns, sums + r * stride);
}

// Over `columns` columns, whole tiles.
void multiply(Matrix left, Matrix right, size_t depth, size_t columns, float* sums, size_t stride) {
  for (size_t c = 0; c < columns; c += kColumns) {
    multiply_tile(left, {right.data + c, right.stride}, depth, sums + c, stride);
  }
}

// Softmax in place; the sum in double.
void softmax(std::span<float> scores) {
  const float most = vector_max(scores);
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < scores.size(); ++i) {
    scores[i] = vector_exp(scores[i] - most);
    sum += static_cast<double>(scores[i]);
  }
  const float scale = static_cast<float>(1 / sum);
#pragma omp simd
  for (size_t i = 0; i < scores.size(); ++i) scores[i] *= scale;
}

// cap * tanh(score / cap), and what distance takes off, of the scores of the last positions seen.
void adjust(const AttentionShape& shape, size_t head, std::span<float> scores) {
  if (shape.softcap != 0) {
    const float twice = 2 / shape.softcap;
#pragma omp simd
    for (size_t j = 0; j < scores.size(); ++j) {
      scores[j] = shape.softcap * (1 - 2 / (1 + vector_exp(twice * scores[j])));
    }
  }
  if (shape.slopes.empty()) return;
  const float slope = shape.slopes[head];
  for (size_t j = 0; j < scores.size(); ++j) {
    scores[j] -= slope * static_cast<float>(scores.size() - 1 - j);
  }
}

// One head of one sequence of `length` tokens. Memory is kept from one to the next.
class HeadAttention {
 public:
  explicit HeadAttention(const AttentionShape& shape)
      : shape_(shape), dim_(shape.head_dim), padded_dim_(whole_tiles(dim_)) {}

  // q, k and v begin at the head's numbers of the sequence's first token.
  void run(Matrix q, Matrix k, Matrix v, size_t length, size_t head, float* out,
           size_t out_stride) {
    gather(k, v, length);
    for (size_t first = 0; first < length; first += kQueries) {
      const size_t count = std::min(kQueries, length - first);
      gather_queries(q, first, count);
      attend(first, count, head);
      for (size_t r = 0; r < count; ++r) {
        std::copy_n(&mixed_[r * padded_dim_], dim_, out + (first + r) * out_stride);
      }
    }
  }

 private:
  // Keys as columns, values as rows; both padded with zeros to whole tiles.
  void gather(Matrix k, Matrix v, size_t length) {
    key_stride_ = whole_tiles(length) + kColumns;  // a tile may begin anywhere
    keys_.assign(dim_ * key_stride_, 0);
    values_.assign(length * padded_dim_, 0);
    for (size_t first = 0; first < length; first += kColumns) {
      const size_t count = std::min(kColumns, length - first);
      for (size_t d = 0; d < dim_; ++d) {
        float* row = &keys_[d * key_stride_ + first];
        const float* keys = k.data + first * k.stride + d;
        for (size_t c = 0; c < count; ++c) row[c] = keys[c * k.stride];
      }
    }
    for (size_t token = 0; token < length; ++token) {
      std::copy_n(v.data + token * v.stride, dim_, &values_[token * padded_dim_]);
    }
    scores_.resize(kQueries * key_stride_);
    mixed_.resize(kQueries * padded_dim_);
  }

  void gather_queries(Matrix q, size_t first, size_t count) {
    queries_.assign(kQueries * dim_, 0);
    for (size_t r = 0; r < count; ++r) {
      const float* query = q.data + (first + r) * q.stride;
      for (size_t d = 0; d < dim_; ++d) queries_[r * dim_ + d] = shape_.scale * query[d];
    }
  }

  // Queries first .. first + count, against the keys that any of them sees.
  void attend(size_t first, size_t count, size_t head) {
    const size_t end = first + count;
    const size_t from = shape_.window == 0 || first < shape_.window ? 0 : first + 1 - shape_.window;
    const size_t seen = end - from;
    multiply({queries_.data(), dim_}, {&keys_[from], key_stride_}, dim_, whole_tiles(seen),
             scores_.data(), key_stride_);
    for (size_t r = 0; r < kQueries; ++r) {
      float* row = &scores_[r * key_stride_];
      const size_t own_end = std::min(first + r + 1, end) - from;
      const size_t own_from =
          shape_.window == 0 || own_end < shape_.window ? 0 : own_end - shape_.window;
      const std::span own(row + own_from, own_end - own_from);
      adjust(shape_, head, own);
      softmax(own);
      std::fill(row, own.data(), 0.0F);
      std::fill(own.data() + own.size(), row + seen, 0.0F);
    }
    multiply({scores_.data(), key_stride_}, {&values_[from * padded_dim_], padded_dim_}, seen,
             padded_dim_, mixed_.data(), padded_dim_);
  }

  const AttentionShape& shape_;
  size_t dim_, padded_dim_;
  size_t key_stride_ = 0;
  std::vector<float> keys_, values_, queries_, scores_, mixed_;
};

Matrix rows_of(const ggml_tensor* tensor, size_t first_row, size_t first_column) {
  const size_t stride = tensor->nb[1] / sizeof(float);
  return {static_cast<const float*>(tensor->data) + first_row * stride + first_column, stride};
}

// Pairs of (sequence, head) are dealt to the threads in turn.
void attention_op(ggml_tensor* result, int thread, int threads, void* user) {
  const auto& shape = *static_cast<const AttentionShape*>(user);
  HeadAttention attention(shape);
  const size_t tasks = (shape.starts.size() - 1) * shape.heads;
  const size_t out_stride = result->nb[1] / sizeof(float);
  for (size_t task = static_cast<size_t>(thread); task < tasks;
       task += static_cast<size_t>(threads)) {
    const size_t sequence = task / shape.heads;
    const size_t head = task % shape.heads;
    const size_t first = shape.starts[sequence];
    const size_t at = head * shape.head_dim;
    const size_t kv_at = head / (shape.heads / shape.kv_heads) * shape.head_dim;
    attention.run(rows_of(result->src[0], first, at), rows_of(result->src[1], first, kv_at),
                  rows_of(result->src[2], first, kv_at), shape.starts[sequence + 1] - first, head,
                  static_cast<float*>(result->data) + first * out_stride + at, out_stride);
  }
}

}  // namespace

ggml_tensor* packed_attention(ggml_context* context, ggml_tensor* q, ggml_tensor* k, ggml_tensor* v,
                              const AttentionShape& shape) {
  ISOGLOSS_ASSERT(q->ne[0] == static_cast<int64_t>(shape.heads * shape.head_dim));
  ISOGLOSS_ASSERT(k->ne[0] == static_cast<int64_t>(shape.kv_heads * shape.head_dim));
  ISOGLOSS_ASSERT(q->ne[1] == static_cast<int64_t>(shape.starts.back()));
  ISOGLOSS_ASSERT(shape.slopes.empty() || shape.slopes.size() == shape.heads);
  ggml_tensor* inputs[] = {q, k, v};
  return ggml_custom_4d(context, GGML_TYPE_F32, q->ne[0], q->ne[1], 1, 1, inputs, 3, attention_op,
                        GGML_N_TASKS_MAX, const_cast<AttentionShape*>(&shape));
}

}  // namespace isogloss
