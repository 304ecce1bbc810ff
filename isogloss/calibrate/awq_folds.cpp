// Which matrices AWQ may scale, and which tensors make up for it.
#include <algorithm>
#include <initializer_list>

#include "isogloss/base/error.h"
#include "isogloss/calibrate/awq_impl.h"

namespace isogloss {
namespace {

class FoldFinder {
 public:
  explicit FoldFinder(const HalfTask& task)
      : task_(task), config_(task.model().config()), layer_(task.half / 2) {}

  std::vector<Fold> find() {
    if (task_.half % 2 == 0) {
      add({Role::kQuery, Role::kKey, Role::kValue, Role::kQkv}, of_attention_norm());
      add({Role::kAttentionOutput}, of_values());
    } else {
      add({Role::kFfnGate, Role::kFfnUp, Role::kFfnGateUp},
          of_norm(Role::kFfnNorm, Role::kFfnNormBias));
      add({Role::kFfnDown}, of_up());
    }
    return std::move(folds_);
  }

 private:
  using Sources = std::vector<FoldSource>;

  bool takes_awq(size_t tensor) const {
    const Scheme& scheme = task_.scheme(tensor);
    return scheme.kind == SchemeKind::kInteger && scheme.method == Method::kAwq;
  }

  // A fold of those of the roles that the model has. Scales need every one of them encoded: a
  // matrix that stays as it is would have to be scaled too.
  void add(std::initializer_list<Role> roles, const Sources& sources) {
    Fold fold;
    bool all = true;
    for (const Role role : roles) {
      const auto tensor = task_.model().find_tensor(role, layer_);
      if (!tensor) continue;
      if (takes_awq(*tensor)) fold.targets.push_back(*tensor);
      all = all && takes_awq(*tensor);
    }
    if (fold.targets.empty()) return;
    if (all) fold.sources = sources;
    folds_.push_back(std::move(fold));
  }

  // nothing where the norm follows the half-block.
  Sources of_norm(Role norm, Role bias) const {
    Sources sources;
    const auto scale = task_.model().find_tensor(norm, layer_);
    if (!scale || config_.norm_after) return {};
    sources.push_back({*scale, 0});
    if (const auto shift = task_.model().find_tensor(bias, layer_)) sources.push_back({*shift, 0});
    return sources;
  }

  // Nothing where the MLP of a parallel block reads the same norm.
  Sources of_attention_norm() const {
    if (config_.parallel_blocks && !config_.roles.contains(Role::kFfnNorm)) return {};
    return of_norm(Role::kAttentionNorm, Role::kAttentionNormBias);
  }

  // Rows of a matrix from `first` on, where it is encoded itself, and its bias.
  Sources of_rows(Role matrix, Role bias, size_t first) const {
    const auto rows = task_.model().find_tensor(matrix, layer_);
    if (!rows || !takes_awq(*rows)) return {};
    Sources sources = {{*rows, first}};
    const auto shift = task_.model().find_tensor(bias, layer_);
    if (shift && bias != matrix) sources.push_back({*shift, first});
    return sources;
  }

  // Nothing where several query heads share the values.
  Sources of_values() const {
    if (config_.heads != config_.kv_heads) return {};
    if (!config_.roles.contains(Role::kQkv)) return of_rows(Role::kValue, Role::kValueBias, 0);
    return of_rows(Role::kQkv, Role::kQkvBias, 2 * config_.heads * config_.head_dim);
  }

  // Nothing where the activation is not linear in a positive factor of what it reads.
  Sources of_up() const {
    if (config_.roles.contains(Role::kFfnGateUp)) {
      return of_rows(Role::kFfnGateUp, Role::kFfnGateUp, config_.ffn_width);
    }
    const bool gated = config_.roles.contains(Role::kFfnGate);
    if (!gated && config_.activation != Activation::kRelu) return {};
    return of_rows(Role::kFfnUp, Role::kFfnUpBias, 0);
  }

  const HalfTask& task_;
  const ModelConfig& config_;
  size_t layer_;
  std::vector<Fold> folds_;
};

}  // namespace

std::vector<Fold> find_folds(const HalfTask& task, std::vector<QuantizeNote>& notes) {
  std::vector<Fold> folds = FoldFinder(task).find();
  for (const Fold& fold : folds) {
    if (!fold.sources.empty()) continue;
    for (const size_t tensor : fold.targets) {
      notes.push_back({tensor, "not scaled, only clipped: nothing before it can take the inverse"});
    }
  }
  return folds;
}

}  // namespace isogloss
