// Sweeps to report, made by hand.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "isogloss/report/report.h"
#include "report_text.h"

namespace isogloss {

inline const Strings kCodes = {"en", "hi", "ace-Arab"};

inline Measured some(double value) {
  return {Estimate{value, value - std::abs(value) / 2, value + std::abs(value) / 2}, ""};
}

inline Measured nothing() {
  return {std::nullopt, "UNDEFINED: nothing to divide by"};
}

inline Effect some_effect(double value, double q_value = 0.02) {
  return {some(value), 0.01, q_value};
}

// The n-th metric is size * (1 + n).
inline CellEffect some_cell(double size) {
  CellEffect cell;
  for (size_t m = 0; m < cell_metrics().size(); ++m) {
    cell.metrics.push_back(some_effect(size * static_cast<double>(1 + m)));
  }
  cell.share = some_effect(size / 10);
  cell.interaction = some_effect(size / 100, 0.5);
  cell.rank = {2, 1, 3, 0.25};
  cell.kl_quantiles = {size, 2 * size, 4 * size, 8 * size};
  return cell;
}

// `effect`: DAMAGE of the worst-off language; RESTORE's is half of it.
inline UnitResult some_unit(const std::string& name, double effect) {
  UnitResult unit;
  unit.unit = {name, TensorSet{true, false, true}, 3 << 19};
  unit.worst_language = "hi";
  unit.sign_agreement = 1;
  unit.restore_mean = {some_effect(effect / 4), {2, 1, 3, 0.25}};
  unit.restore_worst = {some_effect(effect / 2), {2, 1, 3, 0.25}};
  unit.damage_mean = {some_effect(effect / 2), {3, 2, 4, 0.125}};
  unit.damage_worst = {some_effect(effect), {3, 2, 4, 0.125}};
  unit.restore_disparity = {some_effect(effect), some_effect(effect / 8), some_effect(-effect)};
  unit.damage_disparity = {some_effect(2 * effect), some_effect(effect / 4), some_effect(effect)};
  for (size_t l = 0; l < kCodes.size(); ++l) {
    unit.languages.push_back({some_cell(effect / 2), some_cell(effect), true, false});
  }
  return unit;
}

inline SetResult some_set(const Strings& units) {
  SetResult set;
  for (const auto& unit : units) set.name += (set.name.empty() ? "" : "+") + unit;
  set.units = units;
  set.extra_bytes = 1 << 20;
  set.loss = {some(0.25), some(0.5), some(0.75)};
  set.worst_language = "ace-Arab";
  set.worst_loss = some(0.75);
  set.mean_loss = some(0.5);
  set.seed_disparity = some(2.5);
  return set;
}

// A sweep that has its head and nothing that was swept.
inline SweepReport some_report() {
  SweepReport report;
  report.model = {"models/some", "some", "gpt2", 12, 13803008, 27606016, 16.0, ""};
  report.corpus = {"builtin", true, 0, kCodes};
  report.settings = {"cpu", "a processor", "f32", 2, "B", {"embeddings"}};
  report.scheme = "seed-int4";
  report.protect = "none";
  report.mode = "both";
  report.unit = "layer";
  SweepResult& result = report.result;
  result.noise_floor = {73, 1e-9, 2e-8, 0.0, 3e-7};
  result.reference_language = "en";
  result.seed = 7;
  result.draws = 10000;
  result.half_blocks = 500;
  result.naive_half_blocks = 768;
  result.languages = kCodes;
  result.units = {4, 4, 4};
  result.baseline.worst_language = "hi";
  result.baseline.size = {8 << 20, 4.5};
  for (size_t l = 0; l < kCodes.size(); ++l) {
    auto& metrics = result.baseline.languages.emplace_back();
    for (size_t m = 0; m < cell_metrics().size(); ++m) {
      metrics.push_back(some(static_cast<double>((1 + l) * (1 + m))));
    }
    result.baseline.ppl_reference.push_back(10 + static_cast<double>(l));
  }
  result.baseline.gap = some(5);
  result.baseline.gini = some(0.25);
  result.baseline.seed_disparity = some(1.5);
  return report;
}

// L0, L1, ... of DAMAGE 1, 2, ..., so that the last one is the first row.
inline SweepReport matrix_report(size_t units = 3) {
  SweepReport report = some_report();
  auto& matrix = report.result.matrix.emplace();
  for (size_t u = 0; u < units; ++u) {
    matrix.units.push_back(some_unit("L" + std::to_string(u), 1.0 + static_cast<double>(u)));
  }
  return report;
}

inline SweepReport without_damage(SweepReport report) {
  for (UnitResult& unit : report.result.matrix->units) {
    unit.damage_mean = unit.damage_worst = std::nullopt;
    unit.damage_disparity = std::nullopt;
    for (UnitLanguage& language : unit.languages) language.damage = std::nullopt;
  }
  return report;
}

inline ShapleyValues some_shapley() {
  ShapleyValues shapley{{"L0", "L3"}, {}, {some_effect(0.25), some_effect(0.75)}};
  for (size_t l = 0; l < kCodes.size(); ++l) {
    shapley.values.push_back({some_effect(0.125), some_effect(0.5 + static_cast<double>(l))});
  }
  return shapley;
}

inline PairInteraction some_pair(double index) {
  return {0, 1, some_effect(index), some_effect(-0.0625), some_effect(0.03125)};
}

inline SweepReport subsets_report() {
  SweepReport report = some_report();
  report.mode = "subsets";
  SubsetsResult& subsets = report.result.subsets.emplace();
  subsets.players = {"L0", "L3"};
  subsets.max_size = 2;
  subsets.sets = 4;
  for (const char* objective : {"worst_loss", "mean_loss", "seed_disparity"}) {
    subsets.best.push_back({objective, 1, some_set({"L3"}), "L0", some_effect(0.125)});
    subsets.best.push_back({objective, 2, some_set({"L0", "L3"}), "", {}});
  }
  subsets.shapley = some_shapley();
  for (size_t l = 0; l < kCodes.size(); ++l) subsets.interactions.push_back({some_pair(-0.125)});
  subsets.contrasts_at_none = {some_pair(0)};
  return report;
}

inline SweepReport shapley_report() {
  SweepReport report = some_report();
  report.mode = "shapley";
  report.result.shapley = {some_shapley(), 64, true};
  return report;
}

inline SweepReport sets_report() {
  SweepReport report = some_report();
  report.mode = "sets";
  report.result.sets = {
      {some_set({"L0"}), 2, 11, 1.0, 0.75, {some_set({"L1"}), some_set({"L2"})}},
      {some_set({"L0", "head"}), 0, 0, 0, 0, {}},
  };
  return report;
}

inline SweepReport patch_report() {
  SweepReport report = some_report();
  report.mode = "patch";
  PatchResult& patch = report.result.patch.emplace();
  patch.covariates = {"ln residual norm", "bytes of the token"};
  const std::vector<Effect> effects(kCodes.size(), some_effect(0.25));
  const std::vector<Measured> numbers(kCodes.size(), some_effect(1.25).value);
  const std::vector<Measured> none(kCodes.size(), Measured{std::nullopt, "UNDEFINED: no error"});
  patch.blocks = {{"L0", effects, effects, none, numbers, effects, effects},
                  {"L1", effects, effects, numbers, numbers, effects, effects}};
  patch.mediations = {{0, 1, effects}};
  patch.direct = {effects, effects};
  return report;
}

inline std::vector<SweepReport> all_reports() {
  return {matrix_report(), without_damage(matrix_report()), subsets_report(), shapley_report(),
          sets_report()};
}

}  // namespace isogloss
