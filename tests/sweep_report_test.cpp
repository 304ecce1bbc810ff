// Contracts of isogloss/report for sweeps: names in JSON and CSV, and what the table says.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "isogloss/report/report.h"
#include "report_text.h"

namespace isogloss {
namespace {

using nlohmann::json;

constexpr size_t kMostColumns = 99;  // of a table's line
constexpr size_t kMostRows = 40;     // of a long list
const Strings kCodes = {"en", "hi", "ace-Arab"};

Measured some(double value) {
  return {Estimate{value, value - std::abs(value) / 2, value + std::abs(value) / 2}, ""};
}

Measured nothing() {
  return {std::nullopt, "UNDEFINED: nothing to divide by"};
}

Effect some_effect(double value, double q_value = 0.02) {
  return {some(value), 0.01, q_value};
}

// The n-th metric is size * (1 + n).
CellEffect some_cell(double size) {
  CellEffect cell;
  for (size_t m = 0; m < ratio_metrics().size(); ++m) {
    cell.metrics.push_back(some_effect(size * static_cast<double>(1 + m)));
  }
  cell.share = some_effect(size / 10);
  cell.interaction = some_effect(size / 100, 0.5);
  cell.rank = {2, 1, 3, 0.25};
  return cell;
}

// `effect`: DAMAGE of the worst-off language; RESTORE's is half of it.
UnitResult some_unit(const std::string& name, double effect) {
  UnitResult unit;
  unit.unit = {name, TensorSet{true, false, true}, 3 << 19};
  unit.worst_language = "hi";
  unit.sign_agreement = 1;
  unit.restore_mean = {some_effect(effect / 4), {2, 1, 3, 0.25}};
  unit.restore_worst = {some_effect(effect / 2), {2, 1, 3, 0.25}};
  unit.damage_mean = {some_effect(effect / 2), {3, 2, 4, 0.125}};
  unit.damage_worst = {some_effect(effect), {3, 2, 4, 0.125}};
  for (size_t l = 0; l < kCodes.size(); ++l) {
    unit.languages.push_back({some_cell(effect / 2), some_cell(effect), true, false});
  }
  return unit;
}

SetResult some_set(const Strings& units) {
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
SweepReport some_report() {
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
  result.baseline.worst_language = "hi";
  result.baseline.size = {8 << 20, 4.5};
  for (size_t l = 0; l < kCodes.size(); ++l) {
    auto& metrics = result.baseline.languages.emplace_back();
    for (size_t m = 0; m < ratio_metrics().size(); ++m) {
      metrics.push_back(some(static_cast<double>((1 + l) * (1 + m))));
    }
  }
  return report;
}

// L0, L1, ... of DAMAGE 1, 2, ..., so that the last one is the first row.
SweepReport matrix_report(size_t units = 3) {
  SweepReport report = some_report();
  auto& matrix = report.result.matrix.emplace();
  for (size_t u = 0; u < units; ++u) {
    matrix.units.push_back(some_unit("L" + std::to_string(u), 1.0 + static_cast<double>(u)));
  }
  return report;
}

SweepReport without_damage(SweepReport report) {
  for (UnitResult& unit : report.result.matrix->units) {
    unit.damage_mean = unit.damage_worst = std::nullopt;
    for (UnitLanguage& language : unit.languages) language.damage = std::nullopt;
  }
  return report;
}

ShapleyValues some_shapley() {
  ShapleyValues shapley{{"L0", "L3"}, {}, {some_effect(0.25), some_effect(0.75)}};
  for (size_t l = 0; l < kCodes.size(); ++l) {
    shapley.values.push_back({some_effect(0.125), some_effect(0.5 + static_cast<double>(l))});
  }
  return shapley;
}

PairInteraction some_pair(double index) {
  return {0, 1, some_effect(index), some_effect(-0.0625), some_effect(0.03125)};
}

SweepReport subsets_report() {
  SweepReport report = some_report();
  report.mode = "subsets";
  SubsetsResult& subsets = report.result.subsets.emplace();
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

SweepReport shapley_report() {
  SweepReport report = some_report();
  report.mode = "shapley";
  report.result.shapley = {some_shapley(), 64, true};
  return report;
}

SweepReport sets_report() {
  SweepReport report = some_report();
  report.mode = "sets";
  report.result.sets = {
      {some_set({"L0"}), 2, 11, 1.0, 0.75, {some_set({"L1"}), some_set({"L2"})}},
      {some_set({"L0", "head"}), 0, 0, 0, 0, {}},
  };
  return report;
}

std::vector<SweepReport> all_reports() {
  return {matrix_report(), without_damage(matrix_report()), subsets_report(), shapley_report(),
          sets_report()};
}

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
  const Strings parts = {"units", "subsets", "shapley", "sets"};
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
  EXPECT_EQ(parts_of(some_report()), Strings{});
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
                 {"languages", "object"}});
  EXPECT_EQ(baseline["regime"], "DEGRADED");
  EXPECT_EQ(baseline["size_bytes"], 8 << 20);
  for (size_t l = 0; l < kCodes.size(); ++l) {
    const json& language = baseline["languages"][kCodes[l]];
    for (size_t m = 0; m < ratio_metrics().size(); ++m) {
      EXPECT_EQ(language[std::string(ratio_metrics()[m].name)]["value"], (1 + l) * (1 + m));
    }
  }
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
                 {"languages", "object"}});
  EXPECT_EQ(unit["name"], "L1");
  EXPECT_EQ(unit["tensors"], 2);
  EXPECT_EQ(unit["extra_bytes"], 3 << 19);
  expect_effect(unit["mean"]["restore"], "restore's mean", some_effect(0.5));
  expect_effect(unit["worst"]["restore"], "restore's worst", some_effect(1));
  expect_effect(unit["mean"]["damage"], "damage's mean", some_effect(1));
  expect_effect(unit["worst"]["damage"], "damage's worst", some_effect(2));
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
    for (size_t m = 0; m < ratio_metrics().size(); ++m) {
      const std::string metric(ratio_metrics()[m].name);
      expect_effect(cell[metric], metric, some_effect(size * static_cast<double>(1 + m)));
    }
    expect_effect(cell["share"], "share", some_effect(size / 10));
    expect_effect(cell["interaction"], "interaction", some_effect(size / 100, 0.5));
    EXPECT_EQ(cell["rank"], kSomeRank);
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
                {{"max_size", "number"},
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
  for (size_t m = 0; m < ratio_metrics().size(); ++m) {
    expect_numbers(std::string(ratio_metrics()[m].name), 2.0 * static_cast<double>(1 + m));
  }
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

// Place of a text in a table, for the order of rows; it has to be there.
size_t place_of(const std::string& table, const std::string& text) {
  const size_t place = table.find(text);
  EXPECT_NE(place, table.npos) << text << " is not in\n" << table;
  return place;
}

bool has(const std::string& table, const std::string& text) {
  return table.find(text) != table.npos;
}

// Spaces and line ends are one space each, so that sentences are found wherever they were cut.
std::string words_of(const std::string& table) {
  return std::regex_replace(without_color(table), std::regex("\\s+"), " ");
}

std::string row_of(const std::string& table, const std::string& label) {
  for (const auto& line : lines_of(without_color(table))) {
    if (line.starts_with(label + " ")) return line;
  }
  return "no row " + label;
}

std::vector<SweepReport> reports_with_long_names() {
  const std::string word(150, 'x');
  std::vector<SweepReport> reports = all_reports();
  for (SweepReport& report : reports) {
    report.model.name = report.corpus.name = report.protect = word;
    report.result.baseline.regime = Regime::kCollapsed;
  }
  auto& unit = reports[0].result.matrix->units[0];
  unit.unit.name = word;
  unit.languages[0].critical = true;
  unit.languages[0].restore->metrics[2] = some_effect(-1);
  reports[0].result.baseline.regime = Regime::kNormal;
  auto& best = reports[2].result.subsets->best[0];
  best.set.name = best.runner_up = word;
  reports[2].result.subsets->shapley->players = {word, word};
  reports[3].result.shapley->shapley.players = {word, word};
  reports[4].result.sets[0].set.name = word;
  return reports;
}

TEST(SweepTable, HasNoLineOfMoreThan99Columns) {
  SweepReport tensors = matrix_report(200);
  for (size_t u = 0; u < 200; ++u) {
    auto& unit = tensors.result.matrix->units[u];
    unit.unit.name = "blk." + std::to_string(u) + ".attn_output.weight";
    unit.damage_worst->rank = {150.5, 100.5, 200.5, 1};
    unit.damage_mean->effect = unit.restore_mean->effect =
        Effect{{Estimate{-0.123456 * static_cast<double>(u + 1), -123.456, 123.456}, ""}};
  }
  std::vector<SweepReport> reports = reports_with_long_names();
  reports.push_back(tensors);
  for (const SweepReport& report : all_reports()) reports.push_back(report);
  for (const SweepReport& report : reports) {
    for (const auto& line : lines_of(to_table(report, true))) {
      EXPECT_LE(columns(line), kMostColumns) << report.mode << ":\n" << line;
    }
  }
}

TEST(SweepTable, IsColouredOnlyWhenAsked) {
  auto reports = all_reports();
  for (const SweepReport& report : reports_with_long_names()) reports.push_back(report);
  for (const SweepReport& report : reports) {
    const std::string plain = to_table(report, false), coloured = to_table(report, true);
    EXPECT_FALSE(has(plain, "\x1b")) << report.mode;
    EXPECT_TRUE(has(coloured, "\x1b")) << report.mode;
    EXPECT_EQ(without_color(coloured), plain);
  }
}

TEST(SweepTable, SaysWhatWasSweptAndHow) {
  for (SweepReport report : all_reports()) {
    report.protect = "L7";
    const std::string table = words_of(to_table(report, false));
    for (const std::string part :
         {"some: 12 layers, 13.8 M parameters", "3 languages, parallel units, f32", "seed-int4",
          "quantized also: embeddings", "protected: L7", "NORMAL, 8.00 MiB, 4.50 bits per weight",
          "worst language hi, KL 6.00 [3.00, 9.00] nats per parallel unit", "noise floor",
          "10000 draws", "seed 7", "planned 500 half-block evaluations, naive 768"}) {
      EXPECT_TRUE(has(table, part)) << part << " is not in\n" << table;
    }
    EXPECT_TRUE(has(table, "mode " + report.mode)) << table;
  }
}

TEST(SweepTable, SpeaksOfBytesWhereTextsAreUnrelated) {
  for (SweepReport report : all_reports()) {
    report.corpus.parallel = report.result.parallel = false;
    const std::string table = to_table(report, false);
    EXPECT_FALSE(has(table, "parallel unit")) << table;
    EXPECT_TRUE(has(table, "UTF-8 byte")) << table;
  }
}

TEST(SweepTable, OrdersUnitsByTheWorstOffLanguage) {
  SweepReport report = matrix_report(3);
  auto& units = report.result.matrix->units;
  units[0].damage_worst->effect = some_effect(0.5);
  units[1].damage_worst->effect = some_effect(2);
  units[2].damage_worst->effect = some_effect(2);
  units.push_back(some_unit("L3", 9));
  units[3].damage_worst->effect = {nothing()};
  std::string table = to_table(report, false);
  EXPECT_LT(place_of(table, "\nL1 "), place_of(table, "\nL2 "));  // equal: as they came
  EXPECT_LT(place_of(table, "\nL2 "), place_of(table, "\nL0 "));
  EXPECT_LT(place_of(table, "\nL0 "), place_of(table, "\nL3 "));

  report = without_damage(report);
  report.result.matrix->units[0].restore_worst->effect = some_effect(100);
  table = to_table(report, false);
  EXPECT_LT(place_of(table, "\nL0 "), place_of(table, "\nL3 "));
}

TEST(SweepTable, ShowsTheEffectsOfAUnit) {
  SweepReport report = matrix_report(2);
  const std::string row = row_of(to_table(report, false), "L1");
  for (const std::string part :
       {"1.50", "0.500 [0.250, 0.750]", "1.00 [0.500, 1.50]", "3 (2-4)", "12 %", "hi", "3/3"}) {
    EXPECT_TRUE(has(row, part)) << part << " is not in " << row;
  }
  const std::string half = row_of(to_table(without_damage(report), false), "L1");
  EXPECT_TRUE(has(half, "2 (1-3)")) << half;
  EXPECT_FALSE(has(half, "3/3")) << half;
}

TEST(SweepTable, CallsATensorAsUnitSetsDo) {
  SweepReport report = matrix_report(1);
  report.result.matrix->units[0].unit.name = "blk.0.ffn_up.weight";
  EXPECT_TRUE(has(to_table(report, false), "\nblk.0.ffn_up "));
}

TEST(SweepTable, ListsLanguageCriticalUnits) {
  SweepReport report = matrix_report(3);
  EXPECT_TRUE(has(to_table(report, false), "language-critical units: none"));
  auto& units = report.result.matrix->units;
  units[0].languages[1].critical = units[0].languages[2].critical = true;
  units[1].languages[0].critical = units[1].languages[1].critical = true;
  units[1].languages[1].restore->interaction = some_effect(-0.25);
  units[2].languages[1].critical = true;
  units[2].languages[1].restore->interaction = some_effect(-0.25);
  const std::string table = to_table(report, false);
  EXPECT_FALSE(has(table, "language-critical units: none"));
  EXPECT_TRUE(has(table, "\n    L0: hi ace-Arab\n")) << table;
  EXPECT_TRUE(has(table, "\n    L1: en; less for hi\n")) << table;
  EXPECT_TRUE(has(table, "\n    L2: less for hi\n")) << table;
  EXPECT_TRUE(row_of(table, "L0").ends_with(" *")) << table;
}

TEST(SweepTable, MakesNoClaimOfPlaceForAModelThatIsBroken) {
  for (const auto& [regime, name] :
       {std::pair(Regime::kCollapsed, "COLLAPSED"), std::pair(Regime::kDegraded, "DEGRADED")}) {
    SweepReport report = matrix_report();
    report.result.baseline.regime = regime;
    const std::string table = words_of(to_table(report, false));
    EXPECT_TRUE(has(table, std::string("The quantized model is ") + name + ": no claim is made"));
    EXPECT_FALSE(has(table, "language-critical units"));
  }
  EXPECT_FALSE(has(to_table(matrix_report(), false), "no claim is made"));
}

TEST(SweepTable, NeedsBothInterventionsToCallAUnitCritical) {
  EXPECT_TRUE(has(words_of(to_table(without_damage(matrix_report()), false)),
                  "it takes RESTORE and DAMAGE to tell"));
}

TEST(SweepTable, ListsUnitsWhoseRestorationMakesALanguageWorse) {
  SweepReport report = matrix_report(3);
  const std::string none = "units whose restoration makes a language worse: none";
  EXPECT_TRUE(has(to_table(report, false), none));
  const auto kl = static_cast<size_t>(RatioMetric::kKlPerUnit);
  auto& units = report.result.matrix->units;
  units[0].languages[1].restore->metrics[kl] = some_effect(-1, 0.06);  // not surely
  units[1].languages[0].restore->metrics[kl - 1] = some_effect(-1);    // another metric
  EXPECT_TRUE(has(to_table(report, false), none));
  units[2].languages[0].restore->metrics[kl] = some_effect(-1, 0.04);
  units[2].languages[2].restore->metrics[kl] = some_effect(-1, 0.04);
  const std::string table = to_table(report, false);
  EXPECT_FALSE(has(table, none));
  EXPECT_TRUE(has(table, "\n    L2: en ace-Arab\n")) << table;
}

size_t rows_of_units(const std::string& table) {
  return static_cast<size_t>(std::ranges::count_if(lines_of(table), [](const std::string& line) {
    return line.size() > 1 && line[0] == 'L' && std::isdigit(line[1]) != 0;
  }));
}

TEST(SweepTable, CutsLongListsAndSaysHowManyMore) {
  const std::string whole = to_table(matrix_report(kMostRows), false);
  EXPECT_EQ(rows_of_units(whole), kMostRows);
  EXPECT_FALSE(has(whole, " more units"));
  SweepReport report = matrix_report(kMostRows + 33);
  for (auto& unit : report.result.matrix->units) unit.languages[0].critical = true;
  const std::string table = to_table(report, false);
  EXPECT_EQ(rows_of_units(table), kMostRows);
  EXPECT_TRUE(has(table, "\n... and 33 more units in the JSON and CSV\n"));
  EXPECT_TRUE(has(table, "\n    ... and 33 more units in the JSON and CSV\n"));
  EXPECT_TRUE(has(table, "\nL72 "));
  EXPECT_FALSE(has(table, "\nL32 "));
}

TEST(SweepTable, ShowsTheBestSetsAndWhetherTheyLead) {
  SweepReport report = subsets_report();
  report.result.subsets->best[2].lead.value.estimate->lo = -0.01;  // of the mean
  const std::string table = to_table(report, false);
  const size_t worst = place_of(table, "KL of the worst-off language");
  const size_t mean = place_of(table, "mean KL over languages");
  const size_t disparity = place_of(table, "seed's D");
  EXPECT_TRUE(has(table.substr(worst, mean - worst), " surely ahead of L0"));
  EXPECT_FALSE(has(table.substr(worst, mean - worst), "not surely"));
  EXPECT_TRUE(has(table.substr(worst, mean - worst), "L0+L3"));
  EXPECT_TRUE(has(table.substr(mean, disparity - mean), "not surely ahead of L0"));
  EXPECT_TRUE(has(table.substr(disparity), "2.50 [1.25, 3.75]"));
  EXPECT_FALSE(has(table, "searched on"));
  report.result.subsets->positions = 0.25;
  EXPECT_TRUE(has(words_of(to_table(report, false)), "searched on 25.0 % of the positions"));
}

TEST(SweepTable, ShowsShapleyValuesFromTheLargest) {
  for (const SweepReport& report : {subsets_report(), shapley_report()}) {
    const std::string table = to_table(report, false);
    const std::string values = table.substr(place_of(table, "Shapley values"));
    EXPECT_LT(place_of(values, "\nL3 "), place_of(values, "\nL0 "));
    const std::string row = row_of(values, "L3");
    for (const std::string part : {"0.750 [0.375, 1.12]", "75.0 %", "ace-Arab"}) {
      EXPECT_TRUE(has(row, part)) << part << " is not in " << row;
    }
  }
}

TEST(SweepTable, SaysWhetherTheToleranceWasReached) {
  SweepReport report = shapley_report();
  EXPECT_TRUE(has(to_table(report, false), "64 permutations; the tolerance was reached"));
  report.result.shapley->precise = false;
  EXPECT_TRUE(has(to_table(report, false), "64 permutations; the tolerance was NOT reached"));
}

TEST(SweepTable, ShowsTheLargestInteractions) {
  SweepReport report = subsets_report();
  report.result.subsets->interactions[1][0].index = some_effect(-0.5);
  std::string table = to_table(report, false);
  table = table.substr(place_of(table, "interactions of two layers"));
  EXPECT_LT(place_of(table, " hi "), place_of(table, " en "));
  EXPECT_TRUE(has(row_of(table, "L0+L3"), "-0.500 [-0.750, -0.250]")) << table;

  report.result.subsets->shapley.reset();
  report.result.subsets->interactions.clear();
  table = to_table(report, false);
  EXPECT_FALSE(has(table, "interactions of two layers"));
  EXPECT_TRUE(has(table, "contrasts of two layers")) << table;
}

TEST(SweepTable, ShowsWhichShareOfRandomSetsASetBeats) {
  const std::string table = to_table(sets_report(), false);
  const std::string row = row_of(table, "L0");
  for (const std::string part : {"1.00", "ace-Arab", "0.750 [0.375, 1.12]", "100 % of 2",
                                 "0.500 [0.250, 0.750]", "75 % of 2"}) {
    EXPECT_TRUE(has(row, part)) << part << " is not in " << row;
  }
  EXPECT_FALSE(has(row_of(table, "L0+head"), "%"));
}

// A number that is cut is another number.
TEST(SweepTable, CutsNoNumber) {
  for (double size = 1e-8; size < 5000; size *= 7) {
    SweepReport report = matrix_report(2);
    auto& units = report.result.matrix->units;
    const Effect wide = {{Estimate{-size, -1.234 * size, 0.00123 * size}, ""}};
    units[0].restore_mean->effect = units[0].damage_mean->effect = wide;
    units[1].restore_mean->effect = units[1].damage_mean->effect = some_effect(0.01234 * size);
    const std::string table = to_table(report, false);
    EXPECT_FALSE(has(table, "~")) << table;
  }
}

}  // namespace
}  // namespace isogloss
