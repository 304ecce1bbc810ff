#include "isogloss/plan/plan.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "isogloss/base/error.h"
#include "isogloss/base/file.h"
#include "isogloss/base/json.h"
#include "isogloss/base/suggest.h"

namespace isogloss {
namespace {

constexpr size_t kVersion = 1;

uint64_t count_parameters(const Model& model) {
  uint64_t parameters = 0;
  for (const TensorView& tensor : model.tensors()) parameters += tensor.count();
  return parameters;
}

void check_model(const Model& model, const Plan& plan, const std::string& origin) {
  const auto differ = [&](const char* what, const auto& planned, const auto& found) {
    if (planned == found) return;
    fail(ErrorCode::kMismatch, "{}: was made for another model: its {} is {}, that of {} is {}",
         origin, what, planned, model.path().string(), found);
  };
  differ("family", plan.family, std::string(get_family_info(model.config().family).gguf_name));
  differ("number of layers", plan.layers, model.config().layers);
  differ("number of parameters", plan.parameters, count_parameters(model));
}

}  // namespace

Plan make_plan(const Model& model, const Assignment& assignment) {
  Plan plan;
  plan.family = get_family_info(model.config().family).gguf_name;
  plan.layers = model.config().layers;
  plan.parameters = count_parameters(model);
  for (size_t i = 0; i < assignment.schemes.size(); ++i) {
    if (assignment.schemes[i].kind == SchemeKind::kNone) continue;
    plan.schemes.emplace(model.tensors()[i].name, assignment.schemes[i]);
  }
  return plan;
}

Plan read_plan(const std::filesystem::path& path) {
  const auto json = JsonObject::parse(read_text_file(path), path.string());
  const size_t version = json.get_size("isogloss_plan");
  if (version != kVersion) {
    fail(ErrorCode::kUnsupported, "{}: is a plan of version {}; this program reads {}",
         path.string(), version, kVersion);
  }
  Plan plan;
  const auto model = json.get_object("model");
  plan.family = model.get_string("family");
  plan.layers = model.get_size("layers");
  plan.parameters = model.get_size("parameters");
  const auto tensors = json.get_object("tensors");
  for (const auto& [name, scheme] : tensors.value().items()) {
    try {
      plan.schemes.emplace(name, parse_scheme(tensors.get_string(name.c_str())));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kBadArgument) throw;
      fail(ErrorCode::kBadArgument, "{}: tensor '{}': {}", path.string(), name, error.what());
    }
  }
  return plan;
}

void write_plan(const Plan& plan, const std::filesystem::path& path) {
  nlohmann::ordered_json json = {
      {"isogloss_plan", kVersion},
      {"model",
       {{"family", plan.family}, {"layers", plan.layers}, {"parameters", plan.parameters}}},
      {"tensors", nlohmann::ordered_json::object()}};
  for (const auto& [name, scheme] : plan.schemes) json["tensors"][name] = to_string(scheme);
  write_file(path, json.dump(1) + "\n");
}

Assignment assign(const Model& model, const Plan& plan, const std::string& origin) {
  check_model(model, plan, origin);
  Assignment assignment = unchanged(model);
  std::vector<std::string> names;
  for (const TensorView& tensor : model.tensors()) names.push_back(tensor.name);
  for (const auto& [name, wanted] : plan.schemes) {
    const auto found = std::ranges::find(names, name);
    if (found == names.end()) {
      fail(ErrorCode::kMismatch, "{}: names tensor '{}', which {} does not have{}", origin, name,
           model.path().string(), did_you_mean(name, names));
    }
    const auto index = static_cast<size_t>(found - names.begin());
    const Scheme used = fitting_scheme(wanted, model.tensors()[index].cols);
    assignment.schemes[index] = used;
    if (used != wanted) assignment.fallbacks.push_back({index, wanted, used});
  }
  return assignment;
}

}  // namespace isogloss
