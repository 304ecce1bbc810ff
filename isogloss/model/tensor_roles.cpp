#include "isogloss/model/tensor_roles.h"

#include <array>

#include "isogloss/base/error.h"
#include "isogloss/model/model.h"

namespace isogloss {
namespace {

constexpr FamilyInfo kFamilyTable[] = {
    {Family::kGpt2, "gpt2", "gpt2"},
    {Family::kLlama, "llama", ""},
    {Family::kGemma3, "gemma3", ""},
};

using enum Role;
using C = Component;
using K = TensorKind;
using D = Dim;

// clang-format off
constexpr RoleInfo kRoleTable[] = {
    {kTokenEmbedding,      C::kEmbeddings, K::kEmbedding, D::kVocab, D::kWidth, "token_embd.weight",
     {"wte.weight", "embed_tokens.weight", "embed_tokens.weight"}},
    {kPositionEmbedding,   C::kEmbeddings, K::kEmbedding, D::kContext, D::kWidth, "position_embd.weight",
     {"wpe.weight", "", ""}},
    {kAttentionNorm,       C::kAttention, K::kNorm, D::kOne, D::kWidth, "blk.{}.attn_norm.weight",
     {"h.{}.ln_1.weight", "layers.{}.input_layernorm.weight", "layers.{}.input_layernorm.weight"}},
    {kAttentionNormBias,   C::kAttention, K::kBias, D::kOne, D::kWidth, "blk.{}.attn_norm.bias",
     {"h.{}.ln_1.bias", "", ""}},
    {kQkv,                 C::kAttention, K::kMatrix, D::kQkv, D::kWidth, "blk.{}.attn_qkv.weight",
     {"h.{}.attn.c_attn.weight", "", ""}},
    {kQkvBias,             C::kAttention, K::kBias, D::kOne, D::kQkv, "blk.{}.attn_qkv.bias",
     {"h.{}.attn.c_attn.bias", "", ""}},
    {kQuery,               C::kAttention, K::kMatrix, D::kQuery, D::kWidth, "blk.{}.attn_q.weight",
     {"", "layers.{}.self_attn.q_proj.weight", "layers.{}.self_attn.q_proj.weight"}},
    {kKey,                 C::kAttention, K::kMatrix, D::kKeyValue, D::kWidth, "blk.{}.attn_k.weight",
     {"", "layers.{}.self_attn.k_proj.weight", "layers.{}.self_attn.k_proj.weight"}},
    {kValue,               C::kAttention, K::kMatrix, D::kKeyValue, D::kWidth, "blk.{}.attn_v.weight",
     {"", "layers.{}.self_attn.v_proj.weight", "layers.{}.self_attn.v_proj.weight"}},
    {kQueryNorm,           C::kAttention, K::kNorm, D::kOne, D::kHeadDim, "blk.{}.attn_q_norm.weight",
     {"", "", "layers.{}.self_attn.q_norm.weight"}},
    {kKeyNorm,             C::kAttention, K::kNorm, D::kOne, D::kHeadDim, "blk.{}.attn_k_norm.weight",
     {"", "", "layers.{}.self_attn.k_norm.weight"}},
    {kAttentionOutput,     C::kAttention, K::kMatrix, D::kWidth, D::kQuery, "blk.{}.attn_output.weight",
     {"h.{}.attn.c_proj.weight", "layers.{}.self_attn.o_proj.weight", "layers.{}.self_attn.o_proj.weight"}},
    {kAttentionOutputBias, C::kAttention, K::kBias, D::kOne, D::kWidth, "blk.{}.attn_output.bias",
     {"h.{}.attn.c_proj.bias", "", ""}},
    {kAttentionPostNorm,   C::kAttention, K::kNorm, D::kOne, D::kWidth, "blk.{}.post_attention_norm.weight",
     {"", "", "layers.{}.post_attention_layernorm.weight"}},
    {kFfnNorm,             C::kMlp, K::kNorm, D::kOne, D::kWidth, "blk.{}.ffn_norm.weight",
     {"h.{}.ln_2.weight", "layers.{}.post_attention_layernorm.weight", "layers.{}.pre_feedforward_layernorm.weight"}},
    {kFfnNormBias,         C::kMlp, K::kBias, D::kOne, D::kWidth, "blk.{}.ffn_norm.bias",
     {"h.{}.ln_2.bias", "", ""}},
    {kFfnGate,             C::kMlp, K::kMatrix, D::kFfn, D::kWidth, "blk.{}.ffn_gate.weight",
     {"", "layers.{}.mlp.gate_proj.weight", "layers.{}.mlp.gate_proj.weight"}},
    {kFfnUp,               C::kMlp, K::kMatrix, D::kFfn, D::kWidth, "blk.{}.ffn_up.weight",
     {"h.{}.mlp.c_fc.weight", "layers.{}.mlp.up_proj.weight", "layers.{}.mlp.up_proj.weight"}},
    {kFfnUpBias,           C::kMlp, K::kBias, D::kOne, D::kFfn, "blk.{}.ffn_up.bias",
     {"h.{}.mlp.c_fc.bias", "", ""}},
    {kFfnDown,             C::kMlp, K::kMatrix, D::kWidth, D::kFfn, "blk.{}.ffn_down.weight",
     {"h.{}.mlp.c_proj.weight", "layers.{}.mlp.down_proj.weight", "layers.{}.mlp.down_proj.weight"}},
    {kFfnDownBias,         C::kMlp, K::kBias, D::kOne, D::kWidth, "blk.{}.ffn_down.bias",
     {"h.{}.mlp.c_proj.bias", "", ""}},
    {kFfnPostNorm,         C::kMlp, K::kNorm, D::kOne, D::kWidth, "blk.{}.post_ffw_norm.weight",
     {"", "", "layers.{}.post_feedforward_layernorm.weight"}},
    {kOutputNorm,          C::kOutput, K::kNorm, D::kOne, D::kWidth, "output_norm.weight",
     {"ln_f.weight", "norm.weight", "norm.weight"}},
    {kOutputNormBias,      C::kOutput, K::kBias, D::kOne, D::kWidth, "output_norm.bias",
     {"ln_f.bias", "", ""}},
    {kHead,                C::kOutput, K::kMatrix, D::kVocab, D::kWidth, "output.weight",
     {"lm_head.weight", "lm_head.weight", "lm_head.weight"}},
};
// clang-format on
static_assert(std::size(kRoleTable) == kRoles);

std::string with_layer(std::string_view pattern, size_t layer) {
  const size_t place = pattern.find("{}");
  if (place == pattern.npos) return std::string(pattern);
  return fmt::format("{}{}{}", pattern.substr(0, place), layer, pattern.substr(place + 2));
}

}  // namespace

std::span<const FamilyInfo> known_families() {
  return kFamilyTable;
}

const FamilyInfo& get_family_info(Family family) {
  return kFamilyTable[static_cast<size_t>(family)];
}

std::optional<Family> find_family_by_gguf_name(std::string_view name) {
  for (const auto& info : kFamilyTable) {
    if (info.gguf_name == name) return info.family;
  }
  return std::nullopt;
}

size_t dim_size(Dim dim, const ModelConfig& config) {
  switch (dim) {
    case Dim::kOne:
      return 1;
    case Dim::kWidth:
      return config.width;
    case Dim::kHeadDim:
      return config.head_dim;
    case Dim::kQuery:
      return config.heads * config.head_dim;
    case Dim::kKeyValue:
      return config.kv_heads * config.head_dim;
    case Dim::kQkv:
      return (config.heads + 2 * config.kv_heads) * config.head_dim;
    case Dim::kFfn:
      return config.ffn_width;
    case Dim::kVocab:
      return config.vocab_size;
    case Dim::kContext:
      return config.context_length;
  }
  ISOGLOSS_ASSERT(false);
}

std::span<const RoleInfo> tensor_roles() {
  return kRoleTable;
}

const RoleInfo& get_role_info(Role role) {
  const RoleInfo& info = kRoleTable[static_cast<size_t>(role)];
  ISOGLOSS_ASSERT(info.role == role);
  return info;
}

std::string gguf_tensor_name(const RoleInfo& role, size_t layer) {
  return with_layer(role.gguf_name, layer);
}

std::string hf_tensor_name(const RoleInfo& role, Family family, size_t layer) {
  return with_layer(role.hf_names[static_cast<size_t>(family)], layer);
}

}  // namespace isogloss
