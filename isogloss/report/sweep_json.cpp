// A sweep as JSON.
#include <algorithm>

#include "isogloss/report/json_impl.h"
#include "isogloss/report/sweep_impl.h"

namespace isogloss {
namespace {

using Codes = std::vector<std::string>;

// Under the code of each language, what `make` makes of its value.
template <typename Value, typename Make>
Json by_language(const Codes& codes, const std::vector<Value>& values, Make make) {
  Json json = Json::object();
  for (size_t l = 0; l < values.size(); ++l) json[codes[l]] = make(values[l]);
  return json;
}

template <typename Value, typename Make>
Json list(const std::vector<Value>& values, Make make) {
  Json json = Json::array();
  for (const Value& value : values) json.push_back(make(value));
  return json;
}

Json measured(const Measured& value) {
  return to_json_object(value);
}

Json effect(const Effect& effect) {
  return to_json_object(effect);
}

Json rank(const Rank& rank) {
  return with_status({{"rank", number(rank.rank)},
                      {"lo", number(rank.lo)},
                      {"hi", number(rank.hi)},
                      {"first_frequency", number(rank.first_frequency)}});
}

Json plan(const SweepResult& result) {
  return {{"half_blocks", result.half_blocks}, {"naive_half_blocks", result.naive_half_blocks}};
}

// By the names of cell_metrics().
template <typename Value, typename Make>
Json metrics(const std::vector<Value>& values, Make make) {
  Json json = Json::object();
  for (size_t m = 0; m < values.size(); ++m) {
    json[std::string(cell_metrics()[m].name)] = make(values[m]);
  }
  return json;
}

Json quantiles(const KlQuantiles& kl) {
  Json json = Json::object();
  for (const KlQuantile& quantile : kKlQuantiles) {
    json[std::string(quantile.name)] = number(kl.*quantile.value);
  }
  return json;
}

Json baseline(const Baseline& baseline, const Codes& codes) {
  Json languages = by_language(codes, baseline.languages,
                               [](const auto& values) { return metrics(values, measured); });
  for (size_t l = 0; l < baseline.languages.size(); ++l) {
    languages[codes[l]]["ppl_reference"] = number(baseline.ppl_reference[l]);
    if (baseline.kl_quantiles.empty()) continue;
    languages[codes[l]]["kl_quantiles"] = quantiles(baseline.kl_quantiles[l]);
  }
  return with_status({{"regime", to_string(baseline.regime)},
                      {"worst_language", baseline.worst_language},
                      {"size_bytes", baseline.size.size_bytes},
                      {"bits_per_weight", number(baseline.size.bits_per_weight)},
                      {"gap", measured(baseline.gap)},
                      {"gini", measured(baseline.gini)},
                      {"seed_disparity_mean", measured(baseline.seed_disparity)},
                      {"languages", std::move(languages)}});
}

Json cell(const CellEffect& cell) {
  Json json = metrics(cell.metrics, effect);
  json["kl_quantiles"] = quantiles(cell.kl_quantiles);
  json["share"] = effect(cell.share);
  json["interaction"] = effect(cell.interaction);
  json["rank"] = rank(cell.rank);
  return json;
}

Json summary(const SummaryEffect& summary) {
  Json json = effect(summary.effect);
  json["rank"] = rank(summary.rank);
  return json;
}

Json unit_language(const UnitLanguage& language) {
  Json json = Json::object();
  for (const Intervention& intervention : kInterventions) {
    const auto& measured = language.*intervention.cell;
    if (measured) json[std::string(intervention.name)] = cell(*measured);
  }
  if (has_both(language)) json["signs_agree"] = language.signs_agree;
  json["critical"] = language.critical;
  return json;
}

Json unit(const UnitResult& result, const Codes& codes) {
  const SweepUnit& unit = result.unit;
  Json mean = Json::object(), worst = Json::object(), disparity = Json::object();
  for (const Intervention& intervention : kInterventions) {
    const std::string name(intervention.name);
    if (const auto& of_mean = result.*intervention.mean) mean[name] = summary(*of_mean);
    if (const auto& of_worst = result.*intervention.worst) worst[name] = summary(*of_worst);
    if (const auto& of_all = result.*intervention.disparity) {
      disparity[name] = {{"gap", effect(of_all->gap)},
                         {"gini", effect(of_all->gini)},
                         {"seed_disparity_mean", effect(of_all->seed_disparity)}};
    }
  }
  Json json = {{"name", unit.name},
               {"tensors", std::ranges::count(unit.tensors, true)},
               {"extra_bytes", unit.extra_bytes},
               {"worst_language", result.worst_language}};
  if (has_both(result)) json["sign_agreement"] = number(result.sign_agreement);
  json["mean"] = std::move(mean);
  json["worst"] = std::move(worst);
  json["disparity"] = std::move(disparity);
  json["languages"] = by_language(codes, result.languages, unit_language);
  return json;
}

Json set(const SetResult& set, const Codes& codes) {
  Json json = {{"name", set.name},
               {"units", set.units},
               {"extra_bytes", set.extra_bytes},
               {"worst_language", set.worst_language}};
  for (const SetMeasure& measure : kSetMeasures) {
    json[std::string(measure.name)] = measured(set.*measure.value);
  }
  json["loss"] = by_language(codes, set.loss, measured);
  return json;
}

Json best_set(const BestSet& best, const Codes& codes) {
  const Effect none{{std::nullopt, "UNDEFINED: there is no other set of this size"}};
  return {{"objective", best.objective},
          {"size", best.size},
          {"set", set(best.set, codes)},
          {"runner_up", best.runner_up},
          {"lead", effect(best.runner_up.empty() ? none : best.lead)}};
}

Json shapley_values(const ShapleyValues& shapley, const Codes& codes) {
  return {{"players", shapley.players},
          {"mean", list(shapley.mean, effect)},
          {"languages", by_language(codes, shapley.values,
                                    [](const auto& values) { return list(values, effect); })}};
}

Json subsets(const SubsetsResult& subsets, const Codes& codes) {
  const auto names = [&](const PairInteraction& pair) {
    return Json::array({subsets.players[pair.first], subsets.players[pair.second]});
  };
  const auto interaction = [&](const PairInteraction& pair) {
    return Json({{"pair", names(pair)},
                 {"index", effect(pair.index)},
                 {"at_none", effect(pair.at_none)},
                 {"at_all", effect(pair.at_all)}});
  };
  Json json = {
      {"players", subsets.players},
      {"max_size", subsets.max_size},
      {"sets", subsets.sets},
      {"positions", number(subsets.positions)},
      {"best", list(subsets.best, [&](const BestSet& best) { return best_set(best, codes); })}};
  if (subsets.shapley) {
    json["shapley"] = shapley_values(*subsets.shapley, codes);
    json["interactions"] = by_language(codes, subsets.interactions,
                                       [&](const auto& pairs) { return list(pairs, interaction); });
  }
  json["contrasts_at_none"] = list(subsets.contrasts_at_none, [&](const PairInteraction& pair) {
    return Json({{"pair", names(pair)}, {"at_none", effect(pair.at_none)}});
  });
  return json;
}

Json sampled_shapley(const SampledShapleyResult& sampled, const Codes& codes) {
  Json json = shapley_values(sampled.shapley, codes);
  json["permutations"] = sampled.permutations;
  json["precise"] = sampled.precise;
  return json;
}

Json compared_set(const ComparedSet& compared, const Codes& codes) {
  const auto percentile = [&](double value) {
    return compared.random_sets > 0 ? number(value) : Json(nullptr);
  };
  Json json = set(compared.set, codes);
  json["random_sets"] = compared.random_sets;
  json["different_sets"] = compared.different_sets;
  json["worst_loss_percentile"] = percentile(compared.worst_loss_percentile);
  json["mean_loss_percentile"] = percentile(compared.mean_loss_percentile);
  if (compared.random_sets == 0) json["status"] = "UNDEFINED: no random set to compare with";
  json["random"] = list(compared.random, [&](const SetResult& other) { return set(other, codes); });
  return json;
}

}  // namespace

Json to_json_object(const Effect& effect) {
  const bool there = effect.value.estimate.has_value();
  Json json = to_json_object(effect.value);
  json["p_value"] = there ? number(effect.p_value) : Json(nullptr);
  json["q_value"] = there ? number(effect.q_value) : Json(nullptr);
  return json;
}

std::string to_json(const SweepReport& report) {
  const SweepResult& result = report.result;
  const Codes& codes = result.languages;
  Json json = head_of(report);
  json["settings"].update({{"scheme", report.scheme},
                           {"protect", report.protect},
                           {"mode", report.mode},
                           {"unit", report.unit},
                           {"false_discovery_rate", kFalseDiscoveryRate}});
  json["plan"] = plan(result);
  json["baseline"] = baseline(result.baseline, codes);
  if (result.matrix) {
    json["units"] =
        list(result.matrix->units, [&](const UnitResult& entry) { return unit(entry, codes); });
  }
  if (result.subsets) json["subsets"] = subsets(*result.subsets, codes);
  if (result.shapley) json["shapley"] = sampled_shapley(*result.shapley, codes);
  if (!result.sets.empty()) {
    json["sets"] =
        list(result.sets, [&](const ComparedSet& entry) { return compared_set(entry, codes); });
  }
  if (result.patch) json["patch"] = patch_json(*result.patch, codes);
  return to_text(json);
}

}  // namespace isogloss
