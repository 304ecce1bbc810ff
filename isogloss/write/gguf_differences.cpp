// Where llama.cpp computes something else than transformers from the same weights. What it reads
// and what it takes for granted: its src/models/*.cpp.
#include <algorithm>
#include <cmath>

#include "isogloss/base/error.h"
#include "isogloss/write/write.h"

namespace isogloss {
namespace {

class LlamaCpp {
 public:
  explicit LlamaCpp(const Model& model)
      : path_(model.path().string()),
        config_(model.config()),
        vocabulary_(model.vocabulary()),
        family_(config_.family) {}

  void check() const {
    if (family_ == Family::kGemma3 && config_.attention_softcap != 0) {
      refuse("does not cap its scores");
    }
    const bool either_gelu =
        family_ == Family::kGptNeoX && config_.activation == Activation::kGeluTanh;
    if (config_.activation != family_defaults(family_).activation && !either_gelu) {
      refuse("has one activation for all its models, and it is another");
    }
    if (vocabulary_.model == "gpt2" && vocabulary_.pre.empty()) {
      fail(ErrorCode::kUnsupported,
           "{}: llama.cpp has no pre-tokenizer that cuts text as its tokenizer.json does", path_);
    }
    check_roles();
    check_head_size();
    check_scale();
    check_rope();
    if (family_ == Family::kGemma2 &&
        (config_.attention_softcap == 0 || config_.logit_softcap == 0)) {
      refuse("caps its scores and its logits; this model has no cap for one of them");
    }
  }

  std::vector<std::string> notes() const {
    if (!get_family_info(family_).in_llama_cpp) {
      return {fmt::format("llama.cpp has no architecture '{}': the file is for isogloss",
                          get_family_info(family_).gguf_name)};
    }
    std::vector<std::string> notes;
    size_t window = 0;
    for (const LayerConfig& layer : config_.layer_configs) window = std::max(window, layer.window);
    if (window != 0 && !has_windows()) {
      notes.push_back(fmt::format(
          "llama.cpp computes {} without its sliding window: the file is the same model on texts "
          "of up to {} tokens",
          name(), window));
    }
    if (family_ == Family::kGptNeoX && config_.activation == Activation::kGelu) {
      notes.push_back(
          "llama.cpp computes GELU of gptneox by its tanh form: logits differ by about 0.001");
    }
    if (config_.rope.scaling == RopeScaling::kLongRope) {
      notes.push_back(
          fmt::format("llama.cpp chooses LongRoPE's factors by the size of its context, not by the "
                      "length of the "
                      "text: with a context above {} tokens it computes short texts otherwise",
                      config_.rope.original_length));
    }
    return notes;
  }

 private:
  std::string_view name() const { return get_family_info(family_).gguf_name; }
  bool is_one_of(std::initializer_list<Family> families) const {
    return std::ranges::find(families, family_) != families.end();
  }
  bool has_windows() const {
    return is_one_of({Family::kGemma2, Family::kGemma3, Family::kCohere2});
  }
  [[noreturn]] void refuse(const std::string& what) const {
    fail(ErrorCode::kUnsupported, "{}: llama.cpp's {} {}; it would compute another model", path_,
         name(), what);
  }

  void check_roles() const {
    const auto has = [&](Role role) { return config_.roles.contains(role); };
    const bool llama_like = is_one_of({Family::kLlama, Family::kGranite});
    if (has(Role::kFfnGateBias) && !llama_like) refuse("has no biases in its MLP");
    const bool qkv_only = !has(Role::kQkvBias) && has(Role::kAttentionOutputBias);
    if (qkv_only && !llama_like) refuse("has no bias at the output of its attention");
    if (family_ == Family::kGptNeoX && !has(Role::kQkvBias))
      refuse("needs biases in its attention");
    if (family_ == Family::kGptNeoX && !has(Role::kHead)) refuse("has a head of its own");
    const bool always_tied =
        is_one_of({Family::kGemma, Family::kGemma2, Family::kCohere, Family::kCohere2});
    if (always_tied && has(Role::kHead)) refuse("has a tied head");
    constexpr size_t kLayersWithNorms = 64;
    if (family_ == Family::kCohere &&
        has(Role::kQueryNorm) != (config_.layers >= kLayersWithNorms)) {
      refuse("norms queries and keys in models of 64 layers and more only");
    }
  }

  void check_head_size() const {
    const bool fixed = is_one_of(
        {Family::kQwen2, Family::kPhi3, Family::kCohere, Family::kCohere2, Family::kGptNeoX});
    if (fixed && config_.heads * config_.head_dim != config_.width) {
      refuse("shares the width among its heads");
    }
  }

  void check_scale() const {
    if (!is_one_of({Family::kGemma2, Family::kGemma3})) return;
    const size_t layers_of_27b = family_ == Family::kGemma2 ? 46 : 62;
    const size_t size =
        config_.layers == layers_of_27b ? config_.width / config_.heads : config_.head_dim;
    const float expected = 1 / std::sqrt(static_cast<float>(size));
    constexpr float kRounding = 1e-6F;
    if (std::abs(config_.attention_scale - expected) > kRounding * expected) {
      refuse(fmt::format("scales queries by {} (query_pre_attn_scalar {}), not {}", expected, size,
                         config_.attention_scale));
    }
  }

  void check_rope() const {
    const RopeScaling scaling = config_.rope.scaling;
    const bool llama_like = is_one_of({Family::kLlama, Family::kMistral, Family::kGranite});
    if (scaling == RopeScaling::kFactors && !llama_like) {
      refuse("does not know Llama 3's rotary scaling");
    }
    if (scaling == RopeScaling::kLongRope && !llama_like && family_ != Family::kPhi3) {
      refuse("does not know LongRoPE");
    }
    if (scaling == RopeScaling::kYarn &&
        (config_.rope.beta_fast != 32 || config_.rope.beta_slow != 1)) {
      refuse("mixes YaRN's frequencies between 32 turns and 1");
    }
    if (llama_like && config_.rope.dims != config_.head_dim) refuse("rotates whole heads");
    if (family_ == Family::kGemma3 && config_.windowed_rope.scaling != RopeScaling::kNone) {
      refuse("does not scale the rotary embedding of windowed layers");
    }
    for (size_t layer = 0; family_ == Family::kSmolLm3 && layer < config_.layers; ++layer) {
      if (config_.layer_configs[layer].rope == ((layer + 1) % 4 != 0)) continue;
      refuse("leaves out the rotary embedding in every fourth layer");
    }
  }

  std::string path_;
  const ModelConfig& config_;
  const Vocabulary& vocabulary_;
  Family family_;
};

}  // namespace

std::vector<std::string> gguf_differences(const Model& model) {
  const LlamaCpp llama_cpp(model);
  if (get_family_info(model.config().family).in_llama_cpp) llama_cpp.check();
  return llama_cpp.notes();
}

}  // namespace isogloss
