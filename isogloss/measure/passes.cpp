#include "isogloss/measure/passes_impl.h"

#include <fmt/format.h>

#include <map>
#include <string>

namespace isogloss {
namespace {

void run_stage(const Pass& pass, size_t stage, Engine& engine, Meter& meter,
               std::vector<HiddenStates>& hidden) {
  const auto& batches = pass.packing->batches;
  if (stage == 0) {
    hidden.clear();
    for (const Batch& batch : batches) hidden.push_back(engine.embed(pass.variant, batch));
    return;
  }
  const double work = half_work(*pass.variant.model, stage - 1);
  for (size_t b = 0; b < batches.size(); ++b) {
    engine.run_half(pass.variant, stage - 1, batches[b], hidden[b]);
    meter.add(pass.name, work * static_cast<double>(batches[b].size()));
  }
}

size_t stages_of(const Model& model) {
  return 1 + Engine::halves(model);
}

size_t half_of(const TensorView& tensor) {
  const bool mlp = get_role_info(tensor.role).component == Component::kMlp;
  return 2 * tensor.layer + (mlp ? 1 : 0);
}

// What decides a stage's weights: the model and its tensors' schemes, by stage. The output's are
// left out.
std::vector<std::string> stage_keys(const Variant& variant) {
  const Model& model = *variant.model;
  std::vector<std::string> keys(stages_of(model), fmt::format("{}", fmt::ptr(&model)));
  for (size_t i = 0; i < model.tensors().size(); ++i) {
    const TensorView& tensor = model.tensors()[i];
    const RoleInfo& role = get_role_info(tensor.role);
    if (role.component == Component::kOutput) continue;
    const size_t stage = role.per_layer() ? 1 + half_of(tensor) : 0;
    keys[stage] += ' ' + to_string(variant.assignment->schemes[i]);
  }
  return keys;
}

}  // namespace

double half_work(const Model& model, size_t half) {
  double parameters = 0;
  for (const TensorView& tensor : model.tensors()) {
    const RoleInfo& role = get_role_info(tensor.role);
    const bool multiplies = role.per_layer() && role.kind == TensorKind::kMatrix;
    if (multiplies && half_of(tensor) == half) parameters += static_cast<double>(tensor.count());
  }
  return parameters;
}

double head_work(const Model& model) {
  return static_cast<double>(model.config().vocab_size * model.config().embedding_width);
}

Pass run_stages(Pass pass, Engine& engine, Meter& meter) {
  for (size_t stage = 0; stage < stages_of(*pass.variant.model); ++stage) {
    run_stage(pass, stage, engine, meter, pass.hidden);
  }
  return pass;
}

std::vector<StageIds> stage_ids(std::span<const Variant> variants) {
  std::map<std::string, size_t> ids;
  std::vector<StageIds> result;
  for (const Variant& variant : variants) {
    StageIds& stages = result.emplace_back();
    for (const std::string& key : stage_keys(variant)) {
      stages.push_back(ids.emplace(key, ids.size()).first->second);
    }
  }
  return result;
}

void run_schedule(const Schedule& schedule, std::span<const Pass> passes, Engine& engine,
                  Meter& meter, const Finish& finish) {
  std::vector<std::vector<HiddenStates>> slots(schedule.slots);
  for (const Step& step : schedule.steps) {
    if (step.kind == Step::Kind::kFinish) {
      finish(step.configuration, slots[step.source]);
      continue;
    }
    if (step.source != step.target) slots[step.target] = slots[step.source];
    run_stage(passes[step.configuration], step.stage, engine, meter, slots[step.target]);
  }
}

double schedule_work(const Schedule& schedule, std::span<const Variant> variants) {
  double work = 0;
  for (const Step& step : schedule.steps) {
    if (step.kind != Step::Kind::kCompute || step.stage == 0) continue;
    work += half_work(*variants[step.configuration].model, step.stage - 1);
  }
  return work;
}

}  // namespace isogloss
