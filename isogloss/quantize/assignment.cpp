// Which tensor of a model takes which scheme, and what the result weighs.
#include <algorithm>

#include "isogloss/base/error.h"
#include "isogloss/base/suggest.h"
#include "isogloss/quantize/quantize.h"

namespace isogloss {
namespace {

constexpr uint64_t kTensorAlignment = 32;  // GGUF's default

bool in_seed_family(SeedFamily family, std::string_view hf_name) {
  const auto contains = [&](std::string_view part) { return hf_name.find(part) != hf_name.npos; };
  switch (family) {
    case SeedFamily::kA:
      return contains("weight");
    case SeedFamily::kB:
      return contains("weight") && !contains("ln_f") && !contains("final_layer_norm");
    case SeedFamily::kC:
      return true;
  }
  ISOGLOSS_ASSERT(false);
}

TensorSet seed_tensors(const Model& model, const AssignmentRequest& request) {
  if (!request.include.empty()) {
    fail(ErrorCode::kBadArgument,
         "scheme {} takes no further group ('{}'): --seed-family alone decides what the published "
         "study's schemes quantize",
         to_string(request.scheme), request.include.front());
  }
  TensorSet taken;
  for (const TensorView& tensor : model.tensors()) {
    taken.push_back(in_seed_family(request.seed_family, tensor.hf_name));
  }
  return taken;
}

void check_group(const std::string& group) {
  static const std::vector<std::string> kGroups = {"embeddings", "head", "norms"};
  if (std::ranges::find(kGroups, group) != kGroups.end()) return;
  fail(ErrorCode::kBadArgument,
       "unknown group '{}' to include{}; beside the weight matrices of the blocks there are {}",
       group, did_you_mean(group, kGroups), fmt::join(kGroups, ", "));
}

TensorSet block_matrices_and(const Model& model, const std::vector<std::string>& groups) {
  TensorSet taken;
  for (const TensorView& tensor : model.tensors()) {
    const RoleInfo& role = get_role_info(tensor.role);
    taken.push_back(role.kind == TensorKind::kMatrix && role.per_layer());
  }
  for (const std::string& group : groups) {
    check_group(group);
    const TensorSet added = select_tensors(model, group);
    for (size_t i = 0; i < taken.size(); ++i) taken[i] = taken[i] || added[i];
  }
  return taken;
}

}  // namespace

Assignment assign(const Model& model, const AssignmentRequest& request) {
  const TensorSet taken = request.scheme.kind == SchemeKind::kSeed
                              ? seed_tensors(model, request)
                              : block_matrices_and(model, request.include);
  const TensorSet is_protected =
      request.protect.empty() ? TensorSet(taken.size()) : select_tensors(model, request.protect);
  Assignment assignment = unchanged(model);
  for (size_t i = 0; i < taken.size(); ++i) {
    if (!taken[i]) continue;
    const Scheme& wanted = is_protected[i] ? request.protect_scheme : request.scheme;
    const Scheme used = fitting_scheme(wanted, model.tensors()[i].cols);
    assignment.schemes[i] = used;
    if (used != wanted) assignment.fallbacks.push_back({i, wanted, used});
  }
  return assignment;
}

Assignment unchanged(const Model& model) {
  return {std::vector<Scheme>(model.tensors().size()), {}};
}

ModelSize assigned_size(const Model& model, const Assignment& assignment) {
  ISOGLOSS_ASSERT(assignment.schemes.size() == model.tensors().size());
  ModelSize size;
  uint64_t parameters = 0;
  for (size_t i = 0; i < assignment.schemes.size(); ++i) {
    const TensorView& tensor = model.tensors()[i];
    const Scheme& scheme = assignment.schemes[i];
    const uint64_t bytes = scheme.kind == SchemeKind::kNone
                               ? tensor.size_bytes()
                               : stored_bytes(scheme, tensor.rows, tensor.cols);
    size.size_bytes += (bytes + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment;
    parameters += tensor.count();
  }
  size.bits_per_weight =
      8.0 * static_cast<double>(size.size_bytes) / static_cast<double>(parameters);
  return size;
}

}  // namespace isogloss
