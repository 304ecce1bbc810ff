// Contract of isogloss/report/verify_report.h.
#include "isogloss/report/verify_report.h"

#include "report_text.h"

namespace isogloss {
namespace {

using nlohmann::json;

const Strings kCodes = {"en", "ace-Arab"};

Measured measured(double value) {
  return {Estimate{value, value / 2, value * 2}, ""};
}

LanguageVerification some_language(const std::string& code) {
  LanguageVerification language;
  language.code = code;
  language.tokens = 12345;
  language.units = 20;
  language.ppl_reference = 211.25;
  language.predicted.ppl = 247.5;
  language.predicted.metrics.fill(measured(0.2));
  language.runtime.ppl = 246.5;
  language.runtime.metrics.fill(measured(0.25));
  language.runtime.differences.fill(measured(0.05));
  language.runtime.kl_of_runtime = measured(0.0015);
  language.runtime.kl_of_rounding = measured(0.0013);
  language.exact = language.runtime;
  language.exact->kl_of_runtime = measured(7e-7);
  return language;
}

VerifyReport some_report() {
  VerifyReport report;
  report.reference = {"models/some", "some", "gpt2", 12, 13803008, 27606016, 16.0, ""};
  report.written = {"out.gguf", "some", "gpt2", 12, 13803008, 14958336, 8.67, "4.50 bits: q4_0"};
  report.corpus = {"builtin", true, 0, kCodes, "test"};
  report.settings = {"cpu", "a processor", "f32", 2, "", {}};
  report.result.runtime = "llama.cpp 1.2, CPU";
  report.result.noise_floor = {73, 1e-9, 2e-8, 0.0, 3e-7};
  report.result.draws = 10000;
  for (const auto& code : kCodes) report.result.languages.push_back(some_language(code));
  return report;
}

TEST(VerifyJson, HasNamesThatAreDocumented) {
  VerifyReport report = some_report();
  report.result.languages[1].disagreement = "it computes another model";
  const json found = json::parse(to_json(report));
  expect_fields(found, "report",
                {{"isogloss", "string"},
                 {"model", "object"},
                 {"against", "object"},
                 {"corpus", "object"},
                 {"settings", "object"},
                 {"limits", "object"},
                 {"runtime", "string"},
                 {"noise_floor", "object"},
                 {"agrees", "boolean"},
                 {"languages", "object"}});
  EXPECT_EQ(undocumented_names(found, kCodes), Strings{});
  EXPECT_EQ(found["agrees"], false);
  EXPECT_EQ(found["languages"]["en"]["agrees"], true);
  EXPECT_FALSE(found["languages"]["en"].contains("disagreement"));
  EXPECT_EQ(found["languages"]["ace-Arab"]["disagreement"], "it computes another model");
  EXPECT_EQ(found["languages"]["en"]["exact"]["kl_of_runtime"]["value"], 7e-7);
  EXPECT_EQ(found["languages"]["en"]["predicted"]["kl_per_unit"]["lo"], 0.1);
}

TEST(VerifyJson, LeavesOutWhatWasNotComputed) {
  VerifyReport report = some_report();
  report.result.languages[0].exact.reset();
  EXPECT_FALSE(json::parse(to_json(report))["languages"]["en"].contains("exact"));
}

TEST(VerifyTable, SaysWhetherTheFileIsWhatWasPredicted) {
  VerifyReport report = some_report();
  const std::string sound = to_table(report, false);
  EXPECT_NE(sound.find("The runtime computes what was predicted, in every language."), sound.npos);
  EXPECT_NE(sound.find("builtin (part test): 2 languages x 20 parallel units"), sound.npos);
  report.result.languages[1].disagreement = "it computes another model";
  const std::string faulty = to_table(report, false);
  EXPECT_NE(faulty.find("ace-Arab: it computes another model"), faulty.npos);
  EXPECT_NE(faulty.find("does not compute what was predicted, in 1 of 2 languages"), faulty.npos);
}

TEST(VerifyTable, HasNoLineOfMoreThan100Columns) {
  VerifyReport report = some_report();
  report.result.languages[1].disagreement = std::string(30, 'x') + ' ' + std::string(90, 'y');
  for (const double scale : {1e-9, 1.0, 1e5}) {
    for (LanguageVerification& language : report.result.languages) {
      language.predicted.metrics.fill(measured(scale));
      language.runtime.metrics.fill(measured(scale));
    }
    for (const auto& line : lines_of(to_table(report, true)))
      EXPECT_LE(columns(line), 100U) << line;
  }
}

}  // namespace
}  // namespace isogloss
