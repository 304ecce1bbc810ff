// Contracts of isogloss/report: JSON and CSV for programs, the table for people, summary numbers.
#include "isogloss/report/report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "model_files.h"
#include "patterns.h"
#include "report_text.h"

namespace isogloss {
namespace {

using nlohmann::json;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr size_t kMostColumns = 100;  // of a table's line
constexpr size_t kRunsAcross = 4;

Estimate around(double value) {
  return {value, 0.5 * value, 1.5 * value};
}

Measured some(double value) {
  return {around(value), ""};
}

// Each metric has a value of its own: the n-th of table_metrics() is `size` * (10 + n).
LanguageResult some_language(const std::string& code, double size) {
  LanguageResult language;
  language.code = code;
  language.tokens = 30;
  language.units = 2;
  language.bytes = 120;
  language.ppl_reference = 20.25;
  language.ppl = 22.75;
  language.excess_nats_per_unit = some(size * 10);
  language.excess_bits_per_byte = some(size * 11);
  language.kl_per_unit = some(size * 12);
  language.kl_per_token = {around(size * 13), 0.01, 0.2, 0.3, 0.4};
  language.kl_per_byte = some(size * 14);
  language.flip_rate = some(size * 15);
  language.rho = some(size * 16);
  language.ln_rho = some(size * 17);
  language.seed_disparity = some(size * 18);
  return language;
}

RunResult some_run(const std::string& name, const std::string& worst) {
  RunResult run;
  run.name = name;
  run.scheme = "q8_0";
  run.size_bytes = 18000000;
  run.bits_per_weight = 8.5;
  run.worst_language = worst;
  run.worst_language_frequency = 0.75;
  run.disparity.gap = some(0.5);
  run.disparity.gini = some(0.25);
  run.disparity.seed_disparity_mean = some(1.5);
  run.disparity.p_value = 0.04;
  run.disparity.measurable = true;
  run.disparity.deviation = {-0.5, 0.25, 0.25};
  run.disparity.deviation_lo = {-0.75, 0.125, 0.0};
  run.disparity.deviation_hi = {-0.25, 0.375, 0.5};
  run.disparity.verdict = "languages lose unequally";
  for (const char* code : {"en", "de", "ace-Arab"}) run.languages.push_back(some_language(code, 1));
  return run;
}

// Runs "run1", "run2" ...; "de" is the worst language of the odd ones, "ace-Arab" of the others.
AuditReport some_report(size_t runs) {
  AuditReport report;
  report.model = {"models/some", "some", "gpt2", 12, 13803008, 27606016, 16.0, ""};
  report.corpus = {"builtin", true, 0, {"en", "de", "ace-Arab"}};
  report.settings = {"cpu", "a processor", "f32", 2, "B", {"embeddings"}};
  report.result.noise_floor = {73, 1e-9, 2e-8, 0.0, 3e-7};
  report.result.reference_language = "en";
  report.result.seed = 1;
  report.result.draws = 10000;
  for (size_t r = 1; r <= runs; ++r) {
    report.result.runs.push_back(
        some_run("run" + std::to_string(r), r % 2 == 1 ? "de" : "ace-Arab"));
  }
  return report;
}

json json_of(const AuditReport& report) {
  return json::parse(to_json(report));
}

void expect_estimate(const json& object, const std::string& where, const Estimate& expected) {
  expect_fields(object, where, {{"value", "number"}, {"lo", "number"}, {"hi", "number"}});
  EXPECT_EQ(object["value"], expected.value) << where;
  EXPECT_EQ(object["lo"], expected.lo) << where;
  EXPECT_EQ(object["hi"], expected.hi) << where;
  EXPECT_FALSE(object.contains("status")) << where;
}

TEST(Json, HasTheNamesOfTheTopLevel) {
  const json report = json_of(some_report(2));
  expect_fields(report, "report",
                {{"isogloss", "string"},
                 {"model", "object"},
                 {"corpus", "object"},
                 {"settings", "object"},
                 {"noise_floor", "object"},
                 {"runs", "array"}});
  EXPECT_EQ(report["isogloss"], version());
  EXPECT_EQ(report["runs"].size(), 2U);
}

TEST(Json, HasWhatIsNeededToRepeatTheAudit) {
  const json report = json_of(some_report(1));
  expect_fields(report["model"], "model",
                {{"path", "string"},
                 {"name", "string"},
                 {"family", "string"},
                 {"layers", "number"},
                 {"parameters", "number"},
                 {"size_bytes", "number"},
                 {"bits_per_weight", "number"},
                 {"quantized_blocks", "string"}});
  EXPECT_EQ(report["corpus"], json::parse(R"({"name": "builtin", "parallel": true, "window": 0,
                            "part": "all", "languages": ["en", "de", "ace-Arab"]})"));
  EXPECT_EQ(report["settings"],
            json::parse(R"({"compute": "f32", "device": "cpu", "hardware": "a processor",
                            "threads": 2, "reference_language": "en", "include": ["embeddings"],
                            "seed_family": "B", "seed": 1, "draws": 10000, "confidence": 0.95})"));
  EXPECT_EQ(report["noise_floor"],
            json::parse(R"({"tokens": 73, "kl_per_token_mean": 1e-9, "kl_per_token_max": 2e-8,
                            "flip_rate": 0.0, "nll_per_token_max": 3e-7})"));
}

TEST(Json, HasTheNamesOfARun) {
  AuditReport report = some_report(1);
  report.result.runs[0].protect = "L0";
  report.result.runs[0].fallbacks = {"blk.0.ffn_up.weight: q4_k -> q5_0"};
  report.result.runs[0].regime = Regime::kCollapsed;
  const json run = json_of(report)["runs"][0];
  expect_fields(run, "run",
                {{"name", "string"},
                 {"scheme", "string"},
                 {"protect", "string"},
                 {"size_bytes", "number"},
                 {"bits_per_weight", "number"},
                 {"fallbacks", "array"},
                 {"regime", "string"},
                 {"worst_language", "string"},
                 {"worst_language_frequency", "number"},
                 {"disparity", "object"},
                 {"languages", "object"}});
  EXPECT_EQ(run["name"], "run1");
  EXPECT_EQ(run["scheme"], "q8_0");
  EXPECT_EQ(run["protect"], "L0");
  EXPECT_EQ(run["size_bytes"], 18000000);
  EXPECT_EQ(run["regime"], "COLLAPSED");
  EXPECT_EQ(run["worst_language"], "de");
  EXPECT_EQ(run["languages"].size(), 3U);
}

TEST(Json, HasTheDisparityOfARun) {
  const json disparity = json_of(some_report(1))["runs"][0]["disparity"];
  expect_estimate(disparity["gap"], "gap", around(0.5));
  expect_estimate(disparity["gini"], "gini", around(0.25));
  expect_estimate(disparity["seed_disparity_mean"], "seed_disparity_mean", around(1.5));
  expect_fields(disparity, "disparity",
                {{"p_value", "number"}, {"measurable", "boolean"}, {"verdict", "string"}});
  expect_estimate(disparity["ln_kl_deviation"]["de"], "deviation of de", {0.25, 0.125, 0.375});
}

TEST(Json, HasTheNamesOfALanguage) {
  const json language = json_of(some_report(1))["runs"][0]["languages"]["de"];
  expect_fields(language, "language",
                {{"tokens", "number"},
                 {"units", "number"},
                 {"bytes", "number"},
                 {"ppl_reference", "number"},
                 {"ppl", "number"}});
  EXPECT_EQ(language["tokens"], 30);
  EXPECT_EQ(language["ppl"], 22.75);
  expect_estimate(language["excess_nats_per_unit"], "excess_nats_per_unit", around(10));
  expect_estimate(language["excess_bits_per_byte"], "excess_bits_per_byte", around(11));
  expect_estimate(language["kl_per_unit"], "kl_per_unit", around(12));
  expect_estimate(language["kl_per_byte"], "kl_per_byte", around(14));
  expect_estimate(language["flip_rate"], "flip_rate", around(15));
  expect_estimate(language["rho"], "rho", around(16));
  expect_estimate(language["ln_rho"], "ln_rho", around(17));
  expect_estimate(language["seed_disparity"], "seed_disparity", around(18));
  EXPECT_EQ(language["kl_per_token"],
            json::parse(R"({"mean": 13.0, "lo": 6.5, "hi": 19.5, "median": 0.01, "p99": 0.2,
                            "p999": 0.3, "max": 0.4})"));
}

// What the table, JSON and CSV call a metric is one word.
TEST(Json, HasEveryMetricOfTheTable) {
  const json language = json_of(some_report(1))["runs"][0]["languages"]["en"];
  for (const auto& metric : table_metrics()) EXPECT_TRUE(language.contains(metric)) << metric;
}

TEST(Json, HasNoNameThatItsPageLacks) {
  AuditReport report = some_report(1);
  report.result.runs[0].languages[0].rho = {std::nullopt, "UNDEFINED: one language"};
  EXPECT_EQ(undocumented_names(json_of(report), {"en", "de", "ace-Arab"}), Strings());
}

TEST(Json, SaysWhyANumberIsMissing) {
  AuditReport report = some_report(1);
  report.result.runs[0].languages[1].rho = {std::nullopt, "DEGENERATE: nothing to compare with"};
  const json rho = json_of(report)["runs"][0]["languages"]["de"]["rho"];
  EXPECT_EQ(rho, json::parse(R"({"value": null, "lo": null, "hi": null,
                                 "status": "DEGENERATE: nothing to compare with"})"));
}

TEST(Json, WritesNumbersThatAreNotFiniteAsNullWithAStatus) {
  AuditReport report = some_report(1);
  LanguageResult& language = report.result.runs[0].languages[0];
  language.ppl = kInfinity;
  language.kl_per_token.p99 = kNaN;
  language.excess_nats_per_unit = {Estimate{1, 0, kInfinity}, ""};
  report.result.runs[0].disparity.deviation_lo[0] = -kInfinity;
  report.result.noise_floor.flip_rate = kNaN;
  const std::string text = to_json(report);
  EXPECT_FALSE(contains_match(text, R"([:\[,]\s*[-+]?(nan|inf))"));

  const json parsed = json::parse(text);
  const json& found = parsed["runs"][0]["languages"]["en"];
  EXPECT_TRUE(found["ppl"].is_null());
  EXPECT_EQ(found["status"], "NOT FINITE: ppl");
  EXPECT_TRUE(found["kl_per_token"]["p99"].is_null());
  EXPECT_EQ(found["kl_per_token"]["status"], "NOT FINITE: p99");
  EXPECT_EQ(found["excess_nats_per_unit"]["status"], "NOT FINITE: hi");
  EXPECT_EQ(found["excess_nats_per_unit"]["value"], 1.0);
  EXPECT_EQ(parsed["runs"][0]["disparity"]["ln_kl_deviation"]["en"]["status"], "NOT FINITE: lo");
  EXPECT_EQ(parsed["noise_floor"]["status"], "NOT FINITE: flip_rate");
  EXPECT_FALSE(parsed["runs"][0]["languages"]["de"].contains("status"));
}

TEST(Json, IsValidForPathsThatAreNotUtf8) {
  AuditReport report = some_report(1);
  report.model.path = "mod\xe8le.gguf";
  EXPECT_EQ(json_of(report)["model"]["path"], "mod\xef\xbf\xbdle.gguf");
}

TEST(Json, KeepsEveryBitOfANumber) {
  AuditReport report = some_report(1);
  const double value = 0.1 + 0.2;
  report.result.runs[0].languages[0].kl_per_unit = some(value);
  EXPECT_EQ(json_of(report)["runs"][0]["languages"]["en"]["kl_per_unit"]["value"], value);
}

TEST(Csv, HasAHeaderAndALineForEachRunAndLanguage) {
  const auto rows = parse_csv(to_csv(some_report(2)));
  ASSERT_EQ(rows.size(), 1U + 2 * 3);
  const Strings first = {"run",      "scheme", "protect", "size_bytes", "bits_per_weight", "regime",
                         "language", "tokens", "units",   "bytes",      "ppl_reference",   "ppl"};
  EXPECT_EQ(Strings(rows[0].begin(), rows[0].begin() + static_cast<long>(first.size())), first);
  EXPECT_EQ(csv_field(rows, 2, "run"), "run1");
  EXPECT_EQ(csv_field(rows, 2, "language"), "de");
  EXPECT_EQ(csv_field(rows, 2, "ppl"), "22.75");
  EXPECT_EQ(csv_field(rows, 6, "run"), "run2");
  EXPECT_EQ(csv_field(rows, 6, "language"), "ace-Arab");
}

TEST(Csv, HasEveryMetricWithTheEndsOfItsInterval) {
  const auto rows = parse_csv(to_csv(some_report(1)));
  const auto metrics = table_metrics();
  for (size_t m = 0; m < metrics.size(); ++m) {
    const double value = 10 + static_cast<double>(m);
    EXPECT_EQ(std::stod(csv_field(rows, 1, metrics[m])), value) << metrics[m];
    EXPECT_EQ(std::stod(csv_field(rows, 1, metrics[m] + "_lo")), 0.5 * value) << metrics[m];
    EXPECT_EQ(std::stod(csv_field(rows, 1, metrics[m] + "_hi")), 1.5 * value) << metrics[m];
  }
}

TEST(Csv, HasAsManyFieldsInEveryLine) {
  AuditReport report = some_report(3);
  report.result.runs[1].languages[0].rho = {std::nullopt, "DEGENERATE: with, commas"};
  report.result.runs[2].name = "a,b";
  for (const auto& row : parse_csv(to_csv(report))) {
    EXPECT_EQ(row.size(), parse_csv(to_csv(some_report(1)))[0].size()) << row[0];
  }
}

TEST(Csv, QuotesCommasQuotesAndLineEnds) {
  AuditReport report = some_report(1);
  const Strings names = {"a,b.gguf", "a \"b\".gguf", "a\nb.gguf", "a\r\nb.gguf", "plain.gguf"};
  for (const auto& name : names) {
    report.result.runs[0].name = name;
    const auto rows = parse_csv(to_csv(report));
    ASSERT_EQ(rows.size(), 4U) << name;
    EXPECT_EQ(rows[1][0], name);
    EXPECT_EQ(rows[1][1], "q8_0") << name;
  }
  EXPECT_EQ(to_csv(report).find('"'), std::string::npos);
}

TEST(Csv, LeavesFieldsEmptyWhereThereIsNoNumber) {
  AuditReport report = some_report(1);
  LanguageResult& language = report.result.runs[0].languages[0];
  language.rho = {std::nullopt, "DEGENERATE: nothing to compare with"};
  language.kl_per_byte = {Estimate{1.5, kNaN, kInfinity}, ""};
  language.ppl = kInfinity;
  const auto rows = parse_csv(to_csv(report));
  for (const char* column :
       {"rho", "rho_lo", "rho_hi", "kl_per_byte_lo", "kl_per_byte_hi", "ppl"}) {
    EXPECT_EQ(csv_field(rows, 1, column), "") << column;
  }
  EXPECT_EQ(csv_field(rows, 1, "kl_per_byte"), "1.5");
  EXPECT_EQ(csv_field(rows, 2, "rho"), "16");
}

// The rows whose first word is `label`, one for each block of runs.
Strings rows_of(const std::string& table, const std::string& label) {
  Strings rows;
  for (const auto& line : lines_of(without_color(table))) {
    if (line.starts_with(label + " ")) rows.push_back(line);
  }
  return rows;
}

AuditReport report_with_long_names(size_t runs) {
  AuditReport report = some_report(runs);
  const std::string long_word(300, 'x');
  report.model.name = long_word;
  report.model.quantized_blocks = "5.41 bits per weight: " + long_word + ", " + long_word;
  report.corpus.name = "/somewhere/" + long_word;
  report.settings.compute = "bf16";
  for (auto& run : report.result.runs) {
    run.name = long_word + ".gguf";
    run.protect = long_word;
    run.fallbacks = {long_word + ": q4_k -> q5_0", "short: q4_k -> q5_0"};
    for (int i = 0; i < 200; ++i) run.disparity.verdict += " xyz-Abcd";
  }
  return report;
}

TEST(Table, HasNoLineOfMoreThan100Columns) {
  for (size_t runs = 1; runs <= 9; ++runs) {
    for (const auto& metric : table_metrics()) {
      for (const AuditReport& report : {some_report(runs), report_with_long_names(runs)}) {
        for (const auto& line : lines_of(to_table(report, {metric, true}))) {
          ASSERT_LE(columns(line), kMostColumns) << runs << " runs, " << metric << ":\n" << line;
        }
      }
    }
  }
}

TEST(Table, ShowsFourRunsSideBySide) {
  for (size_t runs = 1; runs <= 9; ++runs) {
    const std::string table = to_table(some_report(runs), {});
    EXPECT_EQ(rows_of(table, "size").size(), (runs + kRunsAcross - 1) / kRunsAcross) << runs;
    for (size_t r = 1; r <= runs; ++r) {
      EXPECT_NE(table.find("run" + std::to_string(r)), table.npos) << r << " of " << runs;
    }
  }
}

TEST(Table, HasARowForEachLanguageInEveryBlock) {
  const std::string table = to_table(some_report(9), {});
  for (const char* code : {"en", "de", "ace-Arab"}) {
    EXPECT_EQ(rows_of(table, code).size(), 3U) << code;
  }
}

TEST(Table, ShowsTheMetricAskedFor) {
  const auto metrics = table_metrics();
  std::set<std::string> titles;
  for (size_t m = 0; m < metrics.size(); ++m) {
    const std::string table = to_table(some_report(1), {metrics[m], false});
    const std::string value = std::to_string(10 + m) + ".0 [";
    EXPECT_NE(rows_of(table, "en")[0].find(value), std::string::npos) << metrics[m] << table;
    for (const auto& line : lines_of(table)) {
      if (line.ends_with("intervals")) titles.insert(line);
    }
  }
  EXPECT_EQ(titles.size(), metrics.size());
}

TEST(Table, RefusesAnUnknownMetricWithANearMatch) {
  EXPECT_TRUE(says(failure_of([] {
                     to_table(some_report(1), {"kl_per_tokens", false});
                   }),
                   ErrorCode::kBadArgument, {"kl_per_tokens", "kl_per_token'", "flip_rate"}));
}

size_t marks(const std::string& row) {
  return static_cast<size_t>(std::ranges::count(row, '*'));
}

TEST(Table, MarksTheWorstLanguageOfEachRun) {
  const std::string table = to_table(some_report(3), {});  // "de", "ace-Arab", "de"
  EXPECT_EQ(marks(rows_of(table, "en")[0]), 0U);
  EXPECT_EQ(marks(rows_of(table, "de")[0]), 2U);
  EXPECT_EQ(marks(rows_of(table, "ace-Arab")[0]), 1U);
}

TEST(Table, MarksNoLanguageWhereNoneLoses) {
  AuditReport report = some_report(1);
  report.result.runs[0].worst_language = "";
  const std::string table = to_table(report, {});
  for (const char* code : {"en", "de", "ace-Arab"}) {
    EXPECT_EQ(marks(rows_of(table, code)[0]), 0U) << code;
  }
}

TEST(Table, MarksNoLanguageThatIsAlone) {
  AuditReport report = some_report(1);
  report.result.runs[0].languages.resize(1);
  report.result.runs[0].worst_language = "en";
  EXPECT_EQ(marks(rows_of(to_table(report, {}), "en")[0]), 0U);
}

TEST(Table, IsColouredOnlyWhenAsked) {
  const AuditReport report = some_report(5);
  const std::string plain = to_table(report, {"kl_per_unit", false});
  const std::string coloured = to_table(report, {"kl_per_unit", true});
  EXPECT_EQ(plain.find('\x1b'), plain.npos);
  EXPECT_NE(coloured.find('\x1b'), coloured.npos);
  EXPECT_EQ(without_color(coloured), plain);
}

// A number that is cut is another number.
TEST(Table, CutsNoNumber) {
  constexpr double kLeast = 1e-8;  // the noise floor
  constexpr double kMost = 5000;   // nats a unit, of a model that guesses
  for (double size = kLeast; size < kMost; size *= 7) {
    for (const double value : {size, -size}) {
      AuditReport report = some_report(1);
      RunResult& run = report.result.runs[0];
      const Estimate wide = {value, -0.00123 * value, 1.234 * value};
      run.languages[0].kl_per_unit = {wide, ""};
      run.languages[1].kl_per_unit = some(0.01234 * value);
      run.languages[2].kl_per_unit = some(value);
      run.disparity.gap = {wide, ""};
      const std::string table = to_table(report, {});
      EXPECT_EQ(table.find('~'), table.npos) << value << "\n" << table;
    }
  }
}

TEST(Table, SaysWhyANumberIsMissing) {
  AuditReport report = some_report(1);
  report.result.runs[0].languages[1].rho = {std::nullopt, "DEGENERATE: nothing to compare with"};
  const std::string table = to_table(report, {"rho", false});
  EXPECT_NE(rows_of(table, "de")[0].find("DEGENERATE"), std::string::npos);
}

TEST(Table, SaysThatTheReferenceIsQuantized) {
  AuditReport report = some_report(1);
  const std::string note = "5.41 bits per weight: q4_k, q6_k";
  EXPECT_EQ(to_table(report, {}).find(note), std::string::npos);
  report.model.quantized_blocks = note;
  EXPECT_NE(to_table(report, {}).find(note), std::string::npos);
}

TEST(Table, SaysThatUnitsOfUnrelatedTextsDoNotCompare) {
  AuditReport report = some_report(1);
  EXPECT_EQ(to_table(report, {}).find("not comparable"), std::string::npos);
  report.corpus.parallel = false;
  const std::string table = to_table(report, {});
  EXPECT_NE(table.find("not comparable"), table.npos);
  EXPECT_EQ(table.find("per parallel unit"), table.npos);
}

TEST(Table, ShowsTheVerdictOfEveryRun) {
  AuditReport report = some_report(2);
  report.result.runs[1].disparity.verdict = "no measurable disparity";
  const std::string table = to_table(report, {});
  EXPECT_NE(table.find("run1: languages lose unequally"), table.npos);
  EXPECT_NE(table.find("run2: no measurable disparity"), table.npos);
}

TEST(Table, ShortensNamesBetweenCharacters) {
  for (size_t length = 10; length < 40; ++length) {
    AuditReport report = some_report(1);
    report.result.runs[0].name = std::string(length, 'x');
    for (int i = 0; i < 20; ++i)
      report.result.runs[0].name += "\xc3\xa9";  // e with an acute accent
    const std::string table = to_table(report, {});
    EXPECT_NO_THROW(json(table).dump()) << "not UTF-8: " << length;  // dump() is strict
  }
}

TEST(SummaryNumber, IsTheLargestOverRunsAndLanguages) {
  AuditReport report = some_report(2);
  auto& runs = report.result.runs;
  runs[0].languages[1].kl_per_token.mean = around(20);
  runs[1].languages[2].flip_rate = some(30);
  runs[1].disparity.gap = some(0.75);
  runs[0].disparity.gini = some(0.5);
  EXPECT_EQ(summary_number(report, "worst_kl"), 20);
  EXPECT_EQ(summary_number(report, "worst_flip_rate"), 30);
  EXPECT_EQ(summary_number(report, "gap"), 0.75);
  EXPECT_EQ(summary_number(report, "gini"), 0.5);
}

TEST(SummaryNumber, IsTheSmallestPValueOverRuns) {
  AuditReport report = some_report(3);
  report.result.runs[1].disparity.p_value = 0.001;
  EXPECT_EQ(summary_number(report, "disparity_p"), 0.001);
}

TEST(SummaryNumber, PassesOverWhatIsNotDefined) {
  AuditReport report = some_report(3);
  auto& runs = report.result.runs;
  runs[0].disparity.gap = {std::nullopt, "UNDEFINED: one language"};
  runs[2].disparity.gap = {std::nullopt, "UNDEFINED: one language"};
  runs[0].languages[0].kl_per_token.mean.value = kNaN;
  EXPECT_EQ(summary_number(report, "gap"), 0.5);
  EXPECT_EQ(summary_number(report, "worst_kl"), 13);
  runs[1].disparity.gap = {std::nullopt, "UNDEFINED: one language"};
  EXPECT_TRUE(std::isnan(summary_number(report, "gap")));
}

TEST(SummaryNumber, RefusesAnUnknownNameWithANearMatch) {
  EXPECT_TRUE(says(failure_of([] { summary_number(some_report(1), "worst_kll"); }),
                   ErrorCode::kBadArgument, {"worst_kll", "'worst_kl'", "disparity_p"}));
}

}  // namespace
}  // namespace isogloss
