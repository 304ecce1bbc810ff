// The operations between products that ggml does not have in the form we need: attention over
// packed sequences, and activations exact to F32. They run inside ggml's graph, on ggml's threads.
#include <algorithm>
#include <cmath>
#include <vector>

#include "isogloss/base/error.h"
#include "isogloss/base/vector_math.h"
#include "isogloss/device/device_impl.h"

namespace isogloss {
namespace {

// Rows of a [columns, tokens] tensor.
struct Rows {
  const char* data;
  size_t stride;

  explicit Rows(const ggml_tensor* tensor)
      : data(static_cast<const char*>(tensor->data)), stride(tensor->nb[1]) {}
  const float* operator[](size_t row) const {
    return reinterpret_cast<const float*>(data + row * stride);
  }
};

float dot(const float* a, const float* b, size_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// Softmax in place; the sum in double.
void softmax(std::span<float> scores) {
  float most = scores[0];
#pragma omp simd reduction(max : most)
  for (size_t i = 0; i < scores.size(); ++i) most = std::max(most, scores[i]);
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

struct AttentionTensors {
  Rows q, k, v;
  float* out;
  size_t out_stride;  // floats
};

// One head of one sequence, query by query.
void attend(const AttentionTensors& tensors, const AttentionShape& shape, size_t first, size_t last,
            size_t head, std::vector<float>& scores) {
  const size_t dim = shape.head_dim;
  const size_t q_offset = head * dim;
  const size_t kv_offset = head / (shape.heads / shape.kv_heads) * dim;
  for (size_t token = first; token < last; ++token) {
    const size_t seen = token - first + 1;
    const size_t count = shape.window == 0 ? seen : std::min(seen, shape.window);
    const size_t from = token + 1 - count;
    const float* query = tensors.q[token] + q_offset;
    scores.resize(count);
    for (size_t j = 0; j < count; ++j) {
      scores[j] = shape.scale * dot(query, tensors.k[from + j] + kv_offset, dim);
    }
    softmax(scores);
    float* out = tensors.out + token * tensors.out_stride + q_offset;
    std::fill_n(out, dim, 0.0F);
    for (size_t j = 0; j < count; ++j) {
      const float weight = scores[j];
      const float* value = tensors.v[from + j] + kv_offset;
#pragma omp simd
      for (size_t d = 0; d < dim; ++d) out[d] += weight * value[d];
    }
  }
}

// Pairs of (sequence, head) are dealt to the threads in turn.
void attention_op(ggml_tensor* result, int thread, int threads, void* user) {
  const auto& shape = *static_cast<const AttentionShape*>(user);
  const AttentionTensors tensors{Rows(result->src[0]), Rows(result->src[1]), Rows(result->src[2]),
                                 static_cast<float*>(result->data), result->nb[1] / sizeof(float)};
  std::vector<float> scores;
  const size_t sequences = shape.starts.size() - 1;
  const size_t stride = static_cast<size_t>(threads);
  for (size_t task = static_cast<size_t>(thread); task < sequences * shape.heads; task += stride) {
    const size_t sequence = task / shape.heads;
    attend(tensors, shape, shape.starts[sequence], shape.starts[sequence + 1], task % shape.heads,
           scores);
  }
}

// x / (1 + e^-2u) is x * (1 + tanh(u)) / 2 without its cancellation (Hendrycks & Gimpel 2016).
float gelu_tanh(float x) {
  constexpr float kTwoSqrt2OverPi = 1.59576912160573F;
  return x / (1 + vector_exp(-kTwoSqrt2OverPi * (x + 0.044715F * x * x * x)));
}
float silu(float x) {
  return x / (1 + vector_exp(-x));
}

template <float (*kFunction)(float)>
void activation_op(ggml_tensor* result, int thread, int threads, void*) {
  const size_t count = static_cast<size_t>(ggml_nelements(result));
  const size_t begin = count * static_cast<size_t>(thread) / static_cast<size_t>(threads);
  const size_t end = count * (static_cast<size_t>(thread) + 1) / static_cast<size_t>(threads);
  const auto* gate = static_cast<const float*>(result->src[0]->data);
  auto* out = static_cast<float*>(result->data);
#pragma omp simd
  for (size_t i = begin; i < end; ++i) out[i] = kFunction(gate[i]);
  if (!result->src[1]) return;
  const auto* up = static_cast<const float*>(result->src[1]->data);
#pragma omp simd
  for (size_t i = begin; i < end; ++i) out[i] *= up[i];
}

}  // namespace

ggml_tensor* packed_attention(ggml_context* context, ggml_tensor* q, ggml_tensor* k, ggml_tensor* v,
                              const AttentionShape& shape) {
  ISOGLOSS_ASSERT(q->ne[0] == static_cast<int64_t>(shape.heads * shape.head_dim));
  ISOGLOSS_ASSERT(k->ne[0] == static_cast<int64_t>(shape.kv_heads * shape.head_dim));
  ISOGLOSS_ASSERT(q->ne[1] == static_cast<int64_t>(shape.starts.back()));
  ggml_tensor* inputs[] = {q, k, v};
  return ggml_custom_4d(context, GGML_TYPE_F32, q->ne[0], q->ne[1], 1, 1, inputs, 3, attention_op,
                        GGML_N_TASKS_MAX, const_cast<AttentionShape*>(&shape));
}

ggml_tensor* activate(ggml_context* context, Activation activation, ggml_tensor* gate,
                      ggml_tensor* up) {
  ISOGLOSS_ASSERT(ggml_is_contiguous(gate) && (!up || ggml_are_same_shape(gate, up)));
  ggml_tensor* inputs[] = {gate, up};
  const auto op = activation == Activation::kSilu ? activation_op<silu> : activation_op<gelu_tanh>;
  return ggml_custom_4d(context, GGML_TYPE_F32, gate->ne[0], gate->ne[1], 1, 1, inputs, up ? 2 : 1,
                        op, GGML_N_TASKS_MAX, nullptr);
}

}  // namespace isogloss
