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

// What an attention node needs beside its tensors; must outlive the graph's computation.
struct AttentionShape {
  std::span<const size_t> starts;  // [sequences + 1]: sequence s is tokens starts[s]..starts[s+1]
  size_t heads = 0;
  size_t kv_heads = 0;
  size_t head_dim = 0;
  float scale = 1;    // of q.k before softmax
  size_t window = 0;  // positions seen, the query's own included; 0: all before it
};

// Causal attention within each sequence of a packed batch. q: [heads * head_dim, tokens], k and v:
// [kv_heads * head_dim, tokens], F32, rows contiguous; the result has q's shape. ggml writes the
// innermost dimension first.
ggml_tensor* packed_attention(ggml_context* context, ggml_tensor* q, ggml_tensor* k, ggml_tensor* v,
                              const AttentionShape& shape);

// activation(gate), times `up` where that is not null. ggml's own GELU looks values up in an F16
// table; this one is exact to F32. F32 tensors of the same contiguous shape.
ggml_tensor* activate(ggml_context* context, Activation activation, ggml_tensor* gate,
                      ggml_tensor* up);

}  // namespace isogloss
