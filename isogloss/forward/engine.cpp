// The decoder as ggml graphs, one for each half of a block.
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "isogloss/base/error.h"
#include "isogloss/device/device_impl.h"
#include "isogloss/forward/forward.h"
#include "isogloss/forward/weights_impl.h"

namespace isogloss {
namespace {

constexpr size_t kGraphNodes = 128;  // a half-block takes about 30

struct ContextDeleter {
  void operator()(ggml_context* context) const { ggml_free(context); }
};
struct AllocatorDeleter {
  void operator()(ggml_gallocr* allocator) const { ggml_gallocr_free(allocator); }
};
using Context = std::unique_ptr<ggml_context, ContextDeleter>;
using Allocator = std::unique_ptr<ggml_gallocr, AllocatorDeleter>;

Context new_context() {
  const size_t bytes = kGraphNodes * ggml_tensor_overhead() +
                       ggml_graph_overhead_custom(kGraphNodes, /*grads=*/false);
  return Context(ggml_init({bytes, nullptr, /*no_alloc=*/true}));
}

// One graph under construction: tensors over memory of others, and the nodes between them. Lives
// until it was computed, and keeps the weights it uses alive until then.
class Graph {
 public:
  Graph(const Variant& variant, WeightCache& cache)
      : variant_(variant), cache_(cache), context_(new_context()) {}

  ggml_context* context() { return context_.get(); }
  const ModelConfig& config() const { return variant_.model->config(); }

  ggml_tensor* external(void* data, TensorType type, size_t cols, size_t rows) {
    ggml_tensor* tensor =
        ggml_new_tensor_2d(context(), static_cast<ggml_type>(type), static_cast<int64_t>(cols),
                           static_cast<int64_t>(rows));
    tensor->data = data;
    return tensor;
  }

  // nullptr when the model has no tensor of that role.
  ggml_tensor* find_weight(Role role, size_t layer = kNoLayer) {
    if (!cache_.has(variant_, role, layer)) return nullptr;
    const Weight weight = cache_.get(variant_, role, layer);
    used_.push_back(weight.buffer);
    return external(weight.buffer->data(), weight.type, weight.cols, weight.rows);
  }
  ggml_tensor* weight(Role role, size_t layer = kNoLayer) {
    ggml_tensor* tensor = find_weight(role, layer);
    ISOGLOSS_ASSERT(tensor != nullptr);
    return tensor;
  }

  // Over the innermost dimension.
  ggml_tensor* norm(ggml_tensor* input, ggml_tensor* scale, ggml_tensor* bias) {
    const float epsilon = config().norm_epsilon;
    ggml_tensor* normed = config().norm == NormKind::kLayerNorm
                              ? ggml_norm(context(), input, epsilon)
                              : ggml_rms_norm(context(), input, epsilon);
    normed = ggml_mul(context(), normed, scale);
    return bias ? ggml_add(context(), normed, bias) : normed;
  }

  void compute(Device::Impl& device, ggml_gallocr* allocator, ggml_tensor* result) {
    ggml_cgraph* graph = ggml_new_graph_custom(context(), kGraphNodes, /*grads=*/false);
    ggml_build_forward_expand(graph, result);
    ISOGLOSS_ASSERT(ggml_gallocr_alloc_graph(allocator, graph));
    const ggml_status status = ggml_backend_graph_compute(device.backend, graph);
    if (status == GGML_STATUS_ALLOC_FAILED) throw std::bad_alloc();
    ISOGLOSS_ASSERT(status == GGML_STATUS_SUCCESS);
  }

 private:
  const Variant& variant_;
  WeightCache& cache_;
  Context context_;
  std::vector<std::shared_ptr<const AlignedBuffer>> used_;
};

struct QueryKeyValue {
  ggml_tensor *q, *k, *v;
};

// Column range of a [cols, tokens] tensor.
ggml_tensor* columns(ggml_context* context, ggml_tensor* tensor, size_t first, size_t count) {
  return ggml_view_2d(context, tensor, static_cast<int64_t>(count), tensor->ne[1], tensor->nb[1],
                      first * sizeof(float));
}

QueryKeyValue project(Graph& graph, ggml_tensor* input, size_t layer) {
  const ModelConfig& config = graph.config();
  if (ggml_tensor* fused = graph.find_weight(Role::kQkv, layer)) {
    ggml_tensor* all =
        linear(graph.context(), fused, input, graph.find_weight(Role::kQkvBias, layer));
    const size_t q = config.heads * config.head_dim;
    const size_t kv = config.kv_heads * config.head_dim;
    return {columns(graph.context(), all, 0, q), columns(graph.context(), all, q, kv),
            columns(graph.context(), all, q + kv, kv)};
  }
  const auto product = [&](Role role) {
    return linear(graph.context(), graph.weight(role, layer), input, nullptr);
  };
  return {product(Role::kQuery), product(Role::kKey), product(Role::kValue)};
}

// Norm over each head, then rotation by position. [heads * head_dim, tokens] in and out.
ggml_tensor* norm_and_rotate(Graph& graph, ggml_tensor* input, ggml_tensor* head_norm,
                             ggml_tensor* positions, size_t layer) {
  const ModelConfig& config = graph.config();
  if (!head_norm && config.rope.dims == 0) return input;
  const int64_t tokens = input->ne[1];
  const auto dim = static_cast<int64_t>(config.head_dim);
  ggml_tensor* heads = ggml_reshape_3d(graph.context(), input, dim, input->ne[0] / dim, tokens);
  if (head_norm) heads = graph.norm(heads, head_norm, nullptr);
  if (config.rope.dims != 0) {
    const bool windowed = config.layer_window(layer) != 0;
    const float base = windowed ? config.rope.windowed_base : config.rope.base;
    const float scale = windowed ? 1 : config.rope.frequency_scale;
    const int mode =
        config.rope.pairs == RopePairs::kHalves ? GGML_ROPE_TYPE_NEOX : GGML_ROPE_TYPE_NORMAL;
    heads = ggml_rope_ext(graph.context(), heads, positions, nullptr,
                          static_cast<int>(config.rope.dims), mode,
                          static_cast<int>(config.context_length), base, scale,
                          /*ext_factor=*/0, /*attn_factor=*/1, /*beta_fast=*/0, /*beta_slow=*/0);
  }
  return ggml_reshape_2d(graph.context(), heads, input->ne[0], tokens);
}

// The position of each token in its own sequence.
std::vector<int32_t> sequence_positions(const Batch& batch) {
  std::vector<int32_t> positions(batch.size());
  for (size_t s = 0; s + 1 < batch.starts.size(); ++s) {
    std::iota(positions.begin() + static_cast<std::ptrdiff_t>(batch.starts[s]),
              positions.begin() + static_cast<std::ptrdiff_t>(batch.starts[s + 1]), 0);
  }
  return positions;
}

ggml_tensor* attention_branch(Graph& graph, ggml_tensor* hidden, ggml_tensor* positions,
                              const AttentionShape& shape, size_t layer) {
  ggml_tensor* input = graph.norm(hidden, graph.weight(Role::kAttentionNorm, layer),
                                  graph.find_weight(Role::kAttentionNormBias, layer));
  auto [q, k, v] = project(graph, input, layer);
  q = norm_and_rotate(graph, q, graph.find_weight(Role::kQueryNorm, layer), positions, layer);
  k = norm_and_rotate(graph, k, graph.find_weight(Role::kKeyNorm, layer), positions, layer);
  ggml_tensor* mixed = packed_attention(graph.context(), q, k, v, shape);
  ggml_tensor* output = linear(graph.context(), graph.weight(Role::kAttentionOutput, layer), mixed,
                               graph.find_weight(Role::kAttentionOutputBias, layer));
  ggml_tensor* post_norm = graph.find_weight(Role::kAttentionPostNorm, layer);
  return post_norm ? graph.norm(output, post_norm, nullptr) : output;
}

ggml_tensor* mlp_branch(Graph& graph, ggml_tensor* hidden, size_t layer) {
  ggml_tensor* input = graph.norm(hidden, graph.weight(Role::kFfnNorm, layer),
                                  graph.find_weight(Role::kFfnNormBias, layer));
  ggml_tensor* up = linear(graph.context(), graph.weight(Role::kFfnUp, layer), input,
                           graph.find_weight(Role::kFfnUpBias, layer));
  ggml_tensor* gate = graph.find_weight(Role::kFfnGate, layer);
  const Activation activation = graph.config().activation;
  ggml_tensor* inner = gate ? activate(graph.context(), activation,
                                       linear(graph.context(), gate, input, nullptr), up)
                            : activate(graph.context(), activation, up, nullptr);
  ggml_tensor* output = linear(graph.context(), graph.weight(Role::kFfnDown, layer), inner,
                               graph.find_weight(Role::kFfnDownBias, layer));
  ggml_tensor* post_norm = graph.find_weight(Role::kFfnPostNorm, layer);
  return post_norm ? graph.norm(output, post_norm, nullptr) : output;
}

// One row of a weight as float.
void copy_row(const Weight& weight, size_t row, std::span<float> out) {
  if (weight.type == TensorType::kBf16) {
    const auto* rows = static_cast<const ggml_bf16_t*>(weight.buffer->data());
    ggml_bf16_to_fp32_row(rows + row * weight.cols, out.data(), static_cast<int64_t>(out.size()));
  } else {
    const auto* rows = static_cast<const float*>(weight.buffer->data());
    std::copy_n(rows + row * weight.cols, out.size(), out.data());
  }
}

}  // namespace

struct Engine::Impl {
  Impl(Device& on, const EngineOptions& options)
      : device(on.impl()),
        cache(options.compute, options.weight_memory),
        allocator(ggml_gallocr_new(ggml_backend_get_default_buffer_type(on.impl().backend))) {}

  Device::Impl& device;
  WeightCache cache;
  Allocator allocator;
};

Engine::Engine(Device& device, const EngineOptions& options)
    : impl_(std::make_unique<Impl>(device, options)) {}
Engine::~Engine() = default;

HiddenStates Engine::embed(const Variant& variant, const Batch& batch) {
  const ModelConfig& config = variant.model->config();
  HiddenStates hidden(batch.size(), config.width);
  const Weight tokens = impl_->cache.get(variant, Role::kTokenEmbedding);
  for (size_t i = 0; i < batch.size(); ++i) {
    const auto token = static_cast<size_t>(batch.tokens[i]);
    ISOGLOSS_ASSERT(batch.tokens[i] >= 0 && token < tokens.rows);
    copy_row(tokens, token, hidden.row(i));
    if (config.embedding_scale != 1) {
      for (float& value : hidden.row(i)) value *= config.embedding_scale;
    }
  }
  if (!impl_->cache.has(variant, Role::kPositionEmbedding)) return hidden;
  const Weight positions = impl_->cache.get(variant, Role::kPositionEmbedding);
  const auto* table = static_cast<const float*>(positions.buffer->data());
  const auto places = sequence_positions(batch);
  for (size_t i = 0; i < batch.size(); ++i) {
    const auto place = static_cast<size_t>(places[i]);
    ISOGLOSS_ASSERT(place < positions.rows);
    const auto row = hidden.row(i);
    for (size_t d = 0; d < row.size(); ++d) row[d] += table[place * positions.cols + d];
  }
  return hidden;
}

void Engine::run_half(const Variant& variant, size_t half, const Batch& batch,
                      HiddenStates& hidden) {
  const ModelConfig& config = variant.model->config();
  ISOGLOSS_ASSERT(half < halves(*variant.model));
  ISOGLOSS_ASSERT(hidden.tokens() == batch.size() && hidden.width() == config.width);
  if (batch.size() == 0) return;
  const size_t layer = half / 2;
  const AttentionShape shape{batch.starts,    config.heads,           config.kv_heads,
                             config.head_dim, config.attention_scale, config.layer_window(layer)};
  std::vector<int32_t> places = sequence_positions(batch);

  Graph graph(variant, impl_->cache);
  ggml_tensor* input = graph.external(hidden.data(), TensorType::kF32, config.width, batch.size());
  ggml_tensor* branch = nullptr;
  if (half % 2 == 0) {
    ggml_tensor* positions =
        ggml_new_tensor_1d(graph.context(), GGML_TYPE_I32, static_cast<int64_t>(places.size()));
    positions->data = places.data();
    branch = attention_branch(graph, input, positions, shape, layer);
  } else {
    branch = mlp_branch(graph, input, layer);
  }
  graph.compute(impl_->device, impl_->allocator.get(),
                ggml_add_inplace(graph.context(), input, branch));
}

void Engine::run_head(const Variant& variant, HiddenStates& hidden, std::span<float> logits) {
  const ModelConfig& config = variant.model->config();
  ISOGLOSS_ASSERT(logits.size() == hidden.tokens() * config.vocab_size);
  if (hidden.tokens() == 0) return;
  Graph graph(variant, impl_->cache);
  ggml_tensor* input =
      graph.external(hidden.data(), TensorType::kF32, config.width, hidden.tokens());
  ggml_tensor* normed =
      graph.norm(input, graph.weight(Role::kOutputNorm), graph.find_weight(Role::kOutputNormBias));
  ggml_tensor* head = graph.weight(config.tied_head ? Role::kTokenEmbedding : Role::kHead);
  ggml_tensor* result = linear(graph.context(), head, normed, nullptr);
  if (config.logit_softcap == 0) result->data = logits.data();
  if (config.logit_softcap != 0) {
    result = ggml_scale(graph.context(), result, 1 / config.logit_softcap);
    result = ggml_scale(graph.context(), ggml_tanh(graph.context(), result), config.logit_softcap);
    result->data = logits.data();
  }
  graph.compute(impl_->device, impl_->allocator.get(), result);
}

HiddenStates run_blocks(Engine& engine, const Variant& variant, const Batch& batch) {
  HiddenStates hidden = engine.embed(variant, batch);
  for (size_t half = 0; half < Engine::halves(*variant.model); ++half) {
    engine.run_half(variant, half, batch, hidden);
  }
  return hidden;
}

}  // namespace isogloss
