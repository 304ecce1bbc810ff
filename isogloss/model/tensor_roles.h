// The table of tensors: what each tensor is for, its shape, and its name in every source. Nothing
// else in the program spells a tensor's name.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace isogloss {

struct ModelConfig;

enum class Family { kGpt2, kLlama, kGemma3 };
inline constexpr size_t kFamilies = 3;

struct FamilyInfo {
  Family family;
  std::string_view gguf_name;  // general.architecture
  std::string_view hf_name;    // config.json model_type; "" when its directories are not read yet
};
std::span<const FamilyInfo> known_families();
const FamilyInfo& get_family_info(Family family);
std::optional<Family> find_family_by_gguf_name(std::string_view name);

enum class Role {
  kTokenEmbedding,
  kPositionEmbedding,
  kAttentionNorm,
  kAttentionNormBias,
  kQkv,
  kQkvBias,
  kQuery,
  kKey,
  kValue,
  kQueryNorm,
  kKeyNorm,
  kAttentionOutput,
  kAttentionOutputBias,
  kAttentionPostNorm,
  kFfnNorm,
  kFfnNormBias,
  kFfnGate,
  kFfnUp,
  kFfnUpBias,
  kFfnDown,
  kFfnDownBias,
  kFfnPostNorm,
  kOutputNorm,
  kOutputNormBias,
  kHead,
};
inline constexpr size_t kRoles = static_cast<size_t>(Role::kHead) + 1;

// The part of the decoder a tensor belongs to.
enum class Component { kEmbeddings, kAttention, kMlp, kOutput };

// What its numbers do: matrices multiply, embeddings are looked up, norms scale, biases add.
enum class TensorKind { kMatrix, kEmbedding, kNorm, kBias };

// A size that depends on the model.
enum class Dim { kOne, kWidth, kHeadDim, kQuery, kKeyValue, kQkv, kFfn, kVocab, kContext };
size_t dim_size(Dim dim, const ModelConfig& config);

struct RoleInfo {
  Role role;
  Component component;
  TensorKind kind;
  Dim rows, cols;
  std::string_view gguf_name;            // "{}" stands for the layer
  std::string_view hf_names[kFamilies];  // by Family, without the model prefix; "": has none

  bool per_layer() const {
    return component == Component::kAttention || component == Component::kMlp;
  }
  bool in_family(Family family) const { return !hf_names[static_cast<size_t>(family)].empty(); }
};

// All roles, in the order in which a decoder uses them.
std::span<const RoleInfo> tensor_roles();
const RoleInfo& get_role_info(Role role);

// The two names of a tensor, with the layer put in.
std::string gguf_tensor_name(const RoleInfo& role, size_t layer);
std::string hf_tensor_name(const RoleInfo& role, Family family, size_t layer);

}  // namespace isogloss
