// Contract of isogloss/report/quantize_report.h.
#include "isogloss/report/quantize_report.h"

#include "report_text.h"
#include "tests/families.h"

namespace isogloss {
namespace {

using nlohmann::json;

const Model& some_model() {
  static const Model kModel = read_model(family_path("gpt2"));
  return kModel;
}

// Of a fixture, with everything that a report can have.
QuantizeReport full_report(size_t rounds) {
  const Model& model = some_model();
  AssignmentRequest wanted;
  wanted.scheme = parse_scheme("q4_k");  // which rows of 32 do not allow
  const Assignment assignment = assign(model, wanted);
  QuantizeReport report;
  report.model = {"models/some", "some", "gpt2", 2, 80000, 160000, 16.0, ""};
  report.tensors_of = &model;
  report.scheme = "q4_k";
  report.output = "out.gguf";
  report.plan = plan_write({&model, &assignment});
  report.fallbacks = assignment.fallbacks;
  report.notes = {{1, "damping raised to 0.1"}, {2, "damping raised to 0.1"}};
  report.calibration.emplace();
  report.calibration->corpus = {"builtin", true, 0, {"en", "ace-Arab"}, "calibration"};
  report.calibration->tokens = 1234;
  report.calibration->weights = {0.25, 0.75};
  for (size_t r = 0; r < rounds; ++r) report.rounds.push_back({{0.25, 0.75}, {12.5, 1e-7}});
  report.chosen_round = rounds == 0 ? 0 : rounds - 1;
  return report;
}

TEST(QuantizeJson, HasNamesThatAreDocumented) {
  const json found = json::parse(to_json(full_report(3)));
  expect_fields(found, "report",
                {{"isogloss", "string"},
                 {"model", "object"},
                 {"scheme", "string"},
                 {"output", "string"},
                 {"format", "string"},
                 {"dry_run", "boolean"},
                 {"size_bytes", "number"},
                 {"bits_per_weight", "number"},
                 {"tensors", "array"},
                 {"fallbacks", "array"},
                 {"notes", "array"},
                 {"calibration", "object"}});
  EXPECT_EQ(undocumented_names(found, {"en", "ace-Arab"}), Strings{});
  EXPECT_EQ(found["tensors"].size(), some_model().tensors().size());
  EXPECT_EQ(found["fallbacks"][0]["wanted"], "q4_k");
  EXPECT_EQ(found["notes"][1]["tensor"], some_model().tensors()[2].name);
  EXPECT_EQ(found["calibration"]["weights"]["ace-Arab"], 0.75);
  EXPECT_EQ(found["calibration"]["minimax"]["chosen"], 2);
  EXPECT_EQ(found["calibration"]["minimax"]["rounds"][2]["losses"]["en"], 12.5);
}

TEST(QuantizeJson, HasNoPartThatWasNotThere) {
  QuantizeReport report = full_report(0);
  EXPECT_FALSE(json::parse(to_json(report))["calibration"].contains("minimax"));
  report.calibration.reset();
  EXPECT_FALSE(json::parse(to_json(report)).contains("calibration"));
}

TEST(QuantizeTable, ListsTensorsBeforeAndTypesAfterwards) {
  QuantizeReport report = full_report(0);
  const std::string written = to_table(report, false);
  EXPECT_EQ(written.find("blk.0.attn_qkv.weight  "), written.npos);
  EXPECT_NE(written.find("wrote out.gguf: "), written.npos);
  report.dry_run = true;
  const std::string planned = to_table(report, false);
  EXPECT_NE(planned.find("blk.0.attn_qkv.weight  "), planned.npos);
  EXPECT_NE(planned.find("would write out.gguf: "), planned.npos);
}

TEST(QuantizeTable, SaysTheSameChangeOfManyTensorsOnce) {
  const std::string table = to_table(full_report(0), false);
  const size_t first = table.find("damping raised to 0.1");
  ASSERT_NE(first, table.npos);
  EXPECT_EQ(table.find("damping raised to 0.1", first + 1), table.npos);
  EXPECT_NE(table.find("q4_k does not fit rows of 32 numbers"), table.npos);
}

TEST(QuantizeTable, HasNoLineOfMoreThan100Columns) {
  for (const size_t rounds : {0, 1, 4, 9}) {
    for (const bool dry_run : {false, true}) {
      QuantizeReport report = full_report(rounds);
      report.dry_run = dry_run;
      for (const auto& line : lines_of(to_table(report, true)))
        EXPECT_LE(columns(line), 100U) << line;
    }
  }
}

}  // namespace
}  // namespace isogloss
