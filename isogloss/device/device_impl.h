// The inside of a device, for those who build graphs on it.
#pragma once

#include <ggml-backend.h>
#include <ggml.h>

#include <cstddef>
#include <span>
#include <string>

#include "isogloss/device/device.h"
#include "isogloss/model/model.h"

namespace isogloss {

struct Device::Impl {
  std::string name, description;
  size_t threads = 1;
  ggml_backend_t backend = nullptr;

  ~Impl();
};

// The type of matrices that linear() takes. For kBf16 it is BF16, or F32 with numbers rounded to
// BF16 where the processor has no instructions for it: a product of two BF16 numbers is exact in
// F32, so that only the order of its sums differs, and ggml's own are several times slower.
TensorType product_type(ComputeType compute);

// matrix * input + bias, its factors in the precision of `compute`, its sums in F32; `bias` may be
// null. matrix: [inputs, outputs] of product_type(compute); input: F32 [inputs, tokens]; bias: F32
// [outputs]. All contiguous.
ggml_tensor* linear(ggml_context* context, ggml_tensor* matrix, ggml_tensor* input,
                    ggml_tensor* bias, ComputeType compute);

// Whether oneDNN is there, and the products it is used for.
enum class OneDnn { kAbsent, kF32, kF32AndBf16 };
OneDnn onednn();

// linear() by oneDNN, which must be there; else ggml's products serve.
ggml_tensor* onednn_linear(ggml_context* context, ggml_tensor* matrix, ggml_tensor* input,
                           ggml_tensor* bias, ComputeType compute);

// What an attention node needs beside its tensors; must outlive the graph's computation.
struct AttentionShape {
  std::span<const size_t> starts;  // [sequences + 1]: sequence s is tokens starts[s]..starts[s+1]
  size_t heads = 0;
  size_t kv_heads = 0;
  size_t head_dim = 0;
  float scale = 1;                // of q.k before softmax
  size_t window = 0;              // positions seen, the query's own included; 0: all before it
  float softcap = 0;              // scores = cap * tanh(scores / cap); 0: none
  std::span<const float> slopes;  // [heads]: what a score loses a position of distance; or empty
};

// Causal attention within each sequence of a packed batch. q: [heads * head_dim, tokens], k and v:
// [kv_heads * head_dim, tokens], F32, rows contiguous; the result has q's shape. ggml writes the
// innermost dimension first.
ggml_tensor* packed_attention(ggml_context* context, ggml_tensor* q, ggml_tensor* k, ggml_tensor* v,
                              const AttentionShape& shape);

// What a rotation needs beside its tensor; must outlive the graph's computation.
struct RotationShape {
  std::span<const float> table;     // [row][dims]: cosine and sine of each pair in turn
  std::span<const int32_t> places;  // [tokens]: each one's row of the table
  size_t head_dim = 0;
  size_t dims = 0;  // numbers of a head that rotate, the first ones
  RopePairs pairs = RopePairs::kHalves;
};

// Rotary embedding of each head of [heads * head_dim, tokens], F32, rows contiguous; the result is
// contiguous.
ggml_tensor* rotate(ggml_context* context, ggml_tensor* input, const RotationShape& shape);

// What a norm needs beside its tensors; must outlive the graph's computation.
struct NormShape {
  NormKind kind = NormKind::kRmsNorm;
  float epsilon = 0;
};

// Norm of `input`, [groups * size, tokens], over the `size` numbers of each group, times `scale`,
// plus `bias` where that is not null. scale: [size, 1], or [size, groups] for a row to each group;
// bias: [size]. F32, rows contiguous; the result is contiguous. Sums in double.
ggml_tensor* normalize(ggml_context* context, ggml_tensor* input, ggml_tensor* scale,
                       ggml_tensor* bias, const NormShape& shape);

// cap * tanh(input / cap), off by 3e-7 of the cap at most. F32, rows contiguous; `cap` must outlive
// the graph's computation.
ggml_tensor* soft_cap(ggml_context* context, ggml_tensor* input, const float& cap);

// activation(gate), times `up` where that is not null, exact to F32; or as llama.cpp computes it,
// whose GELU by tanh comes from a table of F16 numbers by F16 numbers. F32 tensors of the same
// shape, rows contiguous.
enum class Values { kExact, kAsLlama };
ggml_tensor* activate(ggml_context* context, Activation activation, ggml_tensor* gate,
                      ggml_tensor* up, Values values = Values::kExact);

// Rows as llama.cpp's products on the CPU read them beside weights of a type (`vec_dot_type` of
// ggml-cpu.c): F16, BF16, or 8 bits with a scale for each 32 or 256 numbers. F32 [size, tokens],
// rows contiguous; the result is contiguous, and `input` itself beside weights of F32.
ggml_tensor* round_as_read(ggml_context* context, ggml_tensor* input, TensorType weights);

}  // namespace isogloss
