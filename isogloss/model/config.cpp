// Hyper-parameters: checks, and what follows from them.
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

}  // namespace

size_t ModelConfig::layer_window(size_t layer) const {
  const bool sees_all = full_layer_period != 0 && (layer + 1) % full_layer_period == 0;
  return sees_all ? 0 : window;
}

void check_config(const std::string& path, const ModelConfig& config) {
  // Far above any model there is, and small enough that no product of two of them overflows.
  constexpr size_t kMost = size_t{1} << 24;
  for (const Bound& bound :
       std::initializer_list<Bound>{{"layer count", config.layers, 4096},
                                    {"width", config.width, kMost},
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
  if (config.rope.dims > config.head_dim || config.rope.dims % 2 != 0) {
    fail(ErrorCode::kCorrupt, "{}: rotary dimension {} must be even and at most the head size {}",
         path, config.rope.dims, config.head_dim);
  }
  for (const float value :
       {config.rope.base, config.rope.windowed_base, config.rope.frequency_scale,
        config.norm_epsilon, config.attention_scale}) {
    if (!std::isfinite(value) || value <= 0) {
      fail(ErrorCode::kCorrupt, "{}: a rotary base, scale or norm epsilon is {}, expected above 0",
           path, value);
    }
  }
  if (!std::isfinite(config.logit_softcap) || config.logit_softcap < 0) {
    fail(ErrorCode::kCorrupt, "{}: the softcap of the logits is {}, expected at least 0", path,
         config.logit_softcap);
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
