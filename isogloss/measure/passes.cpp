#include "isogloss/measure/passes_impl.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>

namespace isogloss {
namespace {

using BatchStates = std::vector<HiddenStates>;  // by batch

void run_stage(const Pass& pass, size_t stage, Engine& engine, Meter& meter, BatchStates& hidden) {
  const auto& batches = pass.packing->batches;
  if (stage == 0) {
    hidden.clear();
    for (const Batch& batch : batches)
      hidden.push_back(engine.embed(pass.what.variant_of(stage), batch));
    return;
  }
  const double work = half_work(*pass.what.variant.model, stage - 1);
  for (size_t b = 0; b < batches.size(); ++b) {
    engine.run_half(pass.what.variant_of(stage), stage - 1, batches[b], hidden[b]);
    meter.add(pass.what.name, work * static_cast<double>(batches[b].size()));
  }
}

// Stages 2d + 1 and 2d + 2 are the halves of block d.
bool is_frozen(std::span<const size_t> frozen_blocks, size_t stage) {
  return stage > 0 && std::ranges::binary_search(frozen_blocks, (stage - 1) / 2);
}

// hidden += after - before
void add_difference(const BatchStates& before, const BatchStates& after, BatchStates& hidden) {
  for (size_t b = 0; b < hidden.size(); ++b) {
    for (size_t t = 0; t < hidden[b].tokens(); ++t) {
      const auto from = before[b].row(t);
      const auto to = after[b].row(t);
      const auto row = hidden[b].row(t);
      // In this order, a state that is `from` becomes `to` without rounding.
      for (size_t i = 0; i < row.size(); ++i) row[i] = to[i] + (row[i] - from[i]);
    }
  }
}

size_t stages_of(const Model& model) {
  return 1 + Engine::halves(model);
}

size_t half_of(const TensorView& tensor) {
  const bool mlp = get_role_info(tensor.role).component == Component::kMlp;
  return 2 * tensor.layer + (mlp ? 1 : 0);
}

// Which stage a tensor belongs to; nullopt: to the output.
std::optional<size_t> stage_of(const TensorView& tensor) {
  const RoleInfo& role = get_role_info(tensor.role);
  if (role.component == Component::kOutput) return std::nullopt;
  return role.per_layer() ? 1 + half_of(tensor) : 0;
}

// What decides a stage's weights: the model and its tensors' schemes, by stage.
std::vector<std::string> stage_keys(const Configuration& configuration) {
  const Model& model = *configuration.variant.model;
  std::vector<std::string> keys;
  for (size_t stage = 0; stage < stages_of(model); ++stage) {
    keys.push_back(fmt::format("{}", fmt::ptr(configuration.variant_of(stage).model)));
  }
  for (size_t i = 0; i < model.tensors().size(); ++i) {
    const auto stage = stage_of(model.tensors()[i]);
    if (!stage) continue;
    const Assignment& assignment = *configuration.variant_of(*stage).assignment;
    keys[*stage] += ' ' + to_string(assignment.schemes[i]);
  }
  for (size_t stage = 1; stage < keys.size(); ++stage) {
    if (is_frozen(configuration.frozen_blocks, stage)) keys[stage] = "frozen";
  }
  return keys;
}

// What the reference's blocks add, once its states before and after each are known.
class ReferenceStates {
 public:
  void keep(size_t stage, const BatchStates& hidden) {
    if (stage % 2 == 0) states_.push_back(hidden);
  }

  // The first half of a frozen block adds nothing yet, the second what both add.
  void run_frozen_stage(size_t stage, BatchStates& hidden) const {
    if (stage % 2 == 0) add_difference(states_[stage / 2 - 1], states_[stage / 2], hidden);
  }

 private:
  std::vector<BatchStates> states_;  // before block d; after the last
};

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
  for (size_t stage = 0; stage < stages_of(*pass.what.variant.model); ++stage) {
    run_stage(pass, stage, engine, meter, pass.hidden);
  }
  return pass;
}

std::vector<Configuration> with_reference(const Variant& reference,
                                          std::span<const Configuration> configurations) {
  std::vector<Configuration> all = {{"reference", reference}};
  all.insert(all.end(), configurations.begin(), configurations.end());
  return all;
}

std::vector<StageIds> stage_ids(std::span<const Configuration> configurations) {
  std::map<std::string, size_t> ids;
  std::vector<StageIds> result;
  for (const Configuration& configuration : configurations) {
    StageIds& stages = result.emplace_back();
    for (const std::string& key : stage_keys(configuration)) {
      stages.push_back(ids.emplace(key, ids.size()).first->second);
    }
  }
  return result;
}

void run_schedule(const Schedule& schedule, std::span<const Pass> passes, Engine& engine,
                  Meter& meter, const Finish& finish) {
  const bool freezes = std::ranges::any_of(
      passes, [](const Pass& pass) { return !pass.what.frozen_blocks.empty(); });
  ReferenceStates reference;
  std::vector<BatchStates> slots(schedule.slots);
  for (const Step& step : schedule.steps) {
    if (step.kind == Step::Kind::kFinish) {
      finish(step.configuration, slots[step.source]);
      continue;
    }
    BatchStates& hidden = slots[step.target];
    if (step.source != step.target) hidden = slots[step.source];
    const Pass& pass = passes[step.configuration];
    if (is_frozen(pass.what.frozen_blocks, step.stage)) {
      reference.run_frozen_stage(step.stage, hidden);
      continue;
    }
    run_stage(pass, step.stage, engine, meter, hidden);
    if (freezes && step.configuration == 0) reference.keep(step.stage, hidden);
  }
}

double schedule_work(const Schedule& schedule, std::span<const Configuration> configurations) {
  double work = 0;
  for (const Step& step : schedule.steps) {
    const Configuration& configuration = configurations[step.configuration];
    if (step.kind != Step::Kind::kCompute || step.stage == 0) continue;
    if (is_frozen(configuration.frozen_blocks, step.stage)) continue;
    work += half_work(*configuration.variant.model, step.stage - 1);
  }
  return work;
}

bool freezes_blocks(std::span<const Configuration> configurations) {
  return std::ranges::any_of(configurations,
                             [](const auto& entry) { return !entry.frozen_blocks.empty(); });
}

}  // namespace isogloss
