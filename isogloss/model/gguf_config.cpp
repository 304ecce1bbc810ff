// Keys of a GGUF file to a ModelConfig and a Vocabulary. Keys and their defaults are those that
// llama.cpp reads: a GGUF file means what llama.cpp computes from it.
#include <cmath>
#include <limits>

#include "isogloss/base/suggest.h"
#include "isogloss/model/gguf_impl.h"

namespace isogloss {
namespace {

// Keys of one architecture: "block_count" stands for "llama.block_count".
class ArchKeys {
 public:
  ArchKeys(const Metadata& metadata, std::string arch)
      : metadata_(metadata), arch_(std::move(arch)) {}

  std::string name(std::string_view key) const { return fmt::format("{}.{}", arch_, key); }
  size_t get_size(std::string_view key) const { return metadata_.get_size(name(key)); }
  size_t get_size_or(std::string_view key, size_t fallback) const {
    return metadata_.find_unsigned(name(key)).value_or(fallback);
  }
  float get_float(std::string_view key) const {
    return static_cast<float>(metadata_.get_float(name(key)));
  }
  float get_float_or(std::string_view key, float fallback) const {
    const auto found = metadata_.find_float(name(key));
    return found ? static_cast<float>(*found) : fallback;
  }
  const Metadata& metadata() const { return metadata_; }

 private:
  const Metadata& metadata_;
  std::string arch_;
};

std::vector<float> take_factors(const std::string& path, StoredTensors& stored,
                                std::string_view name) {
  const auto found = stored.find(name);
  if (found == stored.end()) return {};
  TensorView view;
  view.name = name;
  view.rows = 1;
  view.cols = found->second.bytes.size() / sizeof(float);
  view.bytes = found->second.bytes;
  if (found->second.type != TensorType::kF32 || found->second.shape.size() != 1) {
    fail(ErrorCode::kUnsupported, "{}: tensor '{}' is not a list of F32", path, name);
  }
  std::vector<float> factors(view.count());
  decode(view, factors);
  stored.erase(found);
  return factors;
}

void read_scaling(const ArchKeys& keys, StoredTensors& stored, RopeConfig& rope) {
  const auto type = keys.metadata().find_string(keys.name("rope.scaling.type")).value_or("linear");
  const float factor =
      keys.get_float_or("rope.scaling.factor", keys.get_float_or("rope.scale_linear", 0));
  rope.attention_factor = keys.get_float_or("rope.scaling.attn_factor", 1);
  rope.original_length = keys.get_size_or("rope.scaling.original_context_length",
                                          keys.get_size_or("context_length", 0));
  const bool stretches = factor != 0 && factor != 1;
  if (stretches || !(std::isfinite(factor) && factor >= 0)) rope.factor = factor;
  if (type == "yarn") {
    rope.scaling = RopeScaling::kYarn;
    rope.attention_factor *= 1 + 0.1F * std::log(std::max(1.0F, rope.factor));
  } else if (type == "linear" || type == "longrope" || type == "none") {
    const bool linear = stretches && type == "linear";
    rope.scaling = linear ? RopeScaling::kLinear : RopeScaling::kNone;
  } else {
    fail(ErrorCode::kUnsupported,
         "{}: rotary scaling '{}'; known are none, linear, yarn and longrope",
         keys.metadata().path(), type);
  }
  const std::string& path = keys.metadata().path();
  if (auto factors = take_factors(path, stored, "rope_freqs.weight"); !factors.empty()) {
    rope.scaling = RopeScaling::kFactors;
    rope.factors = std::move(factors);
  }
  bool twice = stretches && type != "none" && rope.scaling == RopeScaling::kFactors;
  auto short_factors = take_factors(path, stored, "rope_factors_short.weight");
  auto long_factors = take_factors(path, stored, "rope_factors_long.weight");
  if (!short_factors.empty() || !long_factors.empty()) {
    twice = stretches && type != "longrope";
    rope.scaling = RopeScaling::kLongRope;
    rope.factors = std::move(short_factors);
    rope.long_factors = std::move(long_factors);
  }
  if (twice) {
    fail(ErrorCode::kUnsupported, "{}: rotary scaling '{}' beside a list of factors", path, type);
  }
}

void read_rope(const ArchKeys& keys, StoredTensors& stored, ModelConfig& config) {
  if (get_family_info(config.family).gguf_neighbours) config.rope.pairs = RopePairs::kNeighbours;
  config.rope.dims = keys.get_size_or("rope.dimension_count", config.head_dim);
  config.rope.base = keys.get_float_or("rope.freq_base", 10000);
  read_scaling(keys, stored, config.rope);
  config.windowed_rope = config.rope;
  if (config.family == Family::kGemma3) {
    config.windowed_rope = {.pairs = config.rope.pairs, .dims = config.rope.dims};
  }
  config.windowed_rope.base = keys.get_float_or("rope.freq_base_swa", config.windowed_rope.base);
}

// Every so many layers one sees everything; a file may list them instead.
void read_windows(const ArchKeys& keys, size_t window, size_t full_period, ModelConfig& config) {
  const std::string pattern = keys.name("attention.sliding_window_pattern");
  if (!keys.metadata().is_array(pattern)) {
    set_layer_windows(config, window,
                      keys.get_size_or("attention.sliding_window_pattern", full_period));
    return;
  }
  const auto windowed = keys.metadata().find_numbers<uint8_t>(pattern, GgufType::kBool);
  if (windowed.size() != config.layers) {
    fail(ErrorCode::kMismatch, "{}: key '{}' lists {} layers, and the model has {}",
         keys.metadata().path(), pattern, windowed.size(), config.layers);
  }
  for (size_t layer = 0; layer < config.layers; ++layer) {
    config.layer_configs[layer].window = windowed[layer] != 0 ? window : 0;
  }
}

// The one size of Gemma 2 and of Gemma 3 whose queries scale by width / heads, by its layers.
void set_gemma_scale(size_t layers_of_27b, ModelConfig& config) {
  if (config.layers != layers_of_27b) return;
  config.attention_scale = 1 / std::sqrt(static_cast<float>(config.width / config.heads));
}

// Keys, and constants that llama.cpp has for want of them.
void read_family(const ArchKeys& keys, ModelConfig& config) {
  switch (config.family) {
    case Family::kOpt:
      config.embedding_width = keys.get_size_or("embedding_length_token", config.width);
      config.norm_after = keys.metadata().find_bool(keys.name("norm_after")).value_or(false);
      break;
    case Family::kXglm:
      config.embedding_scale = keys.get_float_or("embedding_scale", 1);
      break;
    case Family::kGptNeoX:
      config.activation = Activation::kGeluTanh;  // whatever the model was trained with
      config.parallel_blocks =
          keys.metadata().find_bool(keys.name("use_parallel_residual")).value_or(true);
      break;
    case Family::kGemma2:
      config.attention_softcap = keys.get_float_or("attn_logit_softcapping", 50);
      config.logit_softcap = keys.get_float_or("final_logit_softcapping", 30);
      read_windows(keys, keys.get_size_or("attention.sliding_window", 4096), 2, config);
      for (LayerConfig& layer : config.layer_configs) layer.windowed_rope = layer.window != 0;
      set_gemma_scale(46, config);
      break;
    case Family::kGemma3:
      config.logit_softcap = keys.get_float_or("final_logit_softcapping", 0);
      read_windows(keys, keys.get_size_or("attention.sliding_window", 0), 6, config);
      for (LayerConfig& layer : config.layer_configs) layer.windowed_rope = layer.window != 0;
      set_gemma_scale(62, config);
      break;
    case Family::kSmolLm3:
      for (size_t layer = 3; layer < config.layers; layer += 4) {
        config.layer_configs[layer].rope = false;
      }
      break;
    case Family::kGranite:
      config.embedding_scale = keys.get_float_or("embedding_scale", 1);
      config.residual_scale = keys.get_float_or("residual_scale", 1);
      config.attention_scale = keys.get_float_or("attention.scale", config.attention_scale);
      config.logit_scale = 1 / keys.get_float("logit_scale");
      break;
    case Family::kCohere:
      config.logit_scale = keys.get_float_or("logit_scale", 1);
      break;
    case Family::kCohere2:
      config.logit_scale = keys.get_float("logit_scale");
      read_windows(keys, keys.get_size("attention.sliding_window"), 4, config);
      for (LayerConfig& layer : config.layer_configs) {
        layer.rope = layer.windowed_rope = layer.window != 0;
      }
      break;
    default:
      break;
  }
}

// The size of an attention head; `width` is split evenly where the file does not say.
size_t read_head_dim(const ArchKeys& keys, const ModelConfig& config) {
  if (const auto size = keys.metadata().find_unsigned(keys.name("attention.key_length"))) {
    return *size;
  }
  if (config.heads == 0 || config.width % config.heads != 0) {
    fail(ErrorCode::kCorrupt, "{}: width {} does not divide into {} heads", keys.metadata().path(),
         config.width, config.heads);
  }
  return config.width / config.heads;
}

std::optional<int32_t> find_token_id(const Metadata& metadata, std::string_view key) {
  const auto id = metadata.find_unsigned(key);
  if (!id) return std::nullopt;
  if (*id > static_cast<uint64_t>(std::numeric_limits<int32_t>::max())) {
    fail(ErrorCode::kCorrupt, "{}: key '{}' is {}, which is no token id", metadata.path(), key,
         *id);
  }
  return static_cast<int32_t>(*id);
}

}  // namespace

ModelConfig read_gguf_config(const Metadata& metadata, StoredTensors& stored) {
  const std::string arch = metadata.get_string("general.architecture");
  const auto family = find_family_by_gguf_name(arch);
  if (!family) {
    std::vector<std::string> known;
    for (const auto& info : known_families()) {
      const bool first = find_family_by_gguf_name(info.gguf_name) == info.family;
      if (first) known.emplace_back(info.gguf_name);
    }
    fail(ErrorCode::kUnsupported, "{}: architecture '{}' is not known{}; known are {}",
         metadata.path(), arch, did_you_mean(arch, known), fmt::join(known, ", "));
  }
  if (metadata.find_unsigned("split.count").value_or(1) > 1) {
    fail(ErrorCode::kUnsupported,
         "{}: is one part of a split model; join the parts with llama-gguf-split --merge",
         metadata.path());
  }
  const ArchKeys keys(metadata, arch);
  ModelConfig config = family_defaults(*family);
  config.name = metadata.find_string("general.name").value_or("");
  config.layers = keys.get_size("block_count");
  config.width = keys.get_size("embedding_length");
  config.heads = keys.get_size("attention.head_count");
  config.kv_heads = keys.get_size_or("attention.head_count_kv", config.heads);
  config.ffn_width = keys.get_size("feed_forward_length");
  config.context_length = keys.get_size("context_length");
  config.head_dim = read_head_dim(keys, config);
  config.embedding_width = config.width;
  config.vocab_size = 1;  // is counted later
  check_sizes(metadata.path(), config);
  config.layer_configs.resize(config.layers);
  config.norm_epsilon =
      keys.get_float(config.norm == NormKind::kLayerNorm ? "attention.layer_norm_epsilon"
                                                         : "attention.layer_norm_rms_epsilon");
  set_family_scales(config);
  if (config.positions == Positions::kNone) read_rope(keys, stored, config);
  read_family(keys, config);
  return config;
}

Vocabulary read_gguf_vocabulary(const Metadata& metadata) {
  Vocabulary vocabulary;
  vocabulary.model = metadata.get_string("tokenizer.ggml.model");
  vocabulary.pre = metadata.find_string("tokenizer.ggml.pre").value_or("default");
  vocabulary.tokens = metadata.find_strings("tokenizer.ggml.tokens");
  vocabulary.scores = metadata.find_numbers<float>("tokenizer.ggml.scores", GgufType::kF32);
  if (vocabulary.model != "llama") vocabulary.scores.clear();
  for (const int32_t type :
       metadata.find_numbers<int32_t>("tokenizer.ggml.token_type", GgufType::kI32)) {
    if (type < static_cast<int32_t>(TokenType::kNormal) ||
        type > static_cast<int32_t>(TokenType::kByte)) {
      fail(ErrorCode::kCorrupt, "{}: tokenizer.ggml.token_type holds {}, expected 1..6",
           metadata.path(), type);
    }
    vocabulary.types.push_back(static_cast<TokenType>(type));
  }
  if (vocabulary.types.empty()) vocabulary.types.resize(vocabulary.size(), TokenType::kNormal);
  vocabulary.merges = metadata.find_strings("tokenizer.ggml.merges");
  vocabulary.bos = find_token_id(metadata, "tokenizer.ggml.bos_token_id");
  vocabulary.eos = find_token_id(metadata, "tokenizer.ggml.eos_token_id");
  vocabulary.unknown = find_token_id(metadata, "tokenizer.ggml.unknown_token_id");
  vocabulary.add_bos = metadata.find_bool("tokenizer.ggml.add_bos_token");
  vocabulary.add_eos = metadata.find_bool("tokenizer.ggml.add_eos_token");
  vocabulary.add_space_prefix = metadata.find_bool("tokenizer.ggml.add_space_prefix");
  return vocabulary;
}

}  // namespace isogloss
