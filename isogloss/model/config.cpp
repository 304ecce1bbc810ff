// Hyper-parameters: what a family fixes, checks, and what follows from them.
#include <cmath>
#include <initializer_list>

#include "isogloss/base/error.h"
#include "isogloss/model/model_impl.h"

namespace isogloss {
namespace {

struct Bound {
  const char* name;
  size_t value;
  size_t most;
};

// Far above any model there is, and small enough that no product of two of them overflows.
constexpr size_t kMost = size_t{1} << 24;

void check_factors(const std::string& path, const char* name, const RopeConfig& rope,
                   const std::vector<float>& factors) {
  if (factors.size() != rope.dims / 2) {
    fail(ErrorCode::kCorrupt, "{}: there are {} {} of rotary frequencies, expected {}", path,
         factors.size(), name, rope.dims / 2);
  }
  for (const float factor : factors) {
    if (std::isfinite(factor) && factor > 0) continue;
    fail(ErrorCode::kCorrupt, "{}: one of the {} of rotary frequencies is {}, expected above 0",
         path, name, factor);
  }
}

void check_rope(const std::string& path, const ModelConfig& config, const RopeConfig& rope) {
  if (rope.dims > config.head_dim || rope.dims % 2 != 0) {
    fail(ErrorCode::kCorrupt, "{}: rotary dimension {} must be even and at most the head size {}",
         path, rope.dims, config.head_dim);
  }
  for (const float value :
       {rope.base, rope.factor, rope.attention_factor, rope.beta_fast, rope.beta_slow}) {
    if (!std::isfinite(value) || value <= 0) {
      fail(ErrorCode::kCorrupt, "{}: a rotary base, factor or bound is {}, expected above 0", path,
           value);
    }
  }
  const bool has_long = rope.scaling == RopeScaling::kLongRope;
  if ((has_long || rope.scaling == RopeScaling::kYarn) && rope.original_length == 0) {
    fail(ErrorCode::kCorrupt,
         "{}: the rotary scaling needs the context length the model was trained with first", path);
  }
  if (has_long || rope.scaling == RopeScaling::kFactors) {
    check_factors(path, "factors", rope, rope.factors);
  }
  if (has_long) check_factors(path, "long factors", rope, rope.long_factors);
}

}  // namespace

const RopeConfig* ModelConfig::layer_rope(size_t layer) const {
  const LayerConfig& own = layer_configs[layer];
  const RopeConfig& used = own.windowed_rope ? windowed_rope : rope;
  return own.rope && used.dims != 0 ? &used : nullptr;
}

void check_sizes(const std::string& path, const ModelConfig& config) {
  for (const Bound& bound :
       std::initializer_list<Bound>{{"layer count", config.layers, 4096},
                                    {"width", config.width, kMost},
                                    {"embedding width", config.embedding_width, kMost},
                                    {"head count", config.heads, 65536},
                                    {"key/value head count", config.kv_heads, 65536},
                                    {"head size", config.head_dim, 65536},
                                    {"feed-forward width", config.ffn_width, kMost},
                                    {"vocabulary size", config.vocab_size, kMost},
                                    {"context length", config.context_length, kMost}}) {
    if (bound.value == 0 || bound.value > bound.most) {
      fail(ErrorCode::kCorrupt, "{}: {} is {}, expected 1..{}", path, bound.name, bound.value,
           bound.most);
    }
  }
  if (config.heads % config.kv_heads != 0) {
    fail(ErrorCode::kCorrupt, "{}: {} attention heads cannot share {} key/value heads evenly", path,
         config.heads, config.kv_heads);
  }
}

ModelConfig family_defaults(Family family) {
  struct Traits {
    Family family;
    NormKind norm;
    Activation activation;
    Positions positions;
    size_t position_offset;
    bool parallel_blocks;
  };
  using F = Family;
  using N = NormKind;
  using A = Activation;
  using P = Positions;
  static constexpr Traits kTraits[] = {
      {F::kGpt2, N::kLayerNorm, A::kGeluTanh, P::kLearned, 0, false},
      {F::kOpt, N::kLayerNorm, A::kRelu, P::kLearned, 2, false},
      {F::kXglm, N::kLayerNorm, A::kGelu, P::kSinusoidal, 2, false},
      {F::kBloom, N::kLayerNorm, A::kGeluTanh, P::kAlibi, 0, false},
      {F::kGptNeoX, N::kLayerNorm, A::kGelu, P::kNone, 0, true},
      {F::kLlama, N::kRmsNorm, A::kSilu, P::kNone, 0, false},
      {F::kMistral, N::kRmsNorm, A::kSilu, P::kNone, 0, false},
      {F::kQwen2, N::kRmsNorm, A::kSilu, P::kNone, 0, false},
      {F::kQwen3, N::kRmsNorm, A::kSilu, P::kNone, 0, false},
      {F::kGemma, N::kRmsNorm, A::kGeluTanh, P::kNone, 0, false},
      {F::kGemma2, N::kRmsNorm, A::kGeluTanh, P::kNone, 0, false},
      {F::kGemma3, N::kRmsNorm, A::kGeluTanh, P::kNone, 0, false},
      {F::kSmolLm3, N::kRmsNorm, A::kSilu, P::kNone, 0, false},
      {F::kPhi3, N::kRmsNorm, A::kSilu, P::kNone, 0, false},
      {F::kGranite, N::kRmsNorm, A::kSilu, P::kNone, 0, false},
      {F::kCohere, N::kLayerNorm, A::kSilu, P::kNone, 0, true},
      {F::kCohere2, N::kLayerNorm, A::kSilu, P::kNone, 0, true},
  };
  const Traits& traits = kTraits[static_cast<size_t>(family)];
  ISOGLOSS_ASSERT(traits.family == family);
  ModelConfig config;
  config.family = family;
  config.roles = get_family_info(family).required;
  config.norm = traits.norm;
  config.activation = traits.activation;
  config.positions = traits.positions;
  config.position_offset = traits.position_offset;
  config.parallel_blocks = traits.parallel_blocks;
  config.norm_per_head = family == Family::kCohere;
  return config;
}

void set_layer_windows(ModelConfig& config, size_t window, size_t full_period) {
  for (size_t layer = 0; layer < config.layers; ++layer) {
    const bool full = full_period != 0 && (layer + 1) % full_period == 0;
    config.layer_configs[layer].window = full ? 0 : window;
  }
}

void set_family_scales(ModelConfig& config) {
  config.attention_scale = static_cast<float>(1 / std::sqrt(static_cast<double>(config.head_dim)));
  switch (config.family) {
    case Family::kGemma:
    case Family::kGemma2:
    case Family::kGemma3:
      config.embedding_scale = std::sqrt(static_cast<float>(config.width));
      break;
    default:
      break;
  }
}

void check_config(const std::string& path, const ModelConfig& config) {
  check_sizes(path, config);
  check_rope(path, config, config.rope);
  check_rope(path, config, config.windowed_rope);
  for (const float value : {config.norm_epsilon, config.attention_scale, config.embedding_scale,
                            config.residual_scale, config.logit_scale}) {
    if (!std::isfinite(value) || value <= 0) {
      fail(ErrorCode::kCorrupt, "{}: a scale or the norm's epsilon is {}, expected above 0", path,
           value);
    }
  }
  for (const float cap : {config.logit_softcap, config.attention_softcap}) {
    if (!std::isfinite(cap) || cap < 0) {
      fail(ErrorCode::kCorrupt, "{}: a softcap is {}, expected at least 0", path, cap);
    }
  }
  if (config.positions == Positions::kSinusoidal && config.width % 2 != 0) {
    fail(ErrorCode::kCorrupt, "{}: sinusoidal positions need an even width, not {}", path,
         config.width);
  }
}

void check_vocabulary_size(const std::string& path, const ModelConfig& config,
                           const Vocabulary& vocabulary) {
  if (vocabulary.size() != config.vocab_size) {
    fail(ErrorCode::kMismatch, "{}: the tokenizer has {} tokens, the embedding {} rows", path,
         vocabulary.size(), config.vocab_size);
  }
}

}  // namespace isogloss
