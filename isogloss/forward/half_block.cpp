// The two halves of a decoder block, of every family.
#include "isogloss/base/error.h"
#include "isogloss/forward/graph_impl.h"

namespace isogloss {
namespace {

struct QueryKeyValue {
  ggml_tensor *q, *k, *v;
};

// Column range of a [cols, tokens] tensor.
ggml_tensor* columns(Graph& graph, ggml_tensor* tensor, size_t first, size_t count) {
  return ggml_view_2d(graph.context(), tensor, static_cast<int64_t>(count), tensor->ne[1],
                      tensor->nb[1], first * sizeof(float));
}

QueryKeyValue project(Graph& graph, ggml_tensor* input, size_t layer) {
  const ModelConfig& config = graph.config();
  if (config.roles.contains(Role::kQkv)) {
    ggml_tensor* all = graph.linear_by(Role::kQkv, Role::kQkvBias, input, layer);
    const size_t q = config.heads * config.head_dim;
    const size_t kv = config.kv_heads * config.head_dim;
    return {columns(graph, all, 0, q), columns(graph, all, q, kv), columns(graph, all, q + kv, kv)};
  }
  return {graph.linear_by(Role::kQuery, Role::kQueryBias, input, layer),
          graph.linear_by(Role::kKey, Role::kKeyBias, input, layer),
          graph.linear_by(Role::kValue, Role::kValueBias, input, layer)};
}

// Norm over each head, then rotation by place. [heads * head_dim, tokens] in and out.
ggml_tensor* norm_and_rotate(Graph& graph, ggml_tensor* input, Role head_norm,
                             const RotationShape* rotation, size_t layer) {
  input = graph.norm_by(head_norm, head_norm, input, layer);
  return rotation ? rotate(graph.context(), input, *rotation) : input;
}

}  // namespace

ggml_tensor* attention_branch(Graph& graph, ggml_tensor* input, const RotationShape* rotation,
                              const AttentionShape& shape, size_t layer) {
  auto [q, k, v] = project(graph, input, layer);
  q = graph.round_for_attention(norm_and_rotate(graph, q, Role::kQueryNorm, rotation, layer));
  k = graph.round_for_attention(norm_and_rotate(graph, k, Role::kKeyNorm, rotation, layer));
  v = graph.round_for_attention(v);
  ggml_tensor* mixed = packed_attention(graph.context(), q, k, v, shape);
  return attention_output(graph, mixed, layer);
}

ggml_tensor* attention_output(Graph& graph, ggml_tensor* mixed, size_t layer) {
  return graph.linear_by(Role::kAttentionOutput, Role::kAttentionOutputBias, mixed, layer);
}

ggml_tensor* mlp_branch(Graph& graph, ggml_tensor* input, size_t layer) {
  const ModelConfig& config = graph.config();
  ggml_tensor* gate = nullptr;
  ggml_tensor* up = nullptr;
  if (config.roles.contains(Role::kFfnGateUp)) {
    ggml_tensor* both = graph.linear_by(Role::kFfnGateUp, Role::kFfnGateUp, input, layer);
    gate = columns(graph, both, 0, config.ffn_width);
    up = columns(graph, both, config.ffn_width, config.ffn_width);
  } else {
    up = graph.linear_by(Role::kFfnUp, Role::kFfnUpBias, input, layer);
    if (config.roles.contains(Role::kFfnGate)) {
      gate = graph.linear_by(Role::kFfnGate, Role::kFfnGateBias, input, layer);
    }
  }
  ggml_tensor* inner = gate ? graph.activate(gate, up) : graph.activate(up, nullptr);
  return mlp_output(graph, inner, layer);
}

ggml_tensor* mlp_output(Graph& graph, ggml_tensor* inner, size_t layer) {
  return graph.linear_by(Role::kFfnDown, Role::kFfnDownBias, inner, layer);
}

}  // namespace isogloss
