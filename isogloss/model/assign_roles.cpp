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

// GPT-2's directories hold the weights of block matrices as [inputs][outputs].
bool is_transposed(const RoleInfo& role, const ModelConfig& config, TensorNaming naming) {
  return naming == TensorNaming::kHuggingFace && config.family == Family::kGpt2 &&
         role.kind == TensorKind::kMatrix && role.per_layer();
}

class RoleAssigner {
 public:
  RoleAssigner(const std::string& path, const ModelConfig& config, const StoredTensors& stored,
               TensorNaming naming)
      : path_(path), config_(config), stored_(stored), naming_(naming) {}

  // False when the file has no such tensor.
  bool add(const RoleInfo& role, size_t layer) {
    const std::string hf_name = hf_tensor_name(role, config_.family, layer);
    const std::string gguf_name = gguf_tensor_name(role, layer);
    const std::string& name = naming_ == TensorNaming::kGguf ? gguf_name : hf_name;
    const auto found = stored_.find(name);
    if (found == stored_.end()) return false;
    used_.insert(name);
    TensorView view{role.role,
                    layer,
                    gguf_name,
                    hf_name,
                    dim_size(role.rows, config_),
                    dim_size(role.cols, config_),
                    found->second.type,
                    is_transposed(role, config_, naming_),
                    found->second.bytes};
    check_shape(name, view, found->second);
    tensors_.push_back(std::move(view));
    return true;
  }

  void require(const RoleInfo& role, size_t layer) {
    if (add(role, layer)) return;
    fail(ErrorCode::kCorrupt, "{}: tensor '{}' is missing; a {} model of {} layers has it", path_,
         naming_ == TensorNaming::kGguf ? gguf_tensor_name(role, layer)
                                        : hf_tensor_name(role, config_.family, layer),
         get_family_info(config_.family).gguf_name, config_.layers);
  }

  void check_nothing_is_left() const {
    for (const auto& [name, tensor] : stored_) {
      if (used_.contains(name)) continue;
      fail(ErrorCode::kUnsupported,
           "{}: tensor '{}' {} has no role in a {} model of {} layers; perhaps a variant of the "
           "family that is not supported",
           path_, name, shape_text(tensor.shape), get_family_info(config_.family).gguf_name,
           config_.layers);
    }
  }

  std::vector<TensorView> take() { return std::move(tensors_); }

 private:
  void check_shape(const std::string& name, const TensorView& view,
                   const StoredTensor& stored) const {
    std::vector<uint64_t> expected;
    if (view.rows != 1) expected.push_back(view.rows);
    expected.push_back(view.cols);
    if (view.transposed) std::swap(expected.front(), expected.back());
    if (stored.shape != expected) {
      fail(ErrorCode::kMismatch, "{}: tensor '{}' has shape {}, expected {} from the configuration",
           path_, name, shape_text(stored.shape), shape_text(expected));
    }
  }

  const std::string& path_;
  const ModelConfig& config_;
  const StoredTensors& stored_;
  TensorNaming naming_;
  std::set<std::string, std::less<>> used_;
  std::vector<TensorView> tensors_;
};

}  // namespace

std::vector<TensorView> assign_roles(const std::string& path, ModelConfig& config,
                                     const StoredTensors& stored, TensorNaming naming) {
  RoleAssigner assigner(path, config, stored, naming);
  const auto add_component = [&](Component component, size_t layer) {
    for (const RoleInfo& role : tensor_roles()) {
      if (role.component != component || !role.in_family(config.family)) continue;
      if (role.role == Role::kHead) {
        config.tied_head = !assigner.add(role, layer);
      } else {
        assigner.require(role, layer);
      }
    }
  };
  add_component(Component::kEmbeddings, kNoLayer);
  for (size_t layer = 0; layer < config.layers; ++layer) {
    add_component(Component::kAttention, layer);
    add_component(Component::kMlp, layer);
  }
  add_component(Component::kOutput, kNoLayer);
  assigner.check_nothing_is_left();
  return assigner.take();
}

}  // namespace isogloss
