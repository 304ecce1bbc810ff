// What llama.cpp rounds before its products on the CPU.
#include <ggml-cpu.h>

#include <cmath>
#include <span>

#include "isogloss/base/error.h"
#include "isogloss/base/half.h"
#include "isogloss/base/vector_math.h"
#include "isogloss/device/device_impl.h"
#include "isogloss/device/rows_impl.h"

namespace isogloss {
namespace {

using RoundRow = void (*)(std::span<const float> row, float* out);

template <float (*kRound)(float)>
void round_numbers(std::span<const float> row, float* out) {
#pragma omp simd
  for (size_t i = 0; i < row.size(); ++i) out[i] = kRound(row[i]);
}

float keep(float x) {
  return x;
}

// Codes of -127 to 127 in blocks with a scale of their own.
template <size_t kBlock, float (*kRoundScale)(float)>
void round_to_8_bits(std::span<const float> row, float* out) {
  for (size_t first = 0; first < row.size(); first += kBlock) {
    const auto block = row.subspan(first, kBlock);
    const float step = vector_max_abs(block) / 127;
    const float inverse = step > 0 ? 1 / step : 0;
    const float scale = kRoundScale(step);
#pragma omp simd
    for (size_t i = 0; i < kBlock; ++i) {
      out[first + i] = std::nearbyint(block[i] * inverse) * scale;
    }
  }
}

template <RoundRow kRound>
void rounding_op(ggml_tensor* result, int thread, int threads, void*) {
  const Rows in(result->src[0]);
  const auto width = static_cast<size_t>(result->ne[0]);
  for_own_rows(result, thread, threads, [=](size_t token, float* out) {
    kRound({in[token], width}, out);
  });
}

// nullptr: nothing is rounded.
ggml_custom_op_t op_of(ggml_type read) {
  switch (read) {
    case GGML_TYPE_F32:
      return nullptr;
    case GGML_TYPE_F16:
      return rounding_op<round_numbers<round_to_f16>>;
    case GGML_TYPE_BF16:
      return rounding_op<round_numbers<round_to_bf16>>;
    case GGML_TYPE_Q8_0:
    case GGML_TYPE_Q8_1:  // Q8_0 and the sums of its blocks
      return rounding_op<round_to_8_bits<32, round_to_f16>>;
    case GGML_TYPE_Q8_K:
      return rounding_op<round_to_8_bits<256, keep>>;
    default:
      ISOGLOSS_ASSERT(false);
  }
}

}  // namespace

ggml_tensor* round_as_read(ggml_context* context, ggml_tensor* input, TensorType weights) {
  ISOGLOSS_ASSERT(input->nb[0] == sizeof(float));
  const ggml_type read = ggml_get_type_traits_cpu(static_cast<ggml_type>(weights))->vec_dot_type;
  ISOGLOSS_ASSERT(input->ne[0] % ggml_blck_size(read) == 0);
  const ggml_custom_op_t op = op_of(read);
  if (!op) return input;
  return ggml_custom_4d(context, GGML_TYPE_F32, input->ne[0], input->ne[1], 1, 1, &input, 1, op,
                        GGML_N_TASKS_MAX, nullptr);
}

}  // namespace isogloss
