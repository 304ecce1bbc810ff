// A model's hyper-parameters in words.
#include <algorithm>
#include <cmath>
#include <map>

#include "isogloss/base/error.h"
#include "isogloss/report/inspect_impl.h"

namespace isogloss {
namespace {

std::string rope_text(const RopeConfig& rope, size_t head_dim) {
  std::string text = fmt::format("rotary, {} of {} numbers of a head, {}, base {}", rope.dims,
                                 head_dim, to_string(rope.pairs), rope.base);
  switch (rope.scaling) {
    case RopeScaling::kNone:
      break;
    case RopeScaling::kLinear:
      text += fmt::format(", linear scaling by {}", rope.factor);
      break;
    case RopeScaling::kYarn:
      text +=
          fmt::format(", yarn scaling by {} from {} positions", rope.factor, rope.original_length);
      break;
    case RopeScaling::kFactors:
      text += fmt::format(", {} factors", rope.factors.size());
      break;
    case RopeScaling::kLongRope:
      text += fmt::format(", longrope, two lists of {} factors, the second past {} positions",
                          rope.factors.size(), rope.original_length);
      break;
  }
  if (rope.attention_factor != 1) {
    text += fmt::format(", attention factor {}", rope.attention_factor);
  }
  return text;
}

// `text` of some layers; of all there are it goes without saying.
std::string in_layers(const std::string& text, std::span<const size_t> layers, size_t all) {
  if (layers.size() == all) return text;
  return fmt::format("{} in layer{} {}", text, layers.size() == 1 ? "" : "s", layer_ranges(layers));
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  return fmt::format("{}", fmt::join(parts, separator));
}

std::string positions_text(const ModelConfig& config) {
  std::vector<std::string> parts;
  if (config.positions != Positions::kNone) {
    parts.emplace_back(to_string(config.positions));
    if (config.position_offset != 0) {
      parts.back() += fmt::format(", from row {}", config.position_offset);
    }
  }
  std::vector<size_t> plain, windowed, still;
  for (size_t layer = 0; layer < config.layers; ++layer) {
    const RopeConfig* rope = config.layer_rope(layer);
    (rope == nullptr ? still : rope == &config.rope ? plain : windowed).push_back(layer);
  }
  const auto add = [&](const std::string& text, const std::vector<size_t>& layers) {
    if (!layers.empty()) parts.push_back(in_layers(text, layers, config.layers));
  };
  add(rope_text(config.rope, config.head_dim), plain);
  add(rope_text(config.windowed_rope, config.head_dim), windowed);
  if (config.positions == Positions::kNone) add("none", still);
  return join(parts, "; ");
}

std::string windows_text(const ModelConfig& config) {
  std::map<size_t, std::vector<size_t>> layers;  // by window
  for (size_t layer = 0; layer < config.layers; ++layer) {
    layers[config.layer_configs[layer].window].push_back(layer);
  }
  std::vector<std::string> parts;
  for (const auto& [window, with] : layers) {
    if (window == 0) continue;
    parts.push_back(in_layers(fmt::format("{} positions", window), with, config.layers));
  }
  return parts.empty() ? "none" : join(parts, "; ");
}

// Scales and caps that change anything; "" for a model without.
std::string scales_text(const ModelConfig& config) {
  constexpr float kRounding = 1e-4F;  // of a scale stored with four digits
  std::vector<std::string> parts;
  const auto add = [&](const char* what, float value, float usual) {
    if (std::abs(value - usual) > kRounding * std::abs(usual)) {
      parts.push_back(fmt::format("{} {}", what, value));
    }
  };
  add("attention", config.attention_scale, 1 / std::sqrt(static_cast<float>(config.head_dim)));
  add("embeddings", config.embedding_scale, 1);
  add("residual", config.residual_scale, 1);
  add("logits", config.logit_scale, 1);
  add("attention cap", config.attention_softcap, 0);
  add("logit cap", config.logit_softcap, 0);
  return join(parts, ", ");
}

std::string norms_text(const ModelConfig& config) {
  std::string text = fmt::format("{}, epsilon {}", to_string(config.norm), config.norm_epsilon);
  if (config.roles.contains(Role::kQueryNorm)) {
    text +=
        fmt::format(", of q and k {}", config.norm_per_head ? "for each head" : "for all heads");
  }
  return text;
}

std::string heads_text(const ModelConfig& config) {
  std::string text = fmt::format("{} of {} numbers", config.heads, config.head_dim);
  if (config.kv_heads != config.heads) {
    text += fmt::format(", {} for keys and values", config.kv_heads);
  }
  return text;
}

std::string blocks_text(const ModelConfig& config) {
  std::string text = config.parallel_blocks ? "parallel" : "sequential";
  text += config.norm_after ? ", post-norm" : ", pre-norm";
  if (config.roles.contains(Role::kAttentionPostNorm)) text += ", outputs normed too";
  return text;
}

std::string tokenizer_text(const Vocabulary& vocabulary) {
  std::string text = vocabulary.model;
  if (!vocabulary.pre.empty()) text += ", pre-tokenizer " + vocabulary.pre;
  return text;
}

}  // namespace

std::string_view to_string(NormKind norm) {
  return norm == NormKind::kLayerNorm ? "layer_norm" : "rms_norm";
}

std::string_view to_string(Activation activation) {
  switch (activation) {
    case Activation::kGelu:
      return "gelu";
    case Activation::kGeluTanh:
      return "gelu_tanh";
    case Activation::kRelu:
      return "relu";
    case Activation::kSilu:
      return "silu";
  }
  ISOGLOSS_ASSERT(false);
}

std::string_view to_string(Positions positions) {
  switch (positions) {
    case Positions::kNone:
      return "none";
    case Positions::kLearned:
      return "learned";
    case Positions::kSinusoidal:
      return "sinusoidal";
    case Positions::kAlibi:
      return "alibi";
  }
  ISOGLOSS_ASSERT(false);
}

std::string_view to_string(RopePairs pairs) {
  return pairs == RopePairs::kNeighbours ? "neighbours" : "halves";
}

std::string_view to_string(RopeScaling scaling) {
  switch (scaling) {
    case RopeScaling::kNone:
      return "none";
    case RopeScaling::kLinear:
      return "linear";
    case RopeScaling::kYarn:
      return "yarn";
    case RopeScaling::kFactors:
      return "factors";
    case RopeScaling::kLongRope:
      return "longrope";
  }
  ISOGLOSS_ASSERT(false);
}

std::string_view to_string(TensorKind kind) {
  switch (kind) {
    case TensorKind::kMatrix:
      return "matrix";
    case TensorKind::kEmbedding:
      return "embedding";
    case TensorKind::kNorm:
      return "norm";
    case TensorKind::kBias:
      return "bias";
  }
  ISOGLOSS_ASSERT(false);
}

bool has_gate(const ModelConfig& config) {
  return config.roles.contains(Role::kFfnGate) || config.roles.contains(Role::kFfnGateUp);
}

std::string layer_ranges(std::span<const size_t> layers) {
  std::string text;
  for (size_t i = 0; i < layers.size();) {
    size_t last = i;
    while (last + 1 < layers.size() && layers[last + 1] == layers[last] + 1) ++last;
    if (i != 0) text += ",";
    text +=
        last == i ? fmt::format("{}", layers[i]) : fmt::format("{}-{}", layers[i], layers[last]);
    i = last + 1;
  }
  return text;
}

std::vector<Fact> describe(const ModelFacts& facts, const Model& model) {
  const ModelConfig& config = model.config();
  std::vector<Fact> lines = {{"name", facts.name},
                             {"path", facts.path},
                             {"family", facts.family},
                             {"layers", fmt::format("{}", config.layers)},
                             {"width", fmt::format("{}", config.width)}};
  if (config.embedding_width != config.width) {
    lines.back().text += fmt::format(", of embeddings {}", config.embedding_width);
  }
  lines.push_back({"heads", heads_text(config)});
  lines.push_back(
      {"feed-forward", fmt::format("{}, {}{}", config.ffn_width, to_string(config.activation),
                                   has_gate(config) ? ", gated" : "")});
  lines.push_back({"vocabulary", fmt::format("{}", config.vocab_size)});
  lines.push_back({"tokenizer", tokenizer_text(model.vocabulary())});
  lines.push_back({"context", fmt::format("{}", config.context_length)});
  lines.push_back({"norms", norms_text(config)});
  lines.push_back({"positions", positions_text(config)});
  lines.push_back({"windows", windows_text(config)});
  lines.push_back({"blocks", blocks_text(config)});
  lines.push_back({"head", config.tied_head ? "tied to the token embedding" : "its own"});
  if (const auto scales = scales_text(config); !scales.empty()) lines.push_back({"scales", scales});
  lines.push_back({"parameters", fmt::format("{}", facts.parameters)});
  lines.push_back({"size", fmt::format("{:.2f} MiB, {} bytes, {:.2f} bits per weight",
                                       static_cast<double>(facts.size_bytes) / (1 << 20),
                                       facts.size_bytes, facts.bits_per_weight)});
  if (!facts.quantized_blocks.empty()) lines.push_back({"quantized", facts.quantized_blocks});
  return lines;
}

}  // namespace isogloss
