// Operations between products that ggml does not have in the form we need: norms in one pass over
// memory, rotation by any table, activations and caps exact to F32. They run inside ggml's graph,
// on ggml's threads.
#include <algorithm>
#include <cmath>

#include "isogloss/base/error.h"
#include "isogloss/base/half.h"
#include "isogloss/base/vector_math.h"
#include "isogloss/device/device_impl.h"
#include "isogloss/device/rows_impl.h"

namespace isogloss {
namespace {

// One head, from `in` to `out`.
void rotate_head(const RotationShape& shape, const float* angles, const float* in, float* out) {
  const bool halves = shape.pairs == RopePairs::kHalves;
  const size_t pairs = shape.dims / 2;
  const size_t step = halves ? 1 : 2;       // between the first numbers of two pairs
  const size_t apart = halves ? pairs : 1;  // between the numbers of a pair
  for (size_t i = 0; i < pairs; ++i) {
    const float first = in[step * i];
    const float second = in[step * i + apart];
    const float cosine = angles[2 * i];
    const float sine = angles[2 * i + 1];
    out[step * i] = first * cosine - second * sine;
    out[step * i + apart] = first * sine + second * cosine;
  }
  std::copy(in + shape.dims, in + shape.head_dim, out + shape.dims);
}

void rotation_op(ggml_tensor* result, int thread, int threads, void* user) {
  const auto& shape = *static_cast<const RotationShape*>(user);
  const Rows in(result->src[0]);
  const size_t width = static_cast<size_t>(result->ne[0]);
  for_own_rows(result, thread, threads, [&](size_t token, float* out) {
    const auto place = static_cast<size_t>(shape.places[token]);
    const float* angles = shape.table.data() + place * shape.dims;
    for (size_t at = 0; at < width; at += shape.head_dim) {
      rotate_head(shape, angles, in[token] + at, out + at);
    }
  });
}

double sum_of(std::span<const float> row) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < row.size(); ++i) sum += static_cast<double>(row[i]);
  return sum;
}

double sum_of_squares(std::span<const float> row, float mean) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < row.size(); ++i) {
    const float distance = row[i] - mean;
    sum += static_cast<double>(distance) * static_cast<double>(distance);
  }
  return sum;
}

// `bias` may be null.
void norm_row(const NormShape& shape, std::span<const float> in, const float* scale,
              const float* bias, float* out) {
  const auto count = static_cast<double>(in.size());
  const bool centred = shape.kind == NormKind::kLayerNorm;
  const float mean = centred ? static_cast<float>(sum_of(in) / count) : 0;
  const double variance = sum_of_squares(in, mean) / count;
  const auto factor =
      static_cast<float>(1 / std::sqrt(variance + static_cast<double>(shape.epsilon)));
#pragma omp simd
  for (size_t i = 0; i < in.size(); ++i) out[i] = (in[i] - mean) * factor * scale[i];
  if (!bias) return;
#pragma omp simd
  for (size_t i = 0; i < in.size(); ++i) out[i] += bias[i];
}

void norm_op(ggml_tensor* result, int thread, int threads, void* user) {
  const auto& shape = *static_cast<const NormShape*>(user);
  const Rows in(result->src[0]);
  const Rows scales(result->src[1]);
  const float* bias = result->src[2] ? Rows(result->src[2])[0] : nullptr;
  const size_t width = static_cast<size_t>(result->ne[0]);
  const size_t size = static_cast<size_t>(result->src[1]->ne[0]);
  const size_t scale_rows = static_cast<size_t>(result->src[1]->ne[1]);
  for_own_rows(result, thread, threads, [=, &shape](size_t token, float* out) {
    for (size_t group = 0; group < width / size; ++group) {
      norm_row(shape, {in[token] + group * size, size}, scales[group % scale_rows], bias,
               out + group * size);
    }
  });
}

// x / (1 + e^-2u) is x * (1 + tanh(u)) / 2 without its cancellation (Hendrycks & Gimpel 2016).
float gelu_tanh(float x) {
  constexpr float kTwoSqrt2OverPi = 1.59576912160573F;
  return x / (1 + vector_exp(-kTwoSqrt2OverPi * (x + 0.044715F * x * x * x)));
}

// ggml's ggml_vec_gelu_f32: its table has the values of all F16 numbers, as F16.
float gelu_tanh_by_table(float x) {
  const float value = round_to_f16(gelu_tanh(round_to_f16(x)));
  return std::fabs(x) < 10 ? value : std::max(x, 0.0F);
}

// x * erfc(-x / sqrt 2) / 2. The complementary error function of |z| is t exp(-z^2 + p(t)) with
// t = 1 / (1 + |z| / 2) and a polynomial p of degree 9, its relative error below 1.2e-7 everywhere
// (Numerical Recipes, section 6.2, a Chebyshev fit).
float gelu(float x) {
  constexpr float kSqrtHalf = 0.70710678118654752F;
  const float z = std::fabs(x) * kSqrtHalf;
  const float t = 1 / (1 + 0.5F * z);
  float p = 0.17087277F;
  p = p * t - 0.82215223F;
  p = p * t + 1.48851587F;
  p = p * t - 1.13520398F;
  p = p * t + 0.27886807F;
  p = p * t - 0.18628806F;
  p = p * t + 0.09678418F;
  p = p * t + 0.37409196F;
  p = p * t + 1.00002368F;
  p = p * t - 1.26551223F;
  const float tail = t * vector_exp(p - z * z);
  return 0.5F * x * (x < 0 ? tail : 2 - tail);
}

float silu(float x) {
  return x / (1 + vector_exp(-x));
}

float relu(float x) {
  return x < 0 ? 0 : x;
}

// cap * tanh(x / cap).
float soften(float x, float cap) {
  return cap * (1 - 2 / (1 + vector_exp(2 / cap * x)));
}

void soft_cap_op(ggml_tensor* result, int thread, int threads, void* user) {
  const float cap = *static_cast<const float*>(user);
  const size_t width = static_cast<size_t>(result->ne[0]);
  const Rows in(result->src[0]);
  for_own_rows(result, thread, threads, [=](size_t token, float* out) {
    const float* row = in[token];
#pragma omp simd
    for (size_t i = 0; i < width; ++i) out[i] = soften(row[i], cap);
  });
}

template <float (*kFunction)(float)>
void activation_op(ggml_tensor* result, int thread, int threads, void*) {
  const size_t width = static_cast<size_t>(result->ne[0]);
  const Rows gates(result->src[0]);
  const ggml_tensor* ups = result->src[1];
  for_own_rows(result, thread, threads, [=](size_t token, float* out) {
    const float* gate = gates[token];
#pragma omp simd
    for (size_t i = 0; i < width; ++i) out[i] = kFunction(gate[i]);
    if (!ups) return;
    const float* up = Rows(ups)[token];
#pragma omp simd
    for (size_t i = 0; i < width; ++i) out[i] *= up[i];
  });
}

ggml_custom_op_t op_of(Activation activation, Values values) {
  switch (activation) {
    case Activation::kGelu:
      return activation_op<gelu>;
    case Activation::kGeluTanh:
      return values == Values::kAsLlama ? activation_op<gelu_tanh_by_table>
                                        : activation_op<gelu_tanh>;
    case Activation::kRelu:
      return activation_op<relu>;
    case Activation::kSilu:
      return activation_op<silu>;
  }
  ISOGLOSS_ASSERT(false);
}

}  // namespace

ggml_tensor* rotate(ggml_context* context, ggml_tensor* input, const RotationShape& shape) {
  ISOGLOSS_ASSERT(input->nb[0] == sizeof(float));
  ISOGLOSS_ASSERT(input->ne[0] % static_cast<int64_t>(shape.head_dim) == 0);
  ISOGLOSS_ASSERT(shape.dims <= shape.head_dim);
  ISOGLOSS_ASSERT(static_cast<size_t>(input->ne[1]) == shape.places.size());
  return ggml_custom_4d(context, GGML_TYPE_F32, input->ne[0], input->ne[1], 1, 1, &input, 1,
                        rotation_op, GGML_N_TASKS_MAX, const_cast<RotationShape*>(&shape));
}

ggml_tensor* normalize(ggml_context* context, ggml_tensor* input, ggml_tensor* scale,
                       ggml_tensor* bias, const NormShape& shape) {
  ISOGLOSS_ASSERT(input->nb[0] == sizeof(float) && scale->nb[0] == sizeof(float));
  ISOGLOSS_ASSERT(input->ne[0] % scale->ne[0] == 0);
  ISOGLOSS_ASSERT(scale->ne[1] == 1 || scale->ne[0] * scale->ne[1] == input->ne[0]);
  ISOGLOSS_ASSERT(!bias || ggml_nelements(bias) == scale->ne[0]);
  ggml_tensor* inputs[] = {input, scale, bias};
  return ggml_custom_4d(context, GGML_TYPE_F32, input->ne[0], input->ne[1], 1, 1, inputs,
                        bias ? 3 : 2, norm_op, GGML_N_TASKS_MAX, const_cast<NormShape*>(&shape));
}

ggml_tensor* soft_cap(ggml_context* context, ggml_tensor* input, const float& cap) {
  ISOGLOSS_ASSERT(input->nb[0] == sizeof(float));
  return ggml_custom_4d(context, GGML_TYPE_F32, input->ne[0], input->ne[1], 1, 1, &input, 1,
                        soft_cap_op, GGML_N_TASKS_MAX, const_cast<float*>(&cap));
}

ggml_tensor* activate(ggml_context* context, Activation activation, ggml_tensor* gate,
                      ggml_tensor* up, Values values) {
  ISOGLOSS_ASSERT(gate->nb[0] == sizeof(float));
  ISOGLOSS_ASSERT(!up || (up->nb[0] == sizeof(float) && ggml_are_same_shape(gate, up)));
  ggml_tensor* inputs[] = {gate, up};
  return ggml_custom_4d(context, GGML_TYPE_F32, gate->ne[0], gate->ne[1], 1, 1, inputs, up ? 2 : 1,
                        op_of(activation, values), GGML_N_TASKS_MAX, nullptr);
}

}  // namespace isogloss
