// What can be swept: names, units, and the models that interventions leave.
#include <algorithm>
#include <iterator>

#include "isogloss/base/error.h"
#include "isogloss/base/suggest.h"
#include "isogloss/sweep/sweep.h"

namespace isogloss {
namespace {

template <typename Value>
struct Named {
  std::string_view name;
  Value value;
};

constexpr Named<SweepMode> kModes[] = {
    {"restore", SweepMode::kRestore}, {"damage", SweepMode::kDamage},   {"both", SweepMode::kBoth},
    {"subsets", SweepMode::kSubsets}, {"shapley", SweepMode::kShapley}, {"sets", SweepMode::kSets},
    {"patch", SweepMode::kPatch},
};
constexpr Named<UnitKind> kKinds[] = {
    {"layer", UnitKind::kLayer},
    {"half", UnitKind::kHalf},
    {"tensor", UnitKind::kTensor},
};

template <typename Value, size_t kCount>
std::vector<std::string> names_of(const Named<Value> (&table)[kCount]) {
  std::vector<std::string> names;
  for (const auto& entry : table) names.emplace_back(entry.name);
  return names;
}

template <typename Value, size_t kCount>
Value parse(const Named<Value> (&table)[kCount], std::string_view name, std::string_view option) {
  const auto found = std::ranges::find(table, name, &Named<Value>::name);
  if (found != std::end(table)) return found->value;
  const auto names = names_of(table);
  fail(ErrorCode::kBadArgument, "{} {}{}; there are {}", option, name,
       did_you_mean(std::string(name), names), fmt::join(names, ", "));
}

template <typename Value, size_t kCount>
std::string_view name_of(const Named<Value> (&table)[kCount], Value value) {
  return std::ranges::find(table, value, &Named<Value>::value)->name;
}

std::vector<std::string> unit_names(const Model& model, UnitKind kind) {
  std::vector<std::string> names;
  for (size_t layer = 0; layer < model.config().layers; ++layer) {
    if (kind == UnitKind::kLayer) names.push_back(fmt::format("L{}", layer));
    if (kind != UnitKind::kHalf) continue;
    names.push_back(fmt::format("L{}.attn", layer));
    names.push_back(fmt::format("L{}.mlp", layer));
  }
  if (kind == UnitKind::kTensor) {
    for (const TensorView& tensor : model.tensors()) names.push_back(tensor.name);
  }
  for (const char* group : {"embeddings", "head", "biases", "norms"}) names.emplace_back(group);
  return names;
}

}  // namespace

SweepMode parse_sweep_mode(std::string_view name) {
  return parse(kModes, name, "--mode");
}
std::string_view to_string(SweepMode mode) {
  return name_of(kModes, mode);
}
std::vector<std::string> sweep_mode_names() {
  return names_of(kModes);
}
UnitKind parse_unit_kind(std::string_view name) {
  return parse(kKinds, name, "--unit");
}
std::string_view to_string(UnitKind kind) {
  return name_of(kKinds, kind);
}

SweepUnit make_unit(const Model& model, const Assignment& quantized, const std::string& unit_set) {
  SweepUnit unit{unit_set, select_tensors(model, unit_set), 0};
  const Assignment stored = unchanged(model);
  for (size_t i = 0; i < unit.tensors.size(); ++i) {
    unit.tensors[i] = unit.tensors[i] && quantized.schemes[i] != stored.schemes[i];
  }
  TensorSet others(unit.tensors);
  others.flip();
  const uint64_t whole = assigned_size(model, quantized).size_bytes;
  const uint64_t restored = assigned_size(model, quantize_only(quantized, others)).size_bytes;
  unit.extra_bytes = restored > whole ? restored - whole : 0;
  return unit;
}

std::vector<SweepUnit> sweep_units(const Model& model, const Assignment& quantized, UnitKind kind) {
  std::vector<SweepUnit> units;
  for (const std::string& name : unit_names(model, kind)) {
    SweepUnit unit = make_unit(model, quantized, name);
    if (std::ranges::find(unit.tensors, true) != unit.tensors.end()) {
      units.push_back(std::move(unit));
    }
  }
  return units;
}

Assignment quantize_only(const Assignment& quantized, const TensorSet& set) {
  ISOGLOSS_ASSERT(set.size() == quantized.schemes.size());
  Assignment only{std::vector<Scheme>(set.size()), {}};
  for (size_t i = 0; i < set.size(); ++i) {
    if (set[i]) only.schemes[i] = quantized.schemes[i];
  }
  std::ranges::copy_if(quantized.fallbacks, std::back_inserter(only.fallbacks),
                       [&](const Fallback& fallback) { return set[fallback.tensor]; });
  return only;
}

}  // namespace isogloss
