// A model's hyper-parameters and tokenizer as GGUF keys, the way llama.cpp's converter spells them
// (its conversion/ and gguf-py; which keys a family has follows what llama.cpp reads).
#include <cmath>

#include "isogloss/base/error.h"
#include "isogloss/write/gguf_impl.h"

namespace isogloss {
namespace {

uint32_t narrow(size_t value) {
  return static_cast<uint32_t>(value);  // sizes are checked when a model is read
}

// Keys of one architecture: "block_count" stands for "llama.block_count".
class ArchFields {
 public:
  ArchFields(std::string_view arch, GgufFields& fields) : arch_(arch), fields_(fields) {}

  void set(std::string_view key, GgufField value) {
    fields_[fmt::format("{}.{}", arch_, key)] = std::move(value);
  }
  void set_size(std::string_view key, size_t value) { set(key, narrow(value)); }

 private:
  std::string_view arch_;
  GgufFields& fields_;
};

void add_sizes(const ModelConfig& config, ArchFields& fields) {
  fields.set_size("block_count", config.layers);
  fields.set_size("context_length", config.context_length);
  fields.set_size("embedding_length", config.width);
  fields.set_size("feed_forward_length", config.ffn_width);
  fields.set_size("attention.head_count", config.heads);
  fields.set_size("attention.head_count_kv", config.kv_heads);
  fields.set(config.norm == NormKind::kLayerNorm ? "attention.layer_norm_epsilon"
                                                 : "attention.layer_norm_rms_epsilon",
             config.norm_epsilon);
  if (config.head_dim * config.heads != config.width || config.rope.dims != 0) {
    fields.set_size("attention.key_length", config.head_dim);
    fields.set_size("attention.value_length", config.head_dim);
  }
}

// What llama.cpp multiplies cosine and sine by under YaRN on its own.
float yarn_growth(const RopeConfig& rope) {
  return rope.factor <= 1 ? 1 : 0.1F * std::log(rope.factor) + 1;
}

void add_scaling(const ModelConfig& config, ArchFields& fields) {
  const RopeConfig& rope = config.rope;
  switch (rope.scaling) {
    case RopeScaling::kNone:
    case RopeScaling::kFactors:
      break;
    case RopeScaling::kLinear:
      fields.set("rope.scaling.type", "linear");
      fields.set("rope.scaling.factor", rope.factor);
      break;
    case RopeScaling::kYarn:
      fields.set("rope.scaling.type", "yarn");
      fields.set("rope.scaling.factor", rope.factor);
      fields.set_size("rope.scaling.original_context_length", rope.original_length);
      if (const float growth = yarn_growth(rope); rope.attention_factor != growth) {
        fields.set("rope.scaling.attn_factor", rope.attention_factor / growth);
      }
      break;
    case RopeScaling::kLongRope:
      // Phi-3's files are known by their lists of factors.
      if (config.family != Family::kPhi3) fields.set("rope.scaling.type", "longrope");
      fields.set_size("rope.scaling.original_context_length", rope.original_length);
      fields.set("rope.scaling.attn_factor", rope.attention_factor);
      break;
  }
}

void add_rope(const ModelConfig& config, ArchFields& fields) {
  if (config.rope.dims == 0) return;
  fields.set("rope.freq_base", config.rope.base);
  fields.set_size("rope.dimension_count", config.rope.dims);
  add_scaling(config, fields);
  const bool cohere = config.family == Family::kCohere || config.family == Family::kCohere2;
  if (cohere && config.rope.scaling == RopeScaling::kNone) {
    fields.set("rope.scaling.type", "none");
  }
  if (config.family == Family::kGemma3) fields.set("rope.freq_base_swa", config.windowed_rope.base);
  // llama.cpp demands it of this family, scaled or not.
  if (config.family == Family::kPhi3) {
    fields.set_size("rope.scaling.original_context_length", config.rope.original_length);
  }
}

// Its number, and which layers have it where that is not what the family's reader assumes.
void add_windows(const ModelConfig& config, size_t full_period, ArchFields& fields) {
  std::vector<bool> windowed;
  size_t window = 0;
  bool usual = true;
  for (size_t layer = 0; layer < config.layers; ++layer) {
    windowed.push_back(config.layer_configs[layer].window != 0);
    window = std::max(window, config.layer_configs[layer].window);
    usual = usual && windowed.back() == ((layer + 1) % full_period != 0);
  }
  // Without a window anywhere, one as long as the context is none.
  fields.set_size("attention.sliding_window", window == 0 ? config.context_length : window);
  if (!usual) fields.set("attention.sliding_window_pattern", windowed);
}

void add_family(const ModelConfig& config, ArchFields& fields) {
  switch (config.family) {
    case Family::kOpt:
      fields.set_size("embedding_length_token", config.embedding_width);
      fields.set("norm_after", config.norm_after);
      break;
    case Family::kXglm:
      fields.set("embedding_scale", config.embedding_scale);
      break;
    case Family::kGptNeoX:
      fields.set("use_parallel_residual", config.parallel_blocks);
      break;
    case Family::kGemma2:
      fields.set("attn_logit_softcapping", config.attention_softcap);
      fields.set("final_logit_softcapping", config.logit_softcap);
      add_windows(config, 2, fields);
      break;
    case Family::kGemma3:
      if (config.logit_softcap != 0) fields.set("final_logit_softcapping", config.logit_softcap);
      add_windows(config, 6, fields);
      break;
    case Family::kPhi3:
      fields.set_size("attention.sliding_window", config.layer_configs.front().window);
      break;
    case Family::kGranite:
      fields.set("embedding_scale", config.embedding_scale);
      fields.set("residual_scale", config.residual_scale);
      fields.set("attention.scale", config.attention_scale);
      fields.set("logit_scale", 1 / config.logit_scale);
      break;
    case Family::kCohere:
      fields.set("logit_scale", config.logit_scale);
      break;
    case Family::kCohere2:
      fields.set("logit_scale", config.logit_scale);
      add_windows(config, 4, fields);
      break;
    default:
      break;
  }
  const bool counts_vocabulary =
      get_family_info(config.family).gguf_neighbours && config.family != Family::kCohere;
  if (counts_vocabulary) fields.set_size("vocab_size", config.vocab_size);
}

void add_tokenizer(const Vocabulary& vocabulary, GgufFields& fields) {
  const auto set = [&](const char* key, GgufField value) {
    fields[std::string("tokenizer.ggml.") + key] = std::move(value);
  };
  set("model", vocabulary.model);
  set("pre", vocabulary.pre.empty() ? "default" : vocabulary.pre);
  set("tokens", vocabulary.tokens);
  std::vector<int32_t> types;
  for (const TokenType type : vocabulary.types) types.push_back(static_cast<int32_t>(type));
  set("token_type", types);
  if (!vocabulary.scores.empty()) set("scores", vocabulary.scores);
  if (!vocabulary.merges.empty()) set("merges", vocabulary.merges);
  const auto set_id = [&](const char* key, std::optional<int32_t> id) {
    if (id) set(key, static_cast<uint32_t>(*id));
  };
  set_id("bos_token_id", vocabulary.bos);
  set_id("eos_token_id", vocabulary.eos);
  set_id("unknown_token_id", vocabulary.unknown);
  set_id("padding_token_id", vocabulary.padding);
  const auto set_flag = [&](const char* key, std::optional<bool> flag) {
    if (flag) set(key, *flag);
  };
  set_flag("add_bos_token", vocabulary.add_bos);
  set_flag("add_eos_token", vocabulary.add_eos);
  set_flag("add_space_prefix", vocabulary.add_space_prefix);
  set_flag("remove_extra_whitespaces", vocabulary.remove_extra_whitespaces);
  if (const std::string& charsmap = vocabulary.precompiled_charsmap; !charsmap.empty()) {
    set("precompiled_charsmap", std::vector<uint8_t>(charsmap.begin(), charsmap.end()));
  }
  if (!vocabulary.chat_template.empty()) {
    fields["tokenizer.chat_template"] = vocabulary.chat_template;
  }
}

// "llama-yarn" to "Llama Yarn", as the converter names a model after its directory.
std::string title(std::string name) {
  bool first = true;
  for (char& letter : name) {
    if (letter == '-') letter = ' ';
    if (first && letter >= 'a' && letter <= 'z') letter = static_cast<char>(letter - 'a' + 'A');
    first = letter == ' ';
  }
  return name;
}

// "135M": two digits at least (gguf-py's size_label).
std::string size_label(uint64_t parameters) {
  struct Scale {
    double size;
    const char* suffix;
  };
  const auto count = static_cast<double>(parameters);
  Scale scale{1e3, "K"};
  for (const Scale larger : {Scale{1e6, "M"}, Scale{1e9, "B"}, Scale{1e12, "T"}}) {
    if (count > larger.size) scale = larger;
  }
  const double scaled = count / scale.size;
  const double rounded = std::nearbyint(scaled);
  const int decimals = rounded == 0 ? 2 : rounded < 10 ? 1 : 0;
  return fmt::format("{:.{}f}{}", scaled, decimals, scale.suffix);
}

}  // namespace

GgufFields gguf_fields(const Model& model, uint32_t file_type) {
  const ModelConfig& config = model.config();
  const FamilyInfo& family = get_family_info(config.family);
  GgufFields fields;
  uint64_t parameters = 0;
  for (const TensorView& tensor : model.tensors()) parameters += tensor.count();
  fields["general.architecture"] = std::string(family.gguf_name);
  fields["general.type"] = "model";
  fields["general.name"] = title(config.name);
  fields["general.size_label"] = size_label(parameters);
  fields["general.file_type"] = file_type;
  fields["general.quantization_version"] = uint32_t{2};
  if (!family.in_llama_cpp) {
    fields["general.description"] = fmt::format(
        "llama.cpp has no architecture '{}': this file is for isogloss", family.gguf_name);
  }
  ArchFields arch(family.gguf_name, fields);
  add_sizes(config, arch);
  add_rope(config, arch);
  add_family(config, arch);
  add_tokenizer(model.vocabulary(), fields);
  return fields;
}

}  // namespace isogloss
