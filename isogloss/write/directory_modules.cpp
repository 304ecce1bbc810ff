// Names of modules, and patterns that runtimes find them by.
#include <algorithm>
#include <array>

#include "isogloss/base/error.h"
#include "isogloss/write/directory_impl.h"

namespace isogloss {
namespace {

// The end of a module's name as a pattern; vLLM joins some modules to one of another name.
std::string tail_pattern(std::string_view tail) {
  struct Joined {
    std::string_view end, pattern;
  };
  constexpr std::array<Joined, 5> kJoined = {{{".q_proj", "(q|k|v|qkv)_proj"},
                                              {".k_proj", "(q|k|v|qkv)_proj"},
                                              {".v_proj", "(q|k|v|qkv)_proj"},
                                              {".gate_proj", "(gate|up|gate_up)_proj"},
                                              {".up_proj", "(gate|up|gate_up)_proj"}}};
  for (const auto& [end, pattern] : kJoined) {
    if (!tail.ends_with(end)) continue;
    tail.remove_suffix(end.size() - 1);
    return escaped(tail) + std::string(pattern);
  }
  return escaped(tail);
}

bool is_block_matrix(const TensorView& view) {
  const RoleInfo& role = get_role_info(view.role);
  return role.kind == TensorKind::kMatrix && role.per_layer();
}

std::string name_in_transformers(const Model& model, Role role, size_t layer) {
  const Family family = model.config().family;
  return std::string(hf_prefix(get_family_info(family).naming)) +
         module_of(hf_tensor_name(get_role_info(role), family, layer));
}

// The modules of one kind in some layers.
struct LayerPattern {
  std::string before, after;  // of the layer's number
  std::vector<size_t> layers;
};

}  // namespace

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '.') result += '\\';
    result += c;
  }
  return result;
}

std::string module_of(const std::string& hf_name) {
  constexpr std::string_view kSuffix = ".weight";
  ISOGLOSS_ASSERT(hf_name.ends_with(kSuffix));
  return hf_name.substr(0, hf_name.size() - kSuffix.size());
}

std::vector<ModuleName> block_modules(const Model& model) {
  std::vector<ModuleName> modules;
  for (size_t i = 0; i < model.tensors().size(); ++i) {
    const TensorView& view = model.tensors()[i];
    if (!is_block_matrix(view)) continue;
    modules.push_back({i, name_in_transformers(model, view.role, view.layer)});
  }
  return modules;
}

std::string head_module(const Model& model) {
  return module_of(hf_tensor_name(get_role_info(Role::kHead), model.config().family, kNoLayer));
}

std::vector<std::string> projection_modules(const Model& model) {
  std::vector<std::string> names;
  for (const Role role : {Role::kEmbeddingProjection, Role::kHeadProjection}) {
    if (model.find_tensor(role)) names.push_back(name_in_transformers(model, role, kNoLayer));
  }
  return names;
}

std::vector<std::string> module_patterns(const Model& model, const std::vector<size_t>& tensors) {
  const auto naming = static_cast<size_t>(get_family_info(model.config().family).naming);
  std::vector<LayerPattern> patterns;
  for (const size_t i : tensors) {
    const TensorView& view = model.tensors()[i];
    const std::string name(get_role_info(view.role).hf_names[naming]);
    const size_t place = name.find("{}");
    ISOGLOSS_ASSERT(place != name.npos);
    const std::string before = escaped(name.substr(0, place));
    const std::string after = tail_pattern(module_of(name.substr(place + 2)));
    auto found = std::ranges::find_if(patterns, [&](const LayerPattern& pattern) {
      return pattern.before == before && pattern.after == after;
    });
    if (found == patterns.end()) found = patterns.insert(found, {before, after, {}});
    if (found->layers.empty() || found->layers.back() != view.layer) {
      found->layers.push_back(view.layer);
    }
  }
  std::vector<std::string> texts;
  for (const auto& [before, after, layers] : patterns) {
    texts.push_back(fmt::format("{}({}){}$", before, fmt::join(layers, "|"), after));
  }
  return texts;
}

std::vector<FormatModules> by_format(const Model& model, const CodeFormats& formats) {
  std::vector<FormatModules> groups;
  for (const auto& [tensor, name] : block_modules(model)) {
    auto found = std::ranges::find(groups, formats[tensor], &FormatModules::format);
    if (found == groups.end()) found = groups.insert(found, {formats[tensor], {}});
    found->tensors.push_back(tensor);
  }
  return groups;
}

}  // namespace isogloss
