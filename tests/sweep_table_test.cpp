// Contracts of isogloss/report for sweeps: what the table says, and that it fits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <string>

#include "patterns.h"
#include "sweep_reports.h"

namespace isogloss {
namespace {

constexpr size_t kMostColumns = 99;  // of a table's line
constexpr size_t kMostRows = 40;     // of a long list

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
  return replace_matches(without_color(table), "\\s+", " ");
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
         {"some: 12 layers, 13.8 M parameters", "3 languages x 4 parallel units, f32", "seed-int4",
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
    for (SweepReport report : all_reports()) {
      report.result.baseline.regime = regime;
      const std::string table = words_of(to_table(report, false));
      EXPECT_TRUE(has(table, std::string("The quantized model is ") + name + ": no claim is made"));
      EXPECT_FALSE(has(table, "RESTORE and DAMAGE to tell"));
      EXPECT_EQ(has(table, std::string("none is named, for the quantized model is ") + name),
                report.result.matrix.has_value());
    }
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
