// Contracts of isogloss/report for sweeps: names in JSON and CSV.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "sweep_reports.h"

namespace isogloss {
namespace {

using nlohmann::json;

json json_of(const SweepReport& report) {
  return json::parse(to_json(report));
}

// The entry of a list of units, whose order is the result's.
json unit_of(const SweepReport& report, size_t unit) {
  return json_of(report)["units"][unit];
}

void expect_effect(const json& object, const std::string& where, const Effect& expected) {
  const Estimate& estimate = *expected.value.estimate;
  EXPECT_EQ(object["value"], estimate.value) << where;
  EXPECT_EQ(object["lo"], estimate.lo) << where;
  EXPECT_EQ(object["hi"], estimate.hi) << where;
  EXPECT_EQ(object["p_value"], expected.p_value) << where;
  EXPECT_EQ(object["q_value"], expected.q_value) << where;
  EXPECT_FALSE(object.contains("status")) << where;
}

const json kSomeRank =
    json::parse(R"({"rank": 2.0, "lo": 1.0, "hi": 3.0, "first_frequency": 0.25})");

TEST(SweepJson, HasWhatIsNeededToRepeatTheSweep) {
  const json report = json_of(matrix_report());
  expect_fields(report, "report",
                {{"isogloss", "string"},
                 {"model", "object"},
                 {"corpus", "object"},
                 {"settings", "object"},
                 {"noise_floor", "object"},
                 {"plan", "object"},
                 {"baseline", "object"},
                 {"units", "array"}});
  EXPECT_EQ(report["corpus"]["languages"], json(kCodes));
  EXPECT_EQ(
      report["settings"],
      json::parse(R"({"compute": "f32", "device": "cpu", "hardware": "a processor", "threads": 2,
                      "reference_language": "en", "include": ["embeddings"], "seed_family": "B",
                      "seed": 7, "draws": 10000, "confidence": 0.95, "scheme": "seed-int4",
                      "protect": "none", "mode": "both", "unit": "layer",
                      "false_discovery_rate": 0.05})"));
  EXPECT_EQ(report["noise_floor"]["tokens"], 73);
  EXPECT_EQ(report["plan"], json::parse(R"({"half_blocks": 500, "naive_half_blocks": 768})"));
}

TEST(SweepJson, HasNoPartThatWasNotSwept) {
  const Strings parts = {"units", "subsets", "shapley", "sets", "patch"};
  const auto parts_of = [&](const SweepReport& report) {
    const json whole = json_of(report);
    Strings there;
    std::ranges::copy_if(parts, std::back_inserter(there),
                         [&](const std::string& part) { return whole.contains(part); });
    return there;
  };
  EXPECT_EQ(parts_of(matrix_report()), Strings{"units"});
  EXPECT_EQ(parts_of(subsets_report()), Strings{"subsets"});
  EXPECT_EQ(parts_of(shapley_report()), Strings{"shapley"});
  EXPECT_EQ(parts_of(sets_report()), Strings{"sets"});
  EXPECT_EQ(parts_of(patch_report()), Strings{"patch"});
  EXPECT_EQ(parts_of(some_report()), Strings{});
}

TEST(SweepJson, HasTheNamesOfPatches) {
  const json patch = json_of(patch_report())["patch"];
  expect_fields(patch, "patch",
                {{"covariates", "array"}, {"blocks", "array"}, {"mediations", "array"}});
  const json& block = patch["blocks"][0];
  EXPECT_EQ(block["name"], "L0");
  expect_effect(block["direct"]["en"], "direct", some_effect(0.25));
  const json& language = block["languages"]["hi"];
  for (const char* name : {"restored", "damaged", "gain_effect", "adjusted_gain_effect"}) {
    expect_effect(language[name], name, some_effect(0.25));
  }
  EXPECT_TRUE(language["gain"]["value"].is_null());
  EXPECT_EQ(language["gain"]["status"], "UNDEFINED: no error");
  EXPECT_EQ(patch["blocks"][1]["languages"]["hi"]["gain"]["value"], 1.25);
  const json& mediation = patch["mediations"][0];
  EXPECT_EQ(mediation["block"], "L0");
  EXPECT_EQ(mediation["through"], "L1");
  expect_effect(mediation["share"]["ace-Arab"], "share", some_effect(0.25));
}

TEST(SweepJson, HasTheBaseline) {
  SweepReport report = matrix_report();
  report.result.baseline.regime = Regime::kDegraded;
  const json baseline = json_of(report)["baseline"];
  expect_fields(baseline, "baseline",
                {{"regime", "string"},
                 {"worst_language", "string"},
                 {"size_bytes", "number"},
                 {"bits_per_weight", "number"},
                 {"gap", "object"},
                 {"gini", "object"},
                 {"seed_disparity_mean", "object"},
                 {"languages", "object"}});
  EXPECT_EQ(baseline["regime"], "DEGRADED");
  EXPECT_EQ(baseline["size_bytes"], 8 << 20);
  EXPECT_EQ(baseline["gap"]["value"], 5);
  EXPECT_EQ(baseline["gini"]["lo"], 0.125);
  EXPECT_EQ(baseline["seed_disparity_mean"]["hi"], 2.25);
  for (size_t l = 0; l < kCodes.size(); ++l) {
    const json& language = baseline["languages"][kCodes[l]];
    for (size_t m = 0; m < cell_metrics().size(); ++m) {
      EXPECT_EQ(language[std::string(cell_metrics()[m].name)]["value"], (1 + l) * (1 + m));
    }
    EXPECT_EQ(language["ppl_reference"], 10 + l);
    EXPECT_FALSE(language.contains("kl_quantiles"));  // nothing was counted
  }
  report.result.baseline.kl_quantiles = {{1, 2, 3, 4}, {2, 3, 4, 5}, {3, 4, 5, 6}};
  const json counted = json_of(report)["baseline"]["languages"];
  EXPECT_EQ(counted["hi"]["kl_quantiles"],
            json({{"median", 2.0}, {"p99", 3.0}, {"p999", 4.0}, {"max", 5.0}}));
}

TEST(SweepJson, HasTheNamesOfAUnit) {
  SweepReport report = matrix_report();
  report.result.matrix->units[1].languages[1].critical = true;
  const json unit = unit_of(report, 1);
  expect_fields(unit, "unit",
                {{"name", "string"},
                 {"tensors", "number"},
                 {"extra_bytes", "number"},
                 {"worst_language", "string"},
                 {"sign_agreement", "number"},
                 {"mean", "object"},
                 {"worst", "object"},
                 {"disparity", "object"},
                 {"languages", "object"}});
  EXPECT_EQ(unit["name"], "L1");
  EXPECT_EQ(unit["tensors"], 2);
  EXPECT_EQ(unit["extra_bytes"], 3 << 19);
  expect_effect(unit["mean"]["restore"], "restore's mean", some_effect(0.5));
  expect_effect(unit["worst"]["restore"], "restore's worst", some_effect(1));
  expect_effect(unit["mean"]["damage"], "damage's mean", some_effect(1));
  expect_effect(unit["worst"]["damage"], "damage's worst", some_effect(2));
  expect_effect(unit["disparity"]["restore"]["gap"], "restore's gap", some_effect(2));
  expect_effect(unit["disparity"]["damage"]["gini"], "damage's gini", some_effect(0.5));
  expect_effect(unit["disparity"]["restore"]["seed_disparity_mean"], "seed's", some_effect(-2));
  EXPECT_EQ(unit["mean"]["restore"]["rank"], kSomeRank);
  EXPECT_EQ(unit["worst"]["damage"]["rank"]["first_frequency"], 0.125);
  EXPECT_EQ(unit["languages"]["hi"]["critical"], true);
  EXPECT_EQ(unit["languages"]["en"]["critical"], false);
  EXPECT_EQ(unit["languages"]["en"]["signs_agree"], true);
}

TEST(SweepJson, HasEveryEffectOfACell) {
  const json language = unit_of(matrix_report(), 1)["languages"]["ace-Arab"];
  for (const auto& [name, size] : {std::pair("restore", 1.0), std::pair("damage", 2.0)}) {
    const json& cell = language[name];
    for (size_t m = 0; m < cell_metrics().size(); ++m) {
      const std::string metric(cell_metrics()[m].name);
      expect_effect(cell[metric], metric, some_effect(size * static_cast<double>(1 + m)));
    }
    expect_effect(cell["share"], "share", some_effect(size / 10));
    expect_effect(cell["interaction"], "interaction", some_effect(size / 100, 0.5));
    EXPECT_EQ(cell["rank"], kSomeRank);
    EXPECT_EQ(cell["kl_quantiles"],
              json({{"median", size}, {"p99", 2 * size}, {"p999", 4 * size}, {"max", 8 * size}}));
  }
}

TEST(SweepJson, SaysNothingOfAnInterventionThatWasNotMade) {
  const json unit = unit_of(without_damage(matrix_report()), 0);
  EXPECT_FALSE(unit.contains("sign_agreement"));
  for (const char* over : {"mean", "worst"}) {
    EXPECT_TRUE(unit[over].contains("restore"));
    EXPECT_FALSE(unit[over].contains("damage"));
  }
  EXPECT_FALSE(unit["languages"]["en"].contains("damage"));
  EXPECT_FALSE(unit["languages"]["en"].contains("signs_agree"));
  EXPECT_EQ(unit["languages"]["en"]["critical"], false);
}

TEST(SweepJson, HasTheNamesOfSubsets) {
  const json subsets = json_of(subsets_report())["subsets"];
  expect_fields(subsets, "subsets",
                {{"players", "array"},
                 {"max_size", "number"},
                 {"sets", "number"},
                 {"positions", "number"},
                 {"best", "array"},
                 {"shapley", "object"},
                 {"interactions", "object"},
                 {"contrasts_at_none", "array"}});
  const json& best = subsets["best"][0];
  EXPECT_EQ(best["objective"], "worst_loss");
  EXPECT_EQ(best["size"], 1);
  EXPECT_EQ(best["runner_up"], "L0");
  expect_effect(best["lead"], "lead", some_effect(0.125));
  const json& set = best["set"];
  EXPECT_EQ(set["name"], "L3");
  EXPECT_EQ(set["units"], json({"L3"}));
  EXPECT_EQ(set["extra_bytes"], 1 << 20);
  EXPECT_EQ(set["worst_language"], "ace-Arab");
  EXPECT_EQ(set["worst_loss"]["value"], 0.75);
  EXPECT_EQ(set["mean_loss"]["value"], 0.5);
  EXPECT_EQ(set["seed_disparity"]["value"], 2.5);
  EXPECT_EQ(set["loss"]["hi"]["value"], 0.5);
  const json& pair = subsets["interactions"]["hi"][0];
  EXPECT_EQ(pair["pair"], json({"L0", "L3"}));
  expect_effect(pair["index"], "index", some_effect(-0.125));
  expect_effect(pair["at_none"], "at_none", some_effect(-0.0625));
  expect_effect(pair["at_all"], "at_all", some_effect(0.03125));
  EXPECT_EQ(subsets["contrasts_at_none"][0]["pair"], json({"L0", "L3"}));
  expect_effect(subsets["contrasts_at_none"][0]["at_none"], "contrast", some_effect(-0.0625));
}

TEST(SweepJson, HasShapleyValuesWhereverTheyComeFrom) {
  for (const json& shapley :
       {json_of(subsets_report())["subsets"]["shapley"], json_of(shapley_report())["shapley"]}) {
    EXPECT_EQ(shapley["players"], json({"L0", "L3"}));
    expect_effect(shapley["mean"][1], "mean", some_effect(0.75));
    expect_effect(shapley["languages"]["hi"][1], "hi", some_effect(1.5));
  }
  EXPECT_EQ(json_of(shapley_report())["shapley"]["permutations"], 64);
  EXPECT_EQ(json_of(shapley_report())["shapley"]["precise"], true);
}

TEST(SweepJson, HasSetsBesideRandomOnes) {
  const json sets = json_of(sets_report())["sets"];
  ASSERT_EQ(sets.size(), 2U);
  EXPECT_EQ(sets[0]["name"], "L0");
  EXPECT_EQ(sets[0]["random_sets"], 2);
  EXPECT_EQ(sets[0]["different_sets"], 11);
  EXPECT_EQ(sets[0]["worst_loss_percentile"], 1.0);
  EXPECT_EQ(sets[0]["mean_loss_percentile"], 0.75);
  EXPECT_EQ(sets[0]["random"][1]["name"], "L2");
  EXPECT_FALSE(sets[0].contains("status"));
}

TEST(SweepJson, SaysWhyANumberIsMissing) {
  SweepReport report = matrix_report();
  report.result.matrix->units[0].languages[0].restore->share = {nothing()};
  report.result.matrix->units[0].damage_mean->rank.lo = std::nan("");
  const json unit = unit_of(report, 0);
  EXPECT_EQ(unit["languages"]["en"]["restore"]["share"],
            json::parse(R"({"value": null, "lo": null, "hi": null, "p_value": null,
                            "q_value": null, "status": "UNDEFINED: nothing to divide by"})"));
  EXPECT_EQ(unit["mean"]["damage"]["rank"]["status"], "NOT FINITE: lo");

  const json last = json_of(subsets_report())["subsets"]["best"][1];
  EXPECT_EQ(last["runner_up"], "");
  EXPECT_TRUE(last["lead"]["value"].is_null());
  EXPECT_EQ(last["lead"]["status"], "UNDEFINED: there is no other set of this size");

  const json alone = json_of(sets_report())["sets"][1];
  EXPECT_TRUE(alone["worst_loss_percentile"].is_null());
  EXPECT_TRUE(alone["mean_loss_percentile"].is_null());
  EXPECT_EQ(alone["status"], "UNDEFINED: no random set to compare with");
}

TEST(SweepJson, HasNoNameThatItsPageLacks) {
  for (const SweepReport& report : all_reports()) {
    EXPECT_EQ(undocumented_names(json_of(report), kCodes), Strings()) << report.mode;
  }
}

TEST(SweepCsv, HasAMatrixLineForEachUnitLanguageAndIntervention) {
  const auto rows = parse_csv(to_csv(matrix_report()));
  ASSERT_EQ(rows.size(), 1U + 3 * 3 * 2);
  EXPECT_EQ(csv_field(rows, 8, "unit"), "L1");
  EXPECT_EQ(csv_field(rows, 8, "language"), "en");
  EXPECT_EQ(csv_field(rows, 8, "intervention"), "damage");
  EXPECT_EQ(csv_field(rows, 8, "tensors"), "2");
  EXPECT_EQ(csv_field(rows, 8, "extra_bytes"), std::to_string(3 << 19));
  const auto expect_numbers = [&](const std::string& name, double value) {
    EXPECT_EQ(std::stod(csv_field(rows, 8, name)), value) << name;
    EXPECT_EQ(std::stod(csv_field(rows, 8, name + "_lo")), 0.5 * value) << name;
    EXPECT_EQ(std::stod(csv_field(rows, 8, name + "_hi")), 1.5 * value) << name;
    EXPECT_EQ(csv_field(rows, 8, name + "_p"), "0.01") << name;
  };
  for (size_t m = 0; m < cell_metrics().size(); ++m) {
    expect_numbers(std::string(cell_metrics()[m].name), 2.0 * static_cast<double>(1 + m));
  }
  EXPECT_EQ(csv_field(rows, 8, "kl_median"), "2");
  EXPECT_EQ(csv_field(rows, 8, "kl_max"), "16");
  expect_numbers("share", 0.2);
  expect_numbers("interaction", 0.02);
  EXPECT_EQ(csv_field(rows, 8, "share_q"), "0.02");
  EXPECT_EQ(csv_field(rows, 8, "interaction_q"), "0.5");
  EXPECT_EQ(csv_field(rows, 8, "rank"), "2");
  EXPECT_EQ(csv_field(rows, 8, "rank_lo"), "1");
  EXPECT_EQ(csv_field(rows, 8, "rank_hi"), "3");
  EXPECT_EQ(csv_field(rows, 8, "rank_first"), "0.25");
  EXPECT_EQ(csv_field(rows, 8, "signs_agree"), "true");
  EXPECT_EQ(csv_field(rows, 8, "critical"), "false");
}

TEST(SweepCsv, HasALineForEachSetAndLanguage) {
  const auto best = parse_csv(to_csv(subsets_report()));
  ASSERT_EQ(best.size(), 1U + 6 * 3);
  EXPECT_EQ(csv_field(best, 5, "objective"), "worst_loss");
  EXPECT_EQ(csv_field(best, 5, "size"), "2");
  EXPECT_EQ(csv_field(best, 5, "set"), "L0+L3");
  EXPECT_EQ(csv_field(best, 5, "language"), "hi");
  EXPECT_EQ(csv_field(best, 5, "loss"), "0.5");
  EXPECT_EQ(csv_field(best, 5, "worst_language"), "ace-Arab");
  EXPECT_EQ(csv_field(best, 5, "worst_loss_hi"), "1.125");
  EXPECT_EQ(csv_field(best, 5, "mean_loss"), "0.5");
  EXPECT_EQ(csv_field(best, 5, "seed_disparity"), "2.5");
  EXPECT_EQ(csv_field(best, 2, "runner_up"), "L0");
  EXPECT_EQ(csv_field(best, 2, "lead"), "0.125");

  const auto sets = parse_csv(to_csv(sets_report()));
  ASSERT_EQ(sets.size(), 1U + 4 * 3);
  EXPECT_EQ(csv_field(sets, 1, "set"), "L0");
  EXPECT_EQ(csv_field(sets, 1, "random_for"), "");
  EXPECT_EQ(csv_field(sets, 1, "mean_loss_percentile"), "0.75");
  EXPECT_EQ(csv_field(sets, 4, "set"), "L1");
  EXPECT_EQ(csv_field(sets, 4, "random_for"), "L0");
  EXPECT_EQ(csv_field(sets, 12, "size"), "2");
}

TEST(SweepCsv, HasALineForEachPlayerAndLanguage) {
  const auto rows = parse_csv(to_csv(shapley_report()));
  EXPECT_EQ(rows[0], (Strings{"player", "language", "value", "lo", "hi", "p", "q"}));
  ASSERT_EQ(rows.size(), 1U + 2 * 4);
  EXPECT_EQ(rows[6], (Strings{"L3", "hi", "1.5", "0.75", "2.25", "0.01", "0.02"}));
  EXPECT_EQ(rows[8], (Strings{"L3", "mean", "0.75", "0.375", "1.125", "0.01", "0.02"}));
}

TEST(SweepCsv, HasAsManyFieldsInEveryLine) {
  std::vector<SweepReport> reports = all_reports();
  auto& units = reports[0].result.matrix->units;
  units[0].languages[0].restore->metrics[0] = {nothing()};
  units[0].languages[0].damage->share = {nothing()};
  units[1].unit.name = "a,b";
  reports[2].result.subsets->best[0].set.loss[1] = nothing();
  reports[2].result.subsets->best[0].lead = {nothing()};
  reports[3].result.shapley->shapley.mean[0] = {nothing()};
  reports[4].result.sets[0].set.seed_disparity = nothing();
  for (const SweepReport& report : reports) {
    const auto rows = parse_csv(to_csv(report));
    const std::set<std::string> names(rows[0].begin(), rows[0].end());
    EXPECT_EQ(names.size(), rows[0].size()) << report.mode << ": two columns of one name";
    for (const auto& row : rows) EXPECT_EQ(row.size(), rows[0].size()) << report.mode;
  }
}

TEST(SweepCsv, LeavesFieldsEmptyWhereThereIsNoNumber) {
  SweepReport report = matrix_report(1);
  report.result.matrix->units[0].languages[0].restore->share = {nothing()};
  const auto rows = parse_csv(to_csv(report));
  for (const char* name : {"share", "share_lo", "share_hi", "share_p", "share_q"}) {
    EXPECT_EQ(csv_field(rows, 1, name), "") << name;
    EXPECT_NE(csv_field(rows, 2, name), "") << name;
  }
  const auto half = parse_csv(to_csv(without_damage(matrix_report(1))));
  EXPECT_EQ(csv_field(half, 1, "signs_agree"), "");
  EXPECT_EQ(csv_field(parse_csv(to_csv(sets_report())), 10, "mean_loss_percentile"), "");
}

TEST(SweepCsv, QuotesCommasQuotesAndLineEnds) {
  for (const std::string name : {"a,b", "a \"b\"", "a\nb", "a\r\nb", "plain"}) {
    SweepReport matrix = matrix_report(1), sets = sets_report(), shapley = shapley_report();
    matrix.result.matrix->units[0].unit.name = name;
    sets.result.sets[0].set.name = name;
    shapley.result.shapley->shapley.players[0] = name;
    for (const SweepReport& report : {matrix, sets, shapley}) {
      EXPECT_EQ(parse_csv(to_csv(report))[1][0], name);
    }
  }
}

}  // namespace
}  // namespace isogloss
