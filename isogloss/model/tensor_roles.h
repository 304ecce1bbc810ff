// The tables of families and tensors: what each tensor is for, its shape, and its name in every
// source. Nothing else in the program spells a tensor's name.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace isogloss {

struct ModelConfig;

enum class Family {
  kGpt2,
  kOpt,
  kXglm,
  kBloom,
  kGptNeoX,
  kLlama,
  kMistral,
  kQwen2,
  kQwen3,
  kGemma,
  kGemma2,
  kGemma3,
  kSmolLm3,
  kPhi3,
  kGranite,
  kCohere,
  kCohere2,
};

enum class Role {
  kTokenEmbedding,
  kPositionEmbedding,
  kEmbeddingProjection,  // from the token embedding's width to the residual stream's
  kEmbeddingNorm,
  kEmbeddingNormBias,
  kAttentionNorm,
  kAttentionNormBias,
  kQkv,
  kQkvBias,
  kQuery,
  kQueryBias,
  kKey,
  kKeyBias,
  kValue,
  kValueBias,
  kQueryNorm,
  kKeyNorm,
  kAttentionOutput,
  kAttentionOutputBias,
  kAttentionPostNorm,
  kFfnNorm,
  kFfnNormBias,
  kFfnGateUp,
  kFfnGate,
  kFfnGateBias,
  kFfnUp,
  kFfnUpBias,
  kFfnDown,
  kFfnDownBias,
  kFfnPostNorm,
  kOutputNorm,
  kOutputNormBias,
  kHeadProjection,  // from the residual stream's width to the head's
  kHead,
};
inline constexpr size_t kRoles = static_cast<size_t>(Role::kHead) + 1;

// A set of roles.
class RoleSet {
 public:
  template <std::same_as<Role>... Roles>
  constexpr explicit RoleSet(Roles... roles) : bits_((bit(roles) | ... | 0)) {}

  constexpr bool contains(Role role) const { return (bits_ & bit(role)) != 0; }
  constexpr void insert(Role role) { bits_ |= bit(role); }
  constexpr RoleSet operator|(RoleSet other) const {
    other.bits_ |= bits_;
    return other;
  }
  constexpr RoleSet without(RoleSet others) const {
    others.bits_ = bits_ & ~others.bits_;
    return others;
  }
  bool operator==(const RoleSet&) const = default;

 private:
  static constexpr uint64_t bit(Role role) { return uint64_t{1} << static_cast<size_t>(role); }
  static_assert(kRoles <= 64);

  uint64_t bits_;
};

// Families whose Hugging Face files name tensors alike.
enum class HfNaming { kGpt2, kOpt, kXglm, kBloom, kGptNeoX, kLlama, kGemma2 };
inline constexpr size_t kHfNamings = 7;

struct FamilyInfo {
  Family family;
  std::string_view gguf_name;  // general.architecture; families with the same one are one in GGUF
  std::string_view hf_name;    // config.json model_type
  HfNaming naming;
  bool in_llama_cpp;     // whether llama.cpp computes it; gguf_name is our own where it does not
  bool gguf_neighbours;  // rotary embedding pairs neighbours in GGUF files: RopePairs
  RoleSet required;      // of every model of the family
  RoleSet optional;      // of some: config.json says which; a GGUF file shows it. The head: untied
};
std::span<const FamilyInfo> known_families();
const FamilyInfo& get_family_info(Family family);
// Of the families with that name in GGUF, the one that files of it are read as.
std::optional<Family> find_family_by_gguf_name(std::string_view name);
std::optional<Family> find_family_by_hf_name(std::string_view name);

// What file names of a naming may begin with ("model."); names in the table are without it.
std::string_view hf_prefix(HfNaming naming);

// The part of the decoder a tensor belongs to.
enum class Component { kEmbeddings, kAttention, kMlp, kOutput };

// What its numbers do: matrices multiply, embeddings are looked up, norms scale, biases add.
enum class TensorKind { kMatrix, kEmbedding, kNorm, kBias };

// A size that depends on the model.
enum class Dim {
  kOne,
  kWidth,
  kEmbedding,  // of the token embedding: the width, where no projection follows
  kHeadDim,
  kQueryNorms,  // rows of kQueryNorm: 1, or one a head
  kKeyNorms,
  kQuery,
  kKeyValue,
  kQkv,
  kFfn,
  kGateUp,
  kVocab,
  kPositions,
};
size_t dim_size(Dim dim, const ModelConfig& config);

struct RoleInfo {
  Role role;
  Component component;
  TensorKind kind;
  Dim rows, cols;
  std::string_view gguf_name;             // "{}" stands for the layer
  std::string_view hf_names[kHfNamings];  // by HfNaming, without the prefix; "": has none

  bool per_layer() const {
    return component == Component::kAttention || component == Component::kMlp;
  }
};

// All roles, in the order in which a decoder uses them.
std::span<const RoleInfo> tensor_roles();
const RoleInfo& get_role_info(Role role);

// The two names of a tensor, with the layer put in; Hugging Face's without prefix.
std::string gguf_tensor_name(const RoleInfo& role, size_t layer);
std::string hf_tensor_name(const RoleInfo& role, Family family, size_t layer);

}  // namespace isogloss
