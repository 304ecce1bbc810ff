// Unit sets: the words users type for parts of a model.
#include <algorithm>
#include <charconv>
#include <numeric>

#include "isogloss/base/error.h"
#include "isogloss/base/random.h"
#include "isogloss/base/suggest.h"
#include "isogloss/model/model.h"

namespace isogloss {
namespace {

std::optional<size_t> parse_number(std::string_view text) {
  size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

template <typename Predicate>
TensorSet tensors_where(const Model& model, Predicate predicate) {
  TensorSet set(model.tensors().size());
  for (size_t i = 0; i < set.size(); ++i) {
    const TensorView& tensor = model.tensors()[i];
    set[i] = predicate(tensor, get_role_info(tensor.role));
  }
  return set;
}

// "embeddings", "head", "biases" and "norms".
std::optional<TensorSet> find_group(const Model& model, std::string_view unit) {
  if (unit == "embeddings") {
    return tensors_where(model,
                         [](auto&, auto& role) { return role.kind == TensorKind::kEmbedding; });
  }
  if (unit == "head") {
    const Role role = model.config().tied_head ? Role::kTokenEmbedding : Role::kHead;
    return tensors_where(model, [=](auto& tensor, auto&) { return tensor.role == role; });
  }
  if (unit == "biases") {
    return tensors_where(model, [](auto&, auto& role) { return role.kind == TensorKind::kBias; });
  }
  if (unit == "norms") {
    return tensors_where(model, [](auto&, auto& role) { return role.kind == TensorKind::kNorm; });
  }
  return std::nullopt;
}

// "L3", "L3.attn", "L3.mlp".
std::optional<TensorSet> find_layer(const Model& model, std::string_view unit) {
  if (!unit.starts_with('L')) return std::nullopt;
  const size_t dot = unit.find('.');
  const auto layer = parse_number(unit.substr(1, dot == unit.npos ? dot : dot - 1));
  const std::string_view half = dot == unit.npos ? "" : unit.substr(dot + 1);
  if (!layer || *layer >= model.config().layers) return std::nullopt;
  if (dot != unit.npos && half != "attn" && half != "mlp") return std::nullopt;
  return tensors_where(model, [&](auto& tensor, auto& role) {
    const bool in_half =
        half.empty() || (half == "attn") == (role.component == Component::kAttention);
    return tensor.layer == *layer && in_half;
  });
}

std::string_view without_suffix(std::string_view name) {
  constexpr std::string_view kSuffix = ".weight";
  return name.ends_with(kSuffix) ? name.substr(0, name.size() - kSuffix.size()) : name;
}

std::optional<TensorSet> find_named(const Model& model, std::string_view unit) {
  TensorSet set = tensors_where(model, [&](auto& tensor, auto&) {
    return tensor.name == unit || without_suffix(tensor.name) == unit;
  });
  if (std::ranges::find(set, true) == set.end()) return std::nullopt;
  return set;
}

// "random:3@42": three layers, drawn by seed 42.
std::optional<TensorSet> find_random(const Model& model, std::string_view unit) {
  constexpr std::string_view kPrefix = "random:";
  if (!unit.starts_with(kPrefix)) return std::nullopt;
  const size_t at = unit.find('@');
  if (at == unit.npos) return std::nullopt;
  const auto count = parse_number(unit.substr(kPrefix.size(), at - kPrefix.size()));
  const auto seed = parse_number(unit.substr(at + 1));
  if (!count || !seed || *count == 0 || *count > model.config().layers) return std::nullopt;
  std::vector<size_t> layers(model.config().layers);
  std::iota(layers.begin(), layers.end(), size_t{0});
  Random random(*seed);
  for (size_t i = 0; i < *count; ++i) {
    std::swap(layers[i], layers[i + random.below(layers.size() - i)]);
  }
  layers.resize(*count);
  return tensors_where(model, [&](auto& tensor, auto&) {
    return std::ranges::find(layers, tensor.layer) != layers.end();
  });
}

[[noreturn]] void no_such_unit(const Model& model, std::string_view unit) {
  std::vector<std::string> names = {"embeddings", "head", "biases", "norms"};
  for (size_t layer = 0; layer < model.config().layers; ++layer) {
    for (const char* half : {"", ".attn", ".mlp"})
      names.push_back(fmt::format("L{}{}", layer, half));
  }
  const bool has_suffix = without_suffix(unit) != unit;
  for (const auto& tensor : model.tensors()) {
    names.emplace_back(has_suffix ? tensor.name : without_suffix(tensor.name));
  }
  fail(ErrorCode::kBadArgument,
       "unit '{}' names nothing in this model{}; units are L0..L{}, L0.attn, L0.mlp, embeddings, "
       "head, biases, norms, tensor names such as blk.0.ffn_down, and random:N@SEED, joined by '+'",
       unit, did_you_mean(unit, names), model.config().layers - 1);
}

}  // namespace

TensorSet select_tensors(const Model& model, std::string_view unit_set) {
  TensorSet selected(model.tensors().size());
  size_t start = 0;
  while (start <= unit_set.size()) {
    const size_t end = std::min(unit_set.find('+', start), unit_set.size());
    const std::string_view unit = unit_set.substr(start, end - start);
    std::optional<TensorSet> found;
    for (const auto find : {find_group, find_layer, find_random, find_named}) {
      if (!found) found = find(model, unit);
    }
    if (!found) no_such_unit(model, unit);
    for (size_t i = 0; i < selected.size(); ++i) selected[i] = selected[i] || (*found)[i];
    start = end + 1;
  }
  return selected;
}

}  // namespace isogloss
