#include "isogloss/model/tensor_roles.h"

#include <array>

#include "isogloss/base/error.h"
#include "isogloss/model/model.h"

namespace isogloss {
namespace {

using enum Role;

constexpr RoleSet kQkvBiases(kQueryBias, kKeyBias, kValueBias);
constexpr RoleSet kAttentionBiases = kQkvBiases | RoleSet(kAttentionOutputBias);
constexpr RoleSet kMlpBiases(kFfnGateBias, kFfnUpBias, kFfnDownBias);
constexpr RoleSet kPostNorms(kAttentionPostNorm, kFfnPostNorm);
constexpr RoleSet kHeadNorms(kQueryNorm, kKeyNorm);

constexpr RoleSet kGpt2Roles(kTokenEmbedding, kPositionEmbedding, kAttentionNorm,
                             kAttentionNormBias, kQkv, kQkvBias, kAttentionOutput,
                             kAttentionOutputBias, kFfnNorm, kFfnNormBias, kFfnUp, kFfnUpBias,
                             kFfnDown, kFfnDownBias, kOutputNorm, kOutputNormBias);
constexpr RoleSet kOptMatrices(kTokenEmbedding, kAttentionNorm, kAttentionNormBias, kQuery, kKey,
                               kValue, kAttentionOutput, kFfnNorm, kFfnNormBias, kFfnUp, kFfnDown);
constexpr RoleSet kOptBiases = kAttentionBiases | RoleSet(kFfnUpBias, kFfnDownBias);
constexpr RoleSet kFinalNorm(kOutputNorm, kOutputNormBias);
constexpr RoleSet kProjections(kEmbeddingProjection, kHeadProjection);
constexpr RoleSet kGptNeoXBiases(kQkvBias, kAttentionOutputBias);
constexpr RoleSet kLlamaRoles(kTokenEmbedding, kAttentionNorm, kQuery, kKey, kValue,
                              kAttentionOutput, kFfnNorm, kFfnGate, kFfnUp, kFfnDown, kOutputNorm);
constexpr RoleSet kPhi3Roles(kTokenEmbedding, kAttentionNorm, kQkv, kAttentionOutput, kFfnNorm,
                             kFfnGateUp, kFfnDown, kOutputNorm);
constexpr RoleSet kHeadOnly(kHead);
constexpr RoleSet kLlamaBiases = kAttentionBiases | kMlpBiases | kHeadOnly;

// clang-format off
constexpr FamilyInfo kFamilyTable[] = {
    {Family::kGpt2,    "gpt2",      "gpt2",        HfNaming::kGpt2,    true, false,
     kGpt2Roles, kHeadOnly},
    {Family::kOpt,     "opt",       "opt",         HfNaming::kOpt,     false, false,
     kOptMatrices | RoleSet(kPositionEmbedding), kOptBiases | kFinalNorm | kProjections | kHeadOnly},
    {Family::kXglm,    "xglm",      "xglm",        HfNaming::kXglm,    false, false,
     kOptMatrices | kOptBiases | kFinalNorm, kHeadOnly},
    {Family::kBloom,   "bloom",     "bloom",       HfNaming::kBloom,   true, false,
     kGpt2Roles.without(RoleSet(kPositionEmbedding)) | RoleSet(kEmbeddingNorm, kEmbeddingNormBias),
     kHeadOnly},
    {Family::kGptNeoX, "gptneox",   "gpt_neox",    HfNaming::kGptNeoX, true, false,
     kGpt2Roles.without(kGptNeoXBiases | RoleSet(kPositionEmbedding)), kGptNeoXBiases | kHeadOnly},
    {Family::kLlama,   "llama",     "llama",       HfNaming::kLlama,   true, true,
     kLlamaRoles, kLlamaBiases},
    {Family::kMistral, "llama",     "mistral",     HfNaming::kLlama,   true, true,
     kLlamaRoles, kHeadOnly},
    {Family::kQwen2,   "qwen2",     "qwen2",       HfNaming::kLlama,   true, false,
     kLlamaRoles | kQkvBiases, kHeadOnly},
    {Family::kQwen3,   "qwen3",     "qwen3",       HfNaming::kLlama,   true, false,
     kLlamaRoles | kHeadNorms, kAttentionBiases | kHeadOnly},
    {Family::kGemma,   "gemma",     "gemma",       HfNaming::kLlama,   true, false,
     kLlamaRoles, kAttentionBiases | kHeadOnly},
    {Family::kGemma2,  "gemma2",    "gemma2",      HfNaming::kGemma2,  true, false,
     kLlamaRoles | kPostNorms, kAttentionBiases | kHeadOnly},
    {Family::kGemma3,  "gemma3",    "gemma3_text", HfNaming::kGemma2,  true, false,
     kLlamaRoles | kPostNorms | kHeadNorms, kAttentionBiases | kHeadOnly},
    {Family::kSmolLm3, "smollm3",   "smollm3",     HfNaming::kLlama,   true, true,
     kLlamaRoles, kLlamaBiases},
    {Family::kPhi3,    "phi3",      "phi3",        HfNaming::kLlama,   true, false,
     kPhi3Roles, kHeadOnly},
    {Family::kGranite, "granite",   "granite",     HfNaming::kLlama,   true, true,
     kLlamaRoles, kLlamaBiases},
    {Family::kCohere,  "command-r", "cohere",      HfNaming::kLlama,   true, true,
     kLlamaRoles.without(RoleSet(kFfnNorm)), kAttentionBiases | kHeadNorms},
    {Family::kCohere2, "cohere2",   "cohere2",     HfNaming::kLlama,   true, true,
     kLlamaRoles.without(RoleSet(kFfnNorm)), kAttentionBiases},
};

constexpr std::string_view kHfPrefixes[kHfNamings] = {
    "transformer.", "model.decoder.", "model.", "transformer.", "gpt_neox.", "model.", "model."};

using C = Component;
using K = TensorKind;
using D = Dim;

// Columns of Hugging Face's names: gpt2, opt, xglm, bloom, gpt_neox, llama, gemma2.
constexpr RoleInfo kRoleTable[] = {
    {kTokenEmbedding, C::kEmbeddings, K::kEmbedding, D::kVocab, D::kEmbedding, "token_embd.weight",
     {"wte.weight", "embed_tokens.weight", "embed_tokens.weight", "word_embeddings.weight",
      "embed_in.weight", "embed_tokens.weight", "embed_tokens.weight"}},
    {kPositionEmbedding, C::kEmbeddings, K::kEmbedding, D::kPositions, D::kWidth,
      "position_embd.weight",
     {"wpe.weight", "embed_positions.weight", "", "", "", "", ""}},
    {kEmbeddingProjection, C::kEmbeddings, K::kMatrix, D::kWidth, D::kEmbedding,
      "token_embd_proj.weight",
     {"", "project_in.weight", "", "", "", "", ""}},
    {kEmbeddingNorm, C::kEmbeddings, K::kNorm, D::kOne, D::kWidth, "token_embd_norm.weight",
     {"", "", "", "word_embeddings_layernorm.weight", "", "", ""}},
    {kEmbeddingNormBias, C::kEmbeddings, K::kBias, D::kOne, D::kWidth, "token_embd_norm.bias",
     {"", "", "", "word_embeddings_layernorm.bias", "", "", ""}},
    {kAttentionNorm, C::kAttention, K::kNorm, D::kOne, D::kWidth, "blk.{}.attn_norm.weight",
     {"h.{}.ln_1.weight", "layers.{}.self_attn_layer_norm.weight",
      "layers.{}.self_attn_layer_norm.weight", "h.{}.input_layernorm.weight",
      "layers.{}.input_layernorm.weight", "layers.{}.input_layernorm.weight",
      "layers.{}.input_layernorm.weight"}},
    {kAttentionNormBias, C::kAttention, K::kBias, D::kOne, D::kWidth, "blk.{}.attn_norm.bias",
     {"h.{}.ln_1.bias", "layers.{}.self_attn_layer_norm.bias",
      "layers.{}.self_attn_layer_norm.bias", "h.{}.input_layernorm.bias",
      "layers.{}.input_layernorm.bias", "", ""}},
    {kQkv, C::kAttention, K::kMatrix, D::kQkv, D::kWidth, "blk.{}.attn_qkv.weight",
     {"h.{}.attn.c_attn.weight", "", "", "h.{}.self_attention.query_key_value.weight",
      "layers.{}.attention.query_key_value.weight", "layers.{}.self_attn.qkv_proj.weight", ""}},
    {kQkvBias, C::kAttention, K::kBias, D::kOne, D::kQkv, "blk.{}.attn_qkv.bias",
     {"h.{}.attn.c_attn.bias", "", "", "h.{}.self_attention.query_key_value.bias",
      "layers.{}.attention.query_key_value.bias", "", ""}},
    {kQuery, C::kAttention, K::kMatrix, D::kQuery, D::kWidth, "blk.{}.attn_q.weight",
     {"", "layers.{}.self_attn.q_proj.weight", "layers.{}.self_attn.q_proj.weight", "", "",
      "layers.{}.self_attn.q_proj.weight", "layers.{}.self_attn.q_proj.weight"}},
    {kQueryBias, C::kAttention, K::kBias, D::kOne, D::kQuery, "blk.{}.attn_q.bias",
     {"", "layers.{}.self_attn.q_proj.bias", "layers.{}.self_attn.q_proj.bias", "", "",
      "layers.{}.self_attn.q_proj.bias", "layers.{}.self_attn.q_proj.bias"}},
    {kKey, C::kAttention, K::kMatrix, D::kKeyValue, D::kWidth, "blk.{}.attn_k.weight",
     {"", "layers.{}.self_attn.k_proj.weight", "layers.{}.self_attn.k_proj.weight", "", "",
      "layers.{}.self_attn.k_proj.weight", "layers.{}.self_attn.k_proj.weight"}},
    {kKeyBias, C::kAttention, K::kBias, D::kOne, D::kKeyValue, "blk.{}.attn_k.bias",
     {"", "layers.{}.self_attn.k_proj.bias", "layers.{}.self_attn.k_proj.bias", "", "",
      "layers.{}.self_attn.k_proj.bias", "layers.{}.self_attn.k_proj.bias"}},
    {kValue, C::kAttention, K::kMatrix, D::kKeyValue, D::kWidth, "blk.{}.attn_v.weight",
     {"", "layers.{}.self_attn.v_proj.weight", "layers.{}.self_attn.v_proj.weight", "", "",
      "layers.{}.self_attn.v_proj.weight", "layers.{}.self_attn.v_proj.weight"}},
    {kValueBias, C::kAttention, K::kBias, D::kOne, D::kKeyValue, "blk.{}.attn_v.bias",
     {"", "layers.{}.self_attn.v_proj.bias", "layers.{}.self_attn.v_proj.bias", "", "",
      "layers.{}.self_attn.v_proj.bias", "layers.{}.self_attn.v_proj.bias"}},
    {kQueryNorm, C::kAttention, K::kNorm, D::kQueryNorms, D::kHeadDim, "blk.{}.attn_q_norm.weight",
     {"", "", "", "", "", "layers.{}.self_attn.q_norm.weight",
      "layers.{}.self_attn.q_norm.weight"}},
    {kKeyNorm, C::kAttention, K::kNorm, D::kKeyNorms, D::kHeadDim, "blk.{}.attn_k_norm.weight",
     {"", "", "", "", "", "layers.{}.self_attn.k_norm.weight",
      "layers.{}.self_attn.k_norm.weight"}},
    {kAttentionOutput, C::kAttention, K::kMatrix, D::kWidth, D::kQuery, "blk.{}.attn_output.weight",
     {"h.{}.attn.c_proj.weight", "layers.{}.self_attn.out_proj.weight",
      "layers.{}.self_attn.out_proj.weight", "h.{}.self_attention.dense.weight",
      "layers.{}.attention.dense.weight", "layers.{}.self_attn.o_proj.weight",
      "layers.{}.self_attn.o_proj.weight"}},
    {kAttentionOutputBias, C::kAttention, K::kBias, D::kOne, D::kWidth, "blk.{}.attn_output.bias",
     {"h.{}.attn.c_proj.bias", "layers.{}.self_attn.out_proj.bias",
      "layers.{}.self_attn.out_proj.bias", "h.{}.self_attention.dense.bias",
      "layers.{}.attention.dense.bias", "layers.{}.self_attn.o_proj.bias",
      "layers.{}.self_attn.o_proj.bias"}},
    {kAttentionPostNorm, C::kAttention, K::kNorm, D::kOne, D::kWidth,
      "blk.{}.post_attention_norm.weight",
     {"", "", "", "", "", "", "layers.{}.post_attention_layernorm.weight"}},
    {kFfnNorm, C::kMlp, K::kNorm, D::kOne, D::kWidth, "blk.{}.ffn_norm.weight",
     {"h.{}.ln_2.weight", "layers.{}.final_layer_norm.weight", "layers.{}.final_layer_norm.weight",
      "h.{}.post_attention_layernorm.weight", "layers.{}.post_attention_layernorm.weight",
      "layers.{}.post_attention_layernorm.weight", "layers.{}.pre_feedforward_layernorm.weight"}},
    {kFfnNormBias, C::kMlp, K::kBias, D::kOne, D::kWidth, "blk.{}.ffn_norm.bias",
     {"h.{}.ln_2.bias", "layers.{}.final_layer_norm.bias", "layers.{}.final_layer_norm.bias",
      "h.{}.post_attention_layernorm.bias", "layers.{}.post_attention_layernorm.bias", "", ""}},
    {kFfnGateUp, C::kMlp, K::kMatrix, D::kGateUp, D::kWidth, "blk.{}.ffn_up.weight",
     {"", "", "", "", "", "layers.{}.mlp.gate_up_proj.weight", ""}},
    {kFfnGate, C::kMlp, K::kMatrix, D::kFfn, D::kWidth, "blk.{}.ffn_gate.weight",
     {"", "", "", "", "", "layers.{}.mlp.gate_proj.weight", "layers.{}.mlp.gate_proj.weight"}},
    {kFfnGateBias, C::kMlp, K::kBias, D::kOne, D::kFfn, "blk.{}.ffn_gate.bias",
     {"", "", "", "", "", "layers.{}.mlp.gate_proj.bias", ""}},
    {kFfnUp, C::kMlp, K::kMatrix, D::kFfn, D::kWidth, "blk.{}.ffn_up.weight",
     {"h.{}.mlp.c_fc.weight", "layers.{}.fc1.weight", "layers.{}.fc1.weight",
      "h.{}.mlp.dense_h_to_4h.weight", "layers.{}.mlp.dense_h_to_4h.weight",
      "layers.{}.mlp.up_proj.weight", "layers.{}.mlp.up_proj.weight"}},
    {kFfnUpBias, C::kMlp, K::kBias, D::kOne, D::kFfn, "blk.{}.ffn_up.bias",
     {"h.{}.mlp.c_fc.bias", "layers.{}.fc1.bias", "layers.{}.fc1.bias",
      "h.{}.mlp.dense_h_to_4h.bias", "layers.{}.mlp.dense_h_to_4h.bias",
      "layers.{}.mlp.up_proj.bias", ""}},
    {kFfnDown, C::kMlp, K::kMatrix, D::kWidth, D::kFfn, "blk.{}.ffn_down.weight",
     {"h.{}.mlp.c_proj.weight", "layers.{}.fc2.weight", "layers.{}.fc2.weight",
      "h.{}.mlp.dense_4h_to_h.weight", "layers.{}.mlp.dense_4h_to_h.weight",
      "layers.{}.mlp.down_proj.weight", "layers.{}.mlp.down_proj.weight"}},
    {kFfnDownBias, C::kMlp, K::kBias, D::kOne, D::kWidth, "blk.{}.ffn_down.bias",
     {"h.{}.mlp.c_proj.bias", "layers.{}.fc2.bias", "layers.{}.fc2.bias",
      "h.{}.mlp.dense_4h_to_h.bias", "layers.{}.mlp.dense_4h_to_h.bias",
      "layers.{}.mlp.down_proj.bias", ""}},
    {kFfnPostNorm, C::kMlp, K::kNorm, D::kOne, D::kWidth, "blk.{}.post_ffw_norm.weight",
     {"", "", "", "", "", "", "layers.{}.post_feedforward_layernorm.weight"}},
    {kOutputNorm, C::kOutput, K::kNorm, D::kOne, D::kWidth, "output_norm.weight",
     {"ln_f.weight", "final_layer_norm.weight", "layer_norm.weight", "ln_f.weight",
      "final_layer_norm.weight", "norm.weight", "norm.weight"}},
    {kOutputNormBias, C::kOutput, K::kBias, D::kOne, D::kWidth, "output_norm.bias",
     {"ln_f.bias", "final_layer_norm.bias", "layer_norm.bias", "ln_f.bias", "final_layer_norm.bias",
      "", ""}},
    {kHeadProjection, C::kOutput, K::kMatrix, D::kEmbedding, D::kWidth, "output_proj.weight",
     {"", "project_out.weight", "", "", "", "", ""}},
    {kHead, C::kOutput, K::kMatrix, D::kVocab, D::kEmbedding, "output.weight",
     {"lm_head.weight", "lm_head.weight", "lm_head.weight", "lm_head.weight", "embed_out.weight",
      "lm_head.weight", "lm_head.weight"}},
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
  const FamilyInfo& info = kFamilyTable[static_cast<size_t>(family)];
  ISOGLOSS_ASSERT(info.family == family);
  return info;
}

std::optional<Family> find_family_by_gguf_name(std::string_view name) {
  for (const auto& info : kFamilyTable) {
    if (info.gguf_name == name) return info.family;
  }
  return std::nullopt;
}

std::optional<Family> find_family_by_hf_name(std::string_view name) {
  for (const auto& info : kFamilyTable) {
    if (info.hf_name == name) return info.family;
  }
  return std::nullopt;
}

std::string_view hf_prefix(HfNaming naming) {
  return kHfPrefixes[static_cast<size_t>(naming)];
}

size_t dim_size(Dim dim, const ModelConfig& config) {
  switch (dim) {
    case Dim::kOne:
      return 1;
    case Dim::kWidth:
      return config.width;
    case Dim::kEmbedding:
      return config.embedding_width;
    case Dim::kHeadDim:
      return config.head_dim;
    case Dim::kQueryNorms:
      return config.norm_per_head ? config.heads : 1;
    case Dim::kKeyNorms:
      return config.norm_per_head ? config.kv_heads : 1;
    case Dim::kQuery:
      return config.heads * config.head_dim;
    case Dim::kKeyValue:
      return config.kv_heads * config.head_dim;
    case Dim::kQkv:
      return (config.heads + 2 * config.kv_heads) * config.head_dim;
    case Dim::kFfn:
      return config.ffn_width;
    case Dim::kGateUp:
      return 2 * config.ffn_width;
    case Dim::kVocab:
      return config.vocab_size;
    case Dim::kPositions:
      return config.context_length + config.position_offset;
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
  const auto naming = static_cast<size_t>(get_family_info(family).naming);
  return with_layer(role.hf_names[naming], layer);
}

}  // namespace isogloss
