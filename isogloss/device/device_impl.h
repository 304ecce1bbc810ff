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

// matrix * input + bias; `bias` may be null. matrix: [inputs, outputs], F32 or BF16, in which its
// products are computed; input: F32 [inputs, tokens]; bias: F32 [outputs]. All contiguous.
ggml_tensor* linear(ggml_context* context, ggml_tensor* matrix, ggml_tensor* input,
                    ggml_tensor* bias);

// The same by oneDNN; nullptr where it is not there or has no kernel for the type on this processor
// (before AVX-512 it has none for BF16), so that ggml's must serve.
ggml_tensor* onednn_linear(ggml_context* context, ggml_tensor* matrix, ggml_tensor* input,
                           ggml_tensor* bias);

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

// activation(gate), times `up` where that is not null. ggml's own GELU looks values up in an F16
// table; this one is exact to F32. F32 tensors of the same shape, rows contiguous.
ggml_tensor* activate(ggml_context* context, Activation activation, ggml_tensor* gate,
                      ggml_tensor* up);

}  // namespace isogloss
