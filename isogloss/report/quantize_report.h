// Report of a model that was quantized, or would be.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "isogloss/calibrate/calibrate.h"
#include "isogloss/report/report.h"
#include "isogloss/write/write.h"

namespace isogloss {

// What decided beside the weights.
struct CalibrationFacts {
  AuditReport::CorpusFacts corpus;
  uint64_t tokens = 0;
  std::vector<double> weights;  // by language; they sum to 1
};

// Weights that were tried, and what each language lost by them on the text that chooses (mean KL a
// unit; of text that is not parallel, a byte).
struct MinimaxRound {
  std::vector<double> weights, losses;
};

struct QuantizeReport {
  ModelFacts model;
  const Model* tensors_of = nullptr;
  std::string scheme, output;
  FileFormat format = FileFormat::kGguf;
  bool dry_run = false;
  WritePlan plan;
  std::vector<Fallback> fallbacks;
  std::vector<QuantizeNote> notes;
  std::optional<CalibrationFacts> calibration;
  std::vector<MinimaxRound> rounds;
  size_t chosen_round = 0;
};

std::string to_json(const QuantizeReport& report);

// At most 100 columns wide; a dry run lists every tensor, else types are counted.
std::string to_table(const QuantizeReport& report, bool color);

}  // namespace isogloss
