// Stored tensors to tensors with a role.
#include <algorithm>
#include <set>

#include "isogloss/base/error.h"
#include "isogloss/base/suggest.h"
#include "isogloss/model/model_impl.h"

namespace isogloss {
namespace {

std::string shape_text(const std::vector<uint64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

class RoleAssigner {
 public:
  RoleAssigner(const std::string& path, const ModelConfig& config, const StoredTensors& stored,
               TensorNaming naming)
      : path_(path), config_(config), stored_(stored), naming_(naming) {}

  void assign(const RoleInfo& role, size_t layer) {
    const std::string gguf_name = gguf_tensor_name(role, layer);
    const std::string hf_name = hf_tensor_name(role, config_.family, layer);
    const std::string& name = naming_ == TensorNaming::kGguf ? gguf_name : hf_name;
    const auto found = stored_.find(name);
    if (found == stored_.end()) {
      fail(ErrorCode::kCorrupt, "{}: tensor '{}' is missing; a {} model of {} layers has it", path_,
           name, get_family_info(config_.family).gguf_name, config_.layers);
    }
    used_.insert(name);
    TensorView view;
    view.role = role.role;
    view.layer = layer;
    view.name = gguf_name;
    view.hf_name = found->second.name.empty() ? hf_name : found->second.name;
    view.rows = dim_size(role.rows, config_);
    view.cols = dim_size(role.cols, config_);
    view.type = found->second.type;
    view.bytes = found->second.bytes;
    view.packed = found->second.packed;
    check_kind(role, name, view);
    if (naming_ == TensorNaming::kHuggingFace) set_storage(role, view);
    check_shape(found->second, name, view, is_vector(role));
    tensors_.push_back(std::move(view));
  }

  void check_nothing_is_left() const {
    for (const auto& [name, tensor] : stored_) {
      if (used_.contains(name)) continue;
      fail(ErrorCode::kUnsupported,
           "{}: tensor '{}' {} has no role in a {} model of {} layers; perhaps a variant of the "
           "family that is not supported",
           path_, tensor.name.empty() ? name : tensor.name, shape_text(tensor.shape),
           get_family_info(config_.family).gguf_name, config_.layers);
    }
  }

  std::vector<TensorView> take() { return std::move(tensors_); }

 private:
  // How transformers lays numbers out otherwise than GGUF does.
  void set_storage(const RoleInfo& role, TensorView& view) const {
    const Family family = config_.family;
    const bool conv1d = family == Family::kGpt2 && role.per_layer();
    // Codes are of the matrix of outputs by inputs, whatever class multiplies.
    if (conv1d && role.kind == TensorKind::kMatrix && !view.packed) {
      view.order = StorageOrder::kColumns;
    }
    const bool fused = role.role == Role::kQkv || role.role == Role::kQkvBias;
    if (fused && (family == Family::kBloom || family == Family::kGptNeoX)) {
      view.order = StorageOrder::kQkvByHead;
      view.head_dim = config_.head_dim;
    }
    const bool gemma =
        family == Family::kGemma || family == Family::kGemma2 || family == Family::kGemma3;
    if (gemma && role.kind == TensorKind::kNorm) view.offset = 1;
  }

  void check_kind(const RoleInfo& role, const std::string& name, const TensorView& view) const {
    if (!view.packed || role.kind == TensorKind::kMatrix) return;
    fail(ErrorCode::kUnsupported,
         "{}: tensor '{}' is stored as integer codes; only matrices that multiply are read so",
         path_, name);
  }

  bool is_vector(const RoleInfo& role) const {
    const bool head_norm = role.rows == Dim::kQueryNorms || role.rows == Dim::kKeyNorms;
    return role.rows == Dim::kOne || (head_norm && !config_.norm_per_head);
  }

  void check_shape(const StoredTensor& stored, const std::string& name, const TensorView& view,
                   bool vector) const {
    std::vector<uint64_t> expected;
    if (!vector) expected.push_back(view.rows);
    expected.push_back(view.cols);
    if (view.order == StorageOrder::kColumns) std::swap(expected.front(), expected.back());
    if (stored.shape == expected) return;
    fail(ErrorCode::kMismatch, "{}: tensor '{}' has shape {}, expected {} from the configuration",
         path_, name, shape_text(stored.shape), shape_text(expected));
  }

  const std::string& path_;
  const ModelConfig& config_;
  const StoredTensors& stored_;
  TensorNaming naming_;
  std::set<std::string, std::less<>> used_;
  std::vector<TensorView> tensors_;
};

}  // namespace

std::vector<TensorView> assign_roles(const std::string& path, const ModelConfig& config,
                                     const StoredTensors& stored, TensorNaming naming) {
  RoleAssigner assigner(path, config, stored, naming);
  const auto assign_component = [&](Component component, size_t layer) {
    for (const RoleInfo& role : tensor_roles()) {
      if (role.component == component && config.roles.contains(role.role)) {
        assigner.assign(role, layer);
      }
    }
  };
  assign_component(Component::kEmbeddings, kNoLayer);
  for (size_t layer = 0; layer < config.layers; ++layer) {
    assign_component(Component::kAttention, layer);
    assign_component(Component::kMlp, layer);
  }
  assign_component(Component::kOutput, kNoLayer);
  assigner.check_nothing_is_left();
  return assigner.take();
}

}  // namespace isogloss
