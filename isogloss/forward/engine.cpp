// The decoder, one ggml graph for each half of a block.
#include <ggml-backend.h>
#include <ggml-cpu.h>

#include <cstring>
#include <optional>

#include "isogloss/base/error.h"
#include "isogloss/forward/graph_impl.h"

namespace isogloss {
namespace {

struct AllocatorDeleter {
  void operator()(ggml_gallocr* allocator) const { ggml_gallocr_free(allocator); }
};

// One row of a weight as float.
void copy_row(const Weight& weight, size_t row, std::span<float> out) {
  if (weight.type == TensorType::kBf16) {
    ggml_bf16_to_fp32_row(reinterpret_cast<const ggml_bf16_t*>(weight.row(row)), out.data(),
                          static_cast<int64_t>(out.size()));
  } else {
    std::memcpy(out.data(), weight.row(row), out.size_bytes());
  }
}

// The norms around a half-block's branch.
struct HalfRoles {
  Role norm, norm_bias;  // before it, or after its addition
  Role branch_norm;      // of what it adds
};

const HalfRoles& roles_of(const ModelConfig& config, size_t half) {
  static constexpr HalfRoles kAttention = {Role::kAttentionNorm, Role::kAttentionNormBias,
                                           Role::kAttentionPostNorm};
  static constexpr HalfRoles kMlp = {Role::kFfnNorm, Role::kFfnNormBias, Role::kFfnPostNorm};
  static constexpr HalfRoles kMlpWithNormOfAttention = {
      Role::kAttentionNorm, Role::kAttentionNormBias, Role::kFfnPostNorm};
  if (half % 2 == 0) return kAttention;
  return config.roles.contains(Role::kFfnNorm) ? kMlp : kMlpWithNormOfAttention;
}

// What attention needs beside weights, for one layer and batch. Nodes point into it.
class AttentionPlan {
 public:
  AttentionPlan(const ModelConfig& config, size_t layer, const Batch& batch,
                RotationCache& rotations)
      : slopes_(alibi_slopes(config)),
        shape_{batch.starts,
               config.heads,
               config.kv_heads,
               config.head_dim,
               config.attention_scale,
               config.layer_configs[layer].window,
               config.attention_softcap,
               slopes_} {
    const RopeConfig* rope = config.layer_rope(layer);
    if (!rope) return;
    const RotationTable& table = rotations.get(*rope, batch);
    places_ = rotation_rows(table, batch);
    rotation_ = {table.numbers, places_, config.head_dim, rope->dims, rope->pairs};
  }
  AttentionPlan(const AttentionPlan&) = delete;
  AttentionPlan& operator=(const AttentionPlan&) = delete;

  const AttentionShape& shape() const { return shape_; }
  const RotationShape* rotation() const { return rotation_.dims != 0 ? &rotation_ : nullptr; }

 private:
  std::vector<float> slopes_;
  AttentionShape shape_;
  std::vector<int32_t> places_;
  RotationShape rotation_;
};

// A half-block up to what it adds to the stream.
class HalfBlock {
 public:
  HalfBlock(const Variant& variant, size_t half, const Batch& batch, HiddenStates& hidden,
            WeightCache& cache, RotationCache& rotations);
  HalfBlock(const HalfBlock&) = delete;
  HalfBlock& operator=(const HalfBlock&) = delete;

  Graph graph;
  ggml_tensor* stream = nullptr;
  ggml_tensor* branch = nullptr;
  bool reads_stream = false;  // no norm comes before the first product

 private:
  std::optional<AttentionPlan> plan_;  // nodes of the graph point into it
};

HalfBlock::HalfBlock(const Variant& variant, size_t half, const Batch& batch, HiddenStates& hidden,
                     WeightCache& cache, RotationCache& rotations)
    : graph(variant, cache) {
  const ModelConfig& config = variant.model->config();
  const size_t layer = half / 2;
  const HalfRoles& roles = roles_of(config, half);
  if (half % 2 == 0) plan_.emplace(config, layer, batch, rotations);
  const auto stream_of = [&](float* rows) {
    return graph.external(rows, TensorType::kF32, config.width, batch.size());
  };
  stream = stream_of(hidden.data());
  ggml_tensor* input = config.parallel_blocks ? stream_of(hidden.block_input()) : stream;
  if (!config.norm_after) input = graph.norm_by(roles.norm, roles.norm_bias, input, layer);
  reads_stream = input == stream;
  branch = plan_ ? attention_branch(graph, input, plan_->rotation(), plan_->shape(), layer)
                 : mlp_branch(graph, input, layer);
}

}  // namespace

struct Engine::Impl {
  Impl(Device& on, const EngineOptions& options)
      : device(on.impl()),
        cache(options.compute, options.weight_memory),
        allocator(ggml_gallocr_new(ggml_backend_get_default_buffer_type(on.impl().backend))) {}

  HiddenStates look_up(const Variant& variant, const Batch& batch);
  void add_positions(const Variant& variant, const Batch& batch, HiddenStates& hidden);
  void compute(Graph& graph, ggml_tensor* result, float* out) {
    graph.compute(device, allocator.get(), result, out);
  }
  // see(block), of a half-block that leaves `hidden` as it is.
  template <typename See>
  void look_into(const Variant& variant, size_t half, const Batch& batch, HiddenStates& hidden,
                 const See& see);
  // Adds what a branch is, normed and scaled as the family does, to the stream, which is `hidden`.
  void add_branch(Graph& graph, size_t half, ggml_tensor* stream, ggml_tensor* branch,
                  HiddenStates& hidden);

  Device::Impl& device;
  WeightCache cache;
  RotationCache rotations;
  std::unique_ptr<ggml_gallocr, AllocatorDeleter> allocator;
};

template <typename See>
void Engine::Impl::look_into(const Variant& variant, size_t half, const Batch& batch,
                             HiddenStates& hidden, const See& see) {
  const ModelConfig& config = variant.model->config();
  ISOGLOSS_ASSERT(half < halves(*variant.model));
  ISOGLOSS_ASSERT(hidden.tokens() == batch.size() && hidden.width() == config.width);
  if (batch.size() == 0) return;
  const bool borrows = config.parallel_blocks && half % 2 == 0;
  if (borrows) hidden.keep_block_input();
  ISOGLOSS_ASSERT(!config.parallel_blocks || hidden.block_input() != nullptr);
  HalfBlock block(variant, half, batch, hidden, cache, rotations);
  see(block);
  if (borrows) hidden.drop_block_input();
}

void Engine::Impl::add_branch(Graph& graph, size_t half, ggml_tensor* stream, ggml_tensor* branch,
                              HiddenStates& hidden) {
  const ModelConfig& config = graph.config();
  const size_t layer = half / 2;
  const HalfRoles& roles = roles_of(config, half);
  branch = graph.norm_by(roles.branch_norm, roles.branch_norm, branch, layer);
  branch = graph.scale(branch, config.residual_scale);
  if (config.norm_after) {
    ggml_tensor* sum = ggml_add(graph.context(), stream, branch);
    compute(graph, graph.norm_by(roles.norm, roles.norm_bias, sum, layer), hidden.data());
  } else {
    compute(graph, ggml_add_inplace(graph.context(), stream, branch), nullptr);
  }
}

HiddenStates Engine::Impl::look_up(const Variant& variant, const Batch& batch) {
  const Weight tokens = cache.get(variant, Role::kTokenEmbedding);
  HiddenStates rows(batch.size(), tokens.cols);
  const float scale = variant.model->config().embedding_scale;
  for (size_t i = 0; i < batch.size(); ++i) {
    const auto token = static_cast<size_t>(batch.tokens[i]);
    ISOGLOSS_ASSERT(batch.tokens[i] >= 0 && token < tokens.rows);
    copy_row(tokens, token, rows.row(i));
    if (scale == 1) continue;
    for (float& value : rows.row(i)) value *= scale;
  }
  return rows;
}

void Engine::Impl::add_positions(const Variant& variant, const Batch& batch, HiddenStates& hidden) {
  const ModelConfig& config = variant.model->config();
  const auto places = sequence_places(batch);
  if (config.positions == Positions::kSinusoidal) {
    for (size_t i = 0; i < places.size(); ++i) {
      add_sinusoid(static_cast<size_t>(places[i]) + config.position_offset, hidden.row(i));
    }
  }
  if (config.positions != Positions::kLearned) return;
  const Weight table = cache.get(variant, Role::kPositionEmbedding);
  std::vector<float> position(table.cols);
  for (size_t i = 0; i < places.size(); ++i) {
    const size_t place = static_cast<size_t>(places[i]) + config.position_offset;
    ISOGLOSS_ASSERT(place < table.rows);
    copy_row(table, place, position);
    const auto row = hidden.row(i);
    for (size_t d = 0; d < row.size(); ++d) row[d] += position[d];
  }
}

Engine::Engine(Device& device, const EngineOptions& options)
    : impl_(std::make_unique<Impl>(device, options)) {}
Engine::~Engine() = default;

HiddenStates Engine::embed(const Variant& variant, const Batch& batch) {
  const ModelConfig& config = variant.model->config();
  HiddenStates hidden = impl_->look_up(variant, batch);
  if (batch.size() == 0) return HiddenStates(0, config.width);
  if (config.roles.contains(Role::kEmbeddingProjection)) {
    HiddenStates projected(batch.size(), config.width);
    Graph graph(variant, impl_->cache);
    ggml_tensor* input =
        graph.external(hidden.data(), TensorType::kF32, hidden.width(), batch.size());
    ggml_tensor* product = graph.multiply(Role::kEmbeddingProjection,
                                          graph.weight(Role::kEmbeddingProjection), input, nullptr);
    impl_->compute(graph, product, projected.data());
    hidden = std::move(projected);
  }
  if (config.roles.contains(Role::kEmbeddingNorm)) {
    HiddenStates normed(batch.size(), config.width);
    Graph graph(variant, impl_->cache);
    ggml_tensor* input =
        graph.external(hidden.data(), TensorType::kF32, config.width, batch.size());
    impl_->compute(graph, graph.norm_by(Role::kEmbeddingNorm, Role::kEmbeddingNormBias, input),
                   normed.data());
    hidden = std::move(normed);
  }
  impl_->add_positions(variant, batch, hidden);
  return hidden;
}

void Engine::run_half(const Variant& variant, size_t half, const Batch& batch, HiddenStates& hidden,
                      const ProductObserver& observer) {
  const ModelConfig& config = variant.model->config();
  ISOGLOSS_ASSERT(half < halves(*variant.model));
  ISOGLOSS_ASSERT(hidden.tokens() == batch.size() && hidden.width() == config.width);
  if (batch.size() == 0) return;
  if (config.parallel_blocks && half % 2 == 0) hidden.keep_block_input();
  ISOGLOSS_ASSERT(!config.parallel_blocks || hidden.block_input() != nullptr);

  HalfBlock block(variant, half, batch, hidden, impl_->cache, impl_->rotations);
  // The addition writes over a stream that products read as it is.
  if (observer && block.reads_stream) observe_half(variant, half, batch, hidden, observer);
  const bool observed = observer && !block.reads_stream;
  if (observed) block.graph.keep_inputs();
  impl_->add_branch(block.graph, half, block.stream, block.branch, hidden);
  if (observed) block.graph.show_inputs(observer);
  if (half % 2 == 1) hidden.drop_block_input();
}

void Engine::observe_half(const Variant& variant, size_t half, const Batch& batch,
                          HiddenStates& hidden, const ProductObserver& observer) {
  impl_->look_into(variant, half, batch, hidden, [&](HalfBlock& block) {
    block.graph.keep_inputs();
    impl_->compute(block.graph, block.graph.last_input(), nullptr);
    block.graph.show_inputs(observer);
  });
}

void Engine::observe_first(const Variant& variant, size_t half, const Batch& batch,
                           HiddenStates& hidden, const ProductObserver& observer) {
  impl_->look_into(variant, half, batch, hidden, [&](HalfBlock& block) {
    block.graph.keep_inputs();
    if (!block.reads_stream) impl_->compute(block.graph, block.graph.first_input(), nullptr);
    block.graph.show_first_inputs(observer);
  });
}

HiddenStates Engine::run_to_last_product(const Variant& variant, size_t half, const Batch& batch,
                                         HiddenStates& hidden) {
  HiddenStates input;
  impl_->look_into(variant, half, batch, hidden, [&](HalfBlock& block) {
    ggml_tensor* last = block.graph.last_input();
    input = HiddenStates(batch.size(), static_cast<size_t>(last->ne[0]));
    impl_->compute(block.graph, last, input.data());
  });
  return input;
}

void Engine::run_last_product(const Variant& variant, size_t half, HiddenStates& input,
                              HiddenStates& hidden) {
  const ModelConfig& config = variant.model->config();
  ISOGLOSS_ASSERT(hidden.tokens() == input.tokens() && hidden.width() == config.width);
  if (hidden.tokens() == 0) return;
  if (config.parallel_blocks && half % 2 == 0) hidden.keep_block_input();
  Graph graph(variant, impl_->cache);
  const auto rows_of = [&](HiddenStates& states) {
    return graph.external(states.data(), TensorType::kF32, states.width(), states.tokens());
  };
  ggml_tensor* stream = rows_of(hidden);
  ggml_tensor* branch = half % 2 == 0 ? attention_output(graph, rows_of(input), half / 2)
                                      : mlp_output(graph, rows_of(input), half / 2);
  impl_->add_branch(graph, half, stream, branch, hidden);
  if (half % 2 == 1) hidden.drop_block_input();
}

HiddenStates Engine::head_input(const Variant& variant, HiddenStates& hidden) {
  const ModelConfig& config = variant.model->config();
  HiddenStates result(hidden.tokens(), config.embedding_width);
  if (hidden.tokens() == 0) return result;
  Graph graph(variant, impl_->cache);
  ggml_tensor* input =
      graph.external(hidden.data(), TensorType::kF32, config.width, hidden.tokens());
  ggml_tensor* normed = graph.norm_by(Role::kOutputNorm, Role::kOutputNormBias, input);
  if (ggml_tensor* projection = graph.find_weight(Role::kHeadProjection)) {
    normed = graph.multiply(Role::kHeadProjection, projection, normed, nullptr);
  }
  normed = graph.scale(normed, config.logit_scale);  // of fewer numbers than the logits are
  if (normed == input) return hidden;
  impl_->compute(graph, normed, result.data());
  return result;
}

void Engine::run_head(const Variant& variant, HiddenStates& input, VocabularySlice slice,
                      std::span<float> logits) {
  const ModelConfig& config = variant.model->config();
  ISOGLOSS_ASSERT(input.width() == config.embedding_width);
  ISOGLOSS_ASSERT(slice.first + slice.count <= config.vocab_size);
  ISOGLOSS_ASSERT(logits.size() == input.tokens() * slice.count);
  if (logits.empty()) return;
  Graph graph(variant, impl_->cache);
  ggml_tensor* rows = graph.external(input.data(), TensorType::kF32, input.width(), input.tokens());
  const Role role = config.tied_head ? Role::kTokenEmbedding : Role::kHead;
  ggml_tensor* head = graph.weight(role);
  ggml_tensor* part =
      ggml_view_2d(graph.context(), head, head->ne[0], static_cast<int64_t>(slice.count),
                   head->nb[1], slice.first * head->nb[1]);
  ggml_tensor* result = graph.multiply(role, part, rows, nullptr);
  if (config.logit_softcap != 0) result = soft_cap(graph.context(), result, config.logit_softcap);
  impl_->compute(graph, result, logits.data());
}

HiddenStates run_blocks(Engine& engine, const Variant& variant, const Batch& batch) {
  HiddenStates hidden = engine.embed(variant, batch);
  for (size_t half = 0; half < Engine::halves(*variant.model); ++half) {
    engine.run_half(variant, half, batch, hidden);
  }
  return hidden;
}

void run_head(Engine& engine, const Variant& variant, HiddenStates& hidden,
              std::span<float> logits) {
  HiddenStates input = engine.head_input(variant, hidden);
  engine.run_head(variant, input, {0, variant.model->config().vocab_size}, logits);
}

}  // namespace isogloss
