// config.json of Hugging Face directories, as transformers 3 to 5 write it, to a ModelConfig. Keys
// that are absent take the defaults of the family's class in transformers; a value that would
// change the numbers and is not computed is refused.
#include <nlohmann/json.hpp>

#include <algorithm>
#include <initializer_list>

#include "isogloss/base/error.h"
#include "isogloss/base/json.h"
#include "isogloss/base/suggest.h"
#include "isogloss/model/hf_config_impl.h"

namespace isogloss {
namespace {

using nlohmann::json;
using Keys = std::initializer_list<const char*>;

// Families have called the same thing by different names; two names with two values contradict.
std::optional<size_t> find_size(const JsonObject& file, Keys keys) {
  std::optional<size_t> found;
  const char* found_as = nullptr;
  for (const char* key : keys) {
    if (!file.has(key)) continue;
    const size_t value = file.get_size(key);
    if (found && *found != value) {
      fail(ErrorCode::kMismatch, "{}: \"{}\" is {} and \"{}\" is {}; they mean the same",
           file.path(), found_as, *found, key, value);
    }
    found = value;
    found_as = key;
  }
  return found;
}

size_t get_size(const JsonObject& file, Keys keys) {
  if (const auto found = find_size(file, keys)) return *found;
  fail(ErrorCode::kCorrupt, "{}: \"{}\" is missing", file.path(), fmt::join(keys, "\" or \""));
}

// `key`: the family's own; nullptr where config.json has no say.
void read_activation(const JsonObject& file, const char* key, ModelConfig& config) {
  struct Name {
    const char* name;
    Activation activation;
  };
  static constexpr Name kNames[] = {
      {"gelu", Activation::kGelu},          {"gelu_new", Activation::kGeluTanh},
      {"gelu_fast", Activation::kGeluTanh}, {"gelu_pytorch_tanh", Activation::kGeluTanh},
      {"relu", Activation::kRelu},          {"silu", Activation::kSilu},
      {"swish", Activation::kSilu},
  };
  if (!key || !file.has(key)) return;
  const std::string name = file.get_string(key);
  // Gemma's first files say "gelu" and were trained with its tanh form; transformers reads so.
  if (config.family == Family::kGemma && name == "gelu") return;
  const auto* known = std::ranges::find_if(kNames, [&](auto& n) { return n.name == name; });
  if (known == std::end(kNames)) {
    fail(ErrorCode::kUnsupported, "{}: \"{}\" is {}; known are gelu, gelu_new, relu and silu",
         file.path(), key, shorten(name));
  }
  config.activation = known->activation;
}

// Windows as "layer_types" lists them; false when it is not there. `window_key`: what makes them.
bool read_layer_types(const JsonObject& file, size_t window, const char* window_key,
                      ModelConfig& config) {
  if (!file.has("layer_types")) return false;
  const auto types = file.get_strings("layer_types");
  if (types.size() != config.layers) {
    fail(ErrorCode::kMismatch, "{}: \"layer_types\" lists {} layers, and the model has {}",
         file.path(), types.size(), config.layers);
  }
  for (size_t layer = 0; layer < types.size(); ++layer) {
    if (types[layer] != "sliding_attention" && types[layer] != "full_attention") {
      fail(ErrorCode::kUnsupported,
           "{}: \"layer_types\" holds {}; known are full_attention and sliding_attention",
           file.path(), shorten(types[layer]));
    }
    const bool windowed = types[layer] == "sliding_attention";
    if (windowed && window == 0) {
      fail(ErrorCode::kMismatch, "{}: layer {} has a sliding window, and \"{}\" says there is none",
           file.path(), layer, window_key);
    }
    config.layer_configs[layer].window = windowed ? window : 0;
  }
  return true;
}

constexpr size_t kUsualWindow = 4096;  // of every family that has one

// A key that is not there means the usual window; null, none.
size_t read_window(const JsonObject& file) {
  if (!file.value().contains("sliding_window")) return kUsualWindow;
  return file.get_size_or("sliding_window", 0);
}

// As read_window, for families whose layers would not be what they are without one.
size_t require_window(const JsonObject& file) {
  const size_t window = read_window(file);
  if (window == 0) {
    fail(ErrorCode::kUnsupported,
         "{}: \"sliding_window\" is null or 0; expected a number of tokens", file.path());
  }
  return window;
}

void add_roles(ModelConfig& config, std::initializer_list<Role> roles) {
  for (const Role role : roles) config.roles.insert(role);
}

void read_attention_bias(const JsonObject& file, ModelConfig& config) {
  if (!file.get_bool_or("attention_bias", false)) return;
  add_roles(config,
            {Role::kQueryBias, Role::kKeyBias, Role::kValueBias, Role::kAttentionOutputBias});
}

void finish_gpt2(const JsonObject& file, ModelConfig& config) {
  refuse_unless(file, "scale_attn_weights", true);
  refuse_unless(file, "scale_attn_by_inverse_layer_idx", false);
  refuse_unless(file, "add_cross_attention", false);
  config.norm_epsilon = file.get_float_or("layer_norm_epsilon", 1e-5F);
}

constexpr float kLayerNormEpsilon = 1e-5F;  // torch's, where config.json cannot say

void finish_opt(const JsonObject& file, ModelConfig& config) {
  refuse_unless(file, "layer_norm_elementwise_affine", true);
  config.norm_epsilon = kLayerNormEpsilon;
  config.norm_after = !file.get_bool_or("do_layer_norm_before", true);
  config.embedding_width = file.get_size_or("word_embed_proj_dim", config.width);
  if (!config.norm_after && !file.get_bool_or("_remove_final_layer_norm", false)) {
    add_roles(config, {Role::kOutputNorm, Role::kOutputNormBias});
  }
  if (config.embedding_width != config.width) {
    add_roles(config, {Role::kEmbeddingProjection, Role::kHeadProjection});
  }
  if (file.get_bool_or("enable_bias", true)) {
    add_roles(config, {Role::kQueryBias, Role::kKeyBias, Role::kValueBias,
                       Role::kAttentionOutputBias, Role::kFfnUpBias, Role::kFfnDownBias});
  }
}

void finish_xglm(const JsonObject& file, ModelConfig& config) {
  refuse_unless(file, "add_cross_attention", false);
  config.norm_epsilon = kLayerNormEpsilon;
  if (file.get_bool_or("scale_embedding", true)) {
    config.embedding_scale = std::sqrt(static_cast<float>(config.width));
  }
}

void finish_bloom(const JsonObject& file, ModelConfig& config) {
  refuse_unless(file, "apply_residual_connection_post_layernorm", false);
  config.norm_epsilon = file.get_float_or("layer_norm_epsilon", 1e-5F);
}

void finish_gpt_neox(const JsonObject& file, ModelConfig& config) {
  config.parallel_blocks = file.get_bool_or("use_parallel_residual", true);
  config.norm_epsilon = file.get_float_or("layer_norm_eps", 1e-5F);
  if (file.get_bool_or("attention_bias", true)) {
    add_roles(config, {Role::kQkvBias, Role::kAttentionOutputBias});
  }
}

void finish_llama(const JsonObject& file, ModelConfig& config) {
  read_attention_bias(file, config);
  if (file.get_bool_or("mlp_bias", false)) {
    add_roles(config, {Role::kFfnGateBias, Role::kFfnUpBias, Role::kFfnDownBias});
  }
}

void finish_mistral(const JsonObject& file, ModelConfig& config) {
  const size_t window = read_window(file);
  if (read_layer_types(file, window, "sliding_window", config)) return;
  set_layer_windows(config, window, 0);
}

void finish_phi3(const JsonObject& file, ModelConfig& config) {
  config.norm_epsilon = file.get_float_or("rms_norm_eps", 1e-5F);
  set_layer_windows(config, file.get_size_or("sliding_window", 0), 0);
}

void finish_qwen(const JsonObject& file, ModelConfig& config) {
  if (config.family == Family::kQwen3) read_attention_bias(file, config);
  const bool windows = file.get_bool_or("use_sliding_window", false);
  const size_t window = windows ? file.get_size("sliding_window") : 0;
  if (read_layer_types(file, window, "use_sliding_window", config)) return;
  const size_t first = file.get_size_or("max_window_layers", 28);
  for (size_t layer = first; layer < config.layers; ++layer) {
    config.layer_configs[layer].window = window;
  }
}

void finish_gemma(const JsonObject& file, ModelConfig& config) {
  read_attention_bias(file, config);
  refuse_unless(file, "use_bidirectional_attention", false);
  if (config.family == Family::kGemma) return;
  const double scale = file.get_float_or("query_pre_attn_scalar", 256);
  config.attention_scale = static_cast<float>(1 / std::sqrt(scale));
  const bool second = config.family == Family::kGemma2;
  // A cap that is not there is Gemma 2's usual one; null, none.
  const auto cap = [&](const char* key, float usual) {
    if (!file.value().contains(key)) return second ? usual : 0;
    return file.get_float_or(key, 0);
  };
  config.logit_softcap = cap("final_logit_softcapping", 30);
  config.attention_softcap = cap("attn_logit_softcapping", 50);
  const size_t window = second ? read_window(file) : require_window(file);
  if (!read_layer_types(file, window, "sliding_window", config)) {
    set_layer_windows(config, window, second ? 2 : file.get_size_or("sliding_window_pattern", 6));
  }
  if (second) return;
  for (LayerConfig& layer : config.layer_configs) layer.windowed_rope = layer.window != 0;
}

void finish_smollm3(const JsonObject& file, ModelConfig& config) {
  finish_llama(file, config);
  const size_t period = file.get_size_or("no_rope_layer_interval", 4);
  std::vector<uint64_t> rotates;
  if (file.has("no_rope_layers")) {
    rotates = file.get_sizes("no_rope_layers");
    if (rotates.size() != config.layers) {
      fail(ErrorCode::kMismatch, "{}: \"no_rope_layers\" lists {} layers, and the model has {}",
           file.path(), rotates.size(), config.layers);
    }
  }
  for (size_t layer = 0; layer < config.layers; ++layer) {
    config.layer_configs[layer].rope =
        rotates.empty() ? period == 0 || (layer + 1) % period != 0 : rotates[layer] != 0;
  }
  const bool windows = file.get_bool_or("use_sliding_window", false);
  const size_t window = windows ? file.get_size("sliding_window") : 0;
  if (read_layer_types(file, window, "use_sliding_window", config)) return;
  for (LayerConfig& layer : config.layer_configs) layer.window = layer.rope ? 0 : window;
}

void finish_granite(const JsonObject& file, ModelConfig& config) {
  finish_llama(file, config);
  config.embedding_scale = file.get_float_or("embedding_multiplier", 1);
  config.residual_scale = file.get_float_or("residual_multiplier", 1);
  config.attention_scale = file.get_float_or("attention_multiplier", 1);
  config.logit_scale = 1 / file.get_float_or("logits_scaling", 1);
}

void finish_cohere(const JsonObject& file, ModelConfig& config) {
  read_attention_bias(file, config);
  config.norm_epsilon = file.get_float_or("layer_norm_eps", 1e-5F);
  config.logit_scale = file.get_float_or("logit_scale", 0.0625F);
  if (config.family == Family::kCohere) {
    if (file.get_bool_or("use_qk_norm", false)) {
      add_roles(config, {Role::kQueryNorm, Role::kKeyNorm});
    }
    return;
  }
  const size_t window = require_window(file);
  if (!read_layer_types(file, window, "sliding_window", config)) {
    set_layer_windows(config, window, file.get_size_or("sliding_window_pattern", 4));
  }
  for (LayerConfig& layer : config.layer_configs) layer.rope = layer.window != 0;
}

enum class KvHeads { kAll, kSome, kMustSay };

// What transformers' class of a family assumes where config.json is silent.
struct HfDefaults {
  Family family;
  bool tied;
  size_t head_dim;  // 0: the width shared by the heads
  KvHeads kv_heads;
  const char* activation_key;
  bool rotates;
  RopeDefaults rope;
  void (*finish)(const JsonObject&, ModelConfig&);
};

using Kv = KvHeads;
constexpr const char* kFunction = "activation_function";
constexpr const char* kAct = "hidden_act";
constexpr const char* kActivation = "hidden_activation";
constexpr HfDefaults kDefaults[] = {
    {Family::kGpt2, true, 0, Kv::kAll, kFunction, false, {}, finish_gpt2},
    {Family::kOpt, true, 0, Kv::kAll, kFunction, false, {}, finish_opt},
    {Family::kXglm, true, 0, Kv::kAll, kFunction, false, {}, finish_xglm},
    {Family::kBloom, true, 0, Kv::kAll, nullptr, false, {}, finish_bloom},
    {Family::kGptNeoX, false, 0, Kv::kAll, kAct, true, {10000, 0.25, true}, finish_gpt_neox},
    {Family::kLlama, false, 0, Kv::kSome, kAct, true, {}, finish_llama},
    {Family::kMistral, false, 0, Kv::kMustSay, kAct, true, {}, finish_mistral},
    {Family::kQwen2, false, 0, Kv::kMustSay, kAct, true, {}, finish_qwen},
    {Family::kQwen3, false, 128, Kv::kMustSay, kAct, true, {}, finish_qwen},
    {Family::kGemma, true, 256, Kv::kMustSay, kAct, true, {}, finish_gemma},
    {Family::kGemma2, true, 256, Kv::kMustSay, kActivation, true, {}, finish_gemma},
    {Family::kGemma3, true, 256, Kv::kMustSay, kActivation, true, {1e6}, finish_gemma},
    {Family::kSmolLm3, true, 0, Kv::kMustSay, kAct, true, {2e6}, finish_smollm3},
    {Family::kPhi3, false, 0, Kv::kSome, kAct, true, {10000, 1, true}, finish_phi3},
    {Family::kGranite, false, 0, Kv::kSome, kAct, true, {}, finish_granite},
    {Family::kCohere, true, 0, Kv::kSome, kAct, true, {500000}, finish_cohere},
    {Family::kCohere2, true, 0, Kv::kSome, kAct, true, {}, finish_cohere},
};

size_t read_head_dim(const JsonObject& file, const ModelConfig& config,
                     const HfDefaults& defaults) {
  if (file.has("head_dim")) return file.get_size("head_dim");
  if (defaults.head_dim != 0) return defaults.head_dim;
  if (config.heads == 0 || config.width % config.heads != 0) {
    fail(ErrorCode::kCorrupt, "{}: the width {} does not divide into {} heads", file.path(),
         config.width, config.heads);
  }
  return config.width / config.heads;
}

size_t read_kv_heads(const JsonObject& file, const ModelConfig& config, KvHeads kind) {
  if (kind == KvHeads::kAll) return config.heads;
  if (kind == KvHeads::kMustSay) return file.get_size("num_key_value_heads");
  return file.get_size_or("num_key_value_heads", config.heads);
}

// BLOOM has no limit of its own; its models were trained on 2048 tokens.
size_t read_context_length(const JsonObject& file, Family family) {
  constexpr size_t kBloomContext = 2048;
  if (family == Family::kBloom) return file.get_size_or("seq_length", kBloomContext);
  return get_size(file, {"max_position_embeddings", "n_positions"});
}

void read_sizes(const JsonObject& file, const HfDefaults& defaults, ModelConfig& config) {
  config.layers = get_size(file, {"num_hidden_layers", "n_layer", "num_layers"});
  config.width = get_size(file, {"hidden_size", "n_embd", "d_model", "n_embed"});
  config.heads = get_size(file, {"num_attention_heads", "n_head", "attention_heads"});
  config.kv_heads = read_kv_heads(file, config, defaults.kv_heads);
  config.head_dim = read_head_dim(file, config, defaults);
  const auto ffn = find_size(file, {"intermediate_size", "ffn_dim", "n_inner"});
  const bool four_widths = config.family == Family::kGpt2 || config.family == Family::kBloom;
  config.ffn_width = ffn || !four_widths ? ffn.value_or(0) : 4 * config.width;
  if (config.ffn_width == 0) get_size(file, {"intermediate_size", "ffn_dim"});
  config.vocab_size = file.get_size("vocab_size");
  config.context_length = read_context_length(file, config.family);
  config.embedding_width = config.width;
  check_sizes(file.path(), config);
  config.layer_configs.resize(config.layers);
}

}  // namespace

void refuse_unless(const JsonObject& file, const char* key, const json& usual) {
  if (file.has(key) && file.value().at(key) != usual) {
    fail(ErrorCode::kUnsupported, "{}: \"{}\" is {}; only {} is supported", file.path(), key,
         shorten(file.value().at(key)), usual.dump());
  }
}

ModelConfig read_hf_config(const std::filesystem::path& path) {
  const auto file = JsonObject::parse(read_text_file(path), path.string());
  const auto type = file.get_string("model_type");
  const auto family = find_family_by_hf_name(type);
  if (type == "gemma3") {
    fail(ErrorCode::kUnsupported,
         "{}: model_type 'gemma3' reads images too; its language model alone is 'gemma3_text'",
         path.string());
  }
  if (!family) {
    std::vector<std::string> known;
    for (const auto& info : known_families()) known.emplace_back(info.hf_name);
    fail(ErrorCode::kUnsupported, "{}: model_type '{}' is not known{}; known are {}", path.string(),
         type, did_you_mean(type, known), fmt::join(known, ", "));
  }
  const HfDefaults& defaults = kDefaults[static_cast<size_t>(*family)];
  ISOGLOSS_ASSERT(defaults.family == *family);
  ModelConfig config = family_defaults(*family);
  read_sizes(file, defaults, config);
  read_activation(file, defaults.activation_key, config);
  config.norm_epsilon = file.get_float_or("rms_norm_eps", 1e-6F);
  set_family_scales(config);
  if (defaults.rotates) read_ropes(file, config, defaults.rope);
  config.tied_head = file.get_bool_or("tie_word_embeddings", defaults.tied);
  if (!config.tied_head) config.roles.insert(Role::kHead);
  defaults.finish(file, config);
  check_config(path.string(), config);
  return config;
}

}  // namespace isogloss
