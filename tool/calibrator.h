// Writes models whose codes go by text: the engine, the statistics, and rounds of weights.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "isogloss/report/quantize_report.h"
#include "tool/calibration_text.h"

namespace isogloss {

// What the model is, and what is to be made of it.
struct QuantizeTask {
  explicit QuantizeTask(Model source) : model(std::move(source)) {}

  Model model;
  Assignment assignment;
  WriteRequest request;
  bool computes_imatrix = false;
  std::optional<CalibrationText> text;
  std::optional<Imatrix> imatrix;
};

// Says in the file which text it was calibrated on, and by which weights.
void describe_calibration(QuantizeTask& task, const CalibrationArguments& arguments,
                          const std::vector<double>& weights);

// Of a task with text.
class Calibrator {
 public:
  Calibrator(QuantizeTask& task, const CalibrationArguments& arguments,
             const ComputeArguments& compute, const Progress& progress);

  // Writes the model as languages weigh.
  std::vector<QuantizeNote> write(const std::vector<double>& weights,
                                  const std::filesystem::path& path);

  // Sets the text's weights to those of the round whose worst-off language loses least; each round
  // is tried on a file beside `output`.
  void search_weights(const std::filesystem::path& output, QuantizeReport& report);

 private:
  Variant reference() const { return {&task_.model, &stored_}; }
  // What each language loses by a file, on the units that choose.
  std::vector<double> losses(const std::filesystem::path& path);

  QuantizeTask& task_;
  const CalibrationArguments& arguments_;
  const Progress& progress_;
  Device device_;
  Assignment stored_;
  AuditOptions audit_options_;
  std::optional<Engine> engine_;
  ActivationStatistics statistics_;
};

}  // namespace isogloss
