// The text that `isogloss quantize` calibrates on, and the weights of its languages.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <optional>
#include <string>

#include "isogloss/report/quantize_report.h"
#include "tool/inputs.h"

namespace isogloss {

struct CalibrationArguments {
  TextArguments text;
  std::string weights = "equal", part = "calibration";
  double damping = Calibration{}.damping;
  bool act_order = false, allow_short = false;
  size_t rounds = 4;
  uint64_t seed = 1;
};
void add_calibration_options(CLI::App& command, CalibrationArguments& arguments);

// Text read, cut into parts and tokenized.
struct CalibrationText {
  TokenizedCorpus calibration;
  std::optional<TokenizedCorpus> select;  // what minimax rounds are judged on
  std::vector<double> weights;            // to begin with
  bool minimax = false;
};
CalibrationText read_calibration(const CalibrationArguments& arguments, const BuiltIn& built_in,
                                 const Model& model);

CalibrationFacts calibration_facts(const CalibrationText& text,
                                   const CalibrationArguments& arguments);

}  // namespace isogloss
