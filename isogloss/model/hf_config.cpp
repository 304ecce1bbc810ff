// config.json of Hugging Face directories, as transformers 3 to 5 write it, to a ModelConfig. Keys
// that are absent take the defaults of the family's class in transformers; a value that would
// change the numbers and is not computed is refused.
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <numbers>

#include "isogloss/base/error.h"
#include "isogloss/base/json.h"
#include "isogloss/base/suggest.h"
#include "isogloss/model/model_impl.h"

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

void refuse_unless(const JsonObject& file, const char* key, const json& usual) {
  if (file.has(key) && file.value().at(key) != usual) {
    fail(ErrorCode::kUnsupported, "{}: \"{}\" is {}; only {} is supported", file.path(), key,
         shorten(file.value().at(key)), usual.dump());
  }
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

// Of Llama 3: frequencies whose wave is longer than the first context are divided by the factor,
// short ones kept, those between mixed (transformers, _compute_llama3_parameters).
void set_llama3_factors(const JsonObject& scaling, size_t original_length, RopeConfig& rope) {
  const double factor = scaling.get_float("factor");
  const double low = scaling.get_float("low_freq_factor");
  const double high = scaling.get_float("high_freq_factor");
  const auto length = static_cast<double>(original_length);
  if (!(high > low) || !(low > 0) || !(factor > 0)) {
    fail(
        ErrorCode::kCorrupt,
        "{}: high_freq_factor {} must be above low_freq_factor {}, and both above 0 like factor {}",
        scaling.path(), high, low, factor);
  }
  RopeConfig plain = rope;
  plain.scaling = RopeScaling::kNone;
  rope.scaling = RopeScaling::kFactors;
  for (const double frequency : rotary_frequencies(plain, 0)) {
    const double wave = 2 * std::numbers::pi / frequency;
    const double smooth = (length / wave - low) / (high - low);
    const double divisor = wave < length / high  ? 1
                           : wave > length / low ? factor
                                                 : 1 / ((1 - smooth) / factor + smooth);
    rope.factors.push_back(static_cast<float>(divisor));
  }
}

// What cosine and sine are multiplied by under YaRN (Peng et al. 2023, equation 22).
float yarn_attention_factor(const JsonObject& scaling, double factor) {
  const auto grown = [&](double by) { return factor <= 1 ? 1 : 0.1 * by * std::log(factor) + 1; };
  if (scaling.has("attention_factor")) return scaling.get_float("attention_factor");
  const double mscale = scaling.get_float_or("mscale", 0);
  const double all = scaling.get_float_or("mscale_all_dim", 0);
  return static_cast<float>(mscale != 0 && all != 0 ? grown(mscale) / grown(all) : grown(1));
}

void set_long_rope(const JsonObject& scaling, size_t context_length, RopeConfig& rope) {
  rope.scaling = RopeScaling::kLongRope;
  rope.factors = scaling.get_floats("short_factor");
  rope.long_factors = scaling.get_floats("long_factor");
  const auto original = static_cast<double>(rope.original_length);
  const double grown = static_cast<double>(context_length) / original;
  const double factor =
      static_cast<double>(scaling.get_float_or("factor", static_cast<float>(grown)));
  const double usual = factor <= 1 ? 1 : std::sqrt(1 + std::log(factor) / std::log(original));
  rope.attention_factor = scaling.get_float_or("attention_factor", static_cast<float>(usual));
}

void set_yarn(const JsonObject& scaling, RopeConfig& rope) {
  refuse_unless(scaling, "truncate", true);
  rope.scaling = RopeScaling::kYarn;
  rope.factor = scaling.get_float("factor");
  rope.beta_fast = scaling.get_float_or("beta_fast", 32);
  rope.beta_slow = scaling.get_float_or("beta_slow", 1);
  rope.attention_factor = yarn_attention_factor(scaling, static_cast<double>(rope.factor));
}

// `scaling` is "rope_scaling" of transformers 4, or "rope_parameters" of 5.
void read_scaling(const JsonObject& file, const JsonObject& scaling, const ModelConfig& config,
                  RopeConfig& rope) {
  const char* key = scaling.has("rope_type") ? "rope_type" : "type";
  const std::string type = scaling.has(key) ? scaling.get_string(key) : "default";
  const size_t original =
      scaling.get_size_or("original_max_position_embeddings", rope.original_length);
  // transformers gives the file's own the priority, where there is one.
  rope.original_length = config.family == Family::kPhi3
                             ? rope.original_length
                             : file.get_size_or("original_max_position_embeddings", original);
  // "dynamic" stretches only beyond the context, where no text may go.
  if (type == "default" || type == "dynamic") return;
  if (type == "linear") {
    rope.scaling = RopeScaling::kLinear;
    rope.factor = scaling.get_float("factor");
  } else if (type == "llama3") {
    set_llama3_factors(scaling, rope.original_length, rope);
  } else if (type == "longrope" || type == "su" ||
             (type == "yarn" && config.family == Family::kPhi3)) {  // Phi-3's first name for it
    set_long_rope(scaling, config.context_length, rope);
  } else if (type == "yarn") {
    set_yarn(scaling, rope);
  } else {
    fail(ErrorCode::kUnsupported,
         "{}: \"{}\" is \"{}\"; known are default, linear, dynamic, llama3, longrope and yarn",
         scaling.path(), key, type);
  }
}

struct RopeDefaults {
  double base = 10000;
  double part = 1;  // of a head that rotates
  bool part_may_vary = false;
};

double read_part(const JsonObject& file, const std::optional<JsonObject>& parameters,
                 const RopeDefaults& defaults) {
  double part = defaults.part;
  for (const char* key : {"rotary_pct", "partial_rotary_factor"}) {
    if (file.has(key)) part = file.get_number(key);
    if (parameters && parameters->has(key)) part = parameters->get_number(key);
  }
  if (!(part > 0 && part <= 1)) {
    fail(ErrorCode::kCorrupt,
         "{}: the part of a head that rotates is {}, expected above 0, up to 1", file.path(), part);
  }
  if (!defaults.part_may_vary && part != 1) {
    fail(ErrorCode::kUnsupported,
         "{}: a part of a head rotates, {}; this family rotates whole heads", file.path(), part);
  }
  return part;
}

// `parameters`: "rope_parameters" of transformers 5, or "rope_scaling" of 4 beside keys of the
// file.
RopeConfig read_rope(const JsonObject& file, const std::optional<JsonObject>& parameters,
                     const ModelConfig& config, const RopeDefaults& defaults) {
  RopeConfig rope;
  rope.pairs = config.family == Family::kCohere || config.family == Family::kCohere2
                   ? RopePairs::kNeighbours
                   : RopePairs::kHalves;
  rope.base = static_cast<float>(defaults.base);
  for (const char* key : {"rotary_emb_base", "rope_theta"}) {
    rope.base = file.get_float_or(key, rope.base);
    if (parameters) rope.base = parameters->get_float_or(key, rope.base);
  }
  constexpr double kRounding = 1e-6;  // 0.7 * 20 is 13.999999999999998
  rope.dims = static_cast<size_t>(
      static_cast<double>(config.head_dim) * read_part(file, parameters, defaults) + kRounding);
  rope.original_length = config.family == Family::kPhi3
                             ? file.get_size_or("original_max_position_embeddings", 4096)
                             : config.context_length;
  if (parameters) read_scaling(file, *parameters, config, rope);
  return rope;
}

std::optional<JsonObject> find_rope_parameters(const JsonObject& file) {
  const auto parameters = file.find_object("rope_parameters");
  const auto scaling = file.find_object("rope_scaling");
  const bool two = parameters && scaling && !scaling->value().empty();
  if (two && parameters->value() != scaling->value()) {
    fail(ErrorCode::kMismatch,
         "{}: \"rope_parameters\" and \"rope_scaling\" are both there and differ; the second is "
         "the older name of the first",
         file.path());
  }
  return parameters ? parameters : scaling;
}

void read_ropes(const JsonObject& file, ModelConfig& config, const RopeDefaults& defaults) {
  const auto parameters = find_rope_parameters(file);
  const bool by_layer = parameters && parameters->has("full_attention");
  const bool two_ropes = config.family == Family::kGemma3;
  if (by_layer && !two_ropes) {
    fail(ErrorCode::kUnsupported, "{}: each kind of layer has its own; only Gemma 3's are known so",
         parameters->path());
  }
  config.rope = read_rope(file, by_layer ? parameters->find_object("full_attention") : parameters,
                          config, defaults);
  config.windowed_rope = config.rope;
  if (!two_ropes) return;
  config.windowed_rope = {.pairs = config.rope.pairs,
                          .dims = config.rope.dims,
                          .base = file.get_float_or("rope_local_base_freq", 10000)};
  const auto windowed = by_layer ? parameters->find_object("sliding_attention") : std::nullopt;
  if (!windowed) return;
  config.windowed_rope.base = windowed->get_float_or("rope_theta", config.windowed_rope.base);
  read_scaling(file, *windowed, config, config.windowed_rope);
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
