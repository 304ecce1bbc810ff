// Report: results as a table for people, as JSON and as CSV for programs. Pure functions: same
// result, same bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "isogloss/measure/measure.h"
#include "isogloss/model/model.h"
#include "isogloss/study/study.h"
#include "isogloss/sweep/sweep.h"

namespace isogloss {

struct ModelFacts {
  std::string path, name, family;
  size_t layers = 0;
  uint64_t parameters = 0;
  uint64_t size_bytes = 0;
  double bits_per_weight = 0;
  std::string quantized_blocks;  // Model::quantized_blocks
};

// An audit with what is needed to repeat it.
struct AuditReport {
  struct CorpusFacts {
    std::string name;
    bool parallel = true;
    size_t window = 0;  // tokens; 0: a unit is a line
    std::vector<std::string> languages;
    std::string part = "all";
  };
  struct Settings {
    std::string device, hardware, compute;
    size_t threads = 0;
    std::string seed_family;
    std::vector<std::string> include;
  };

  ModelFacts model;
  CorpusFacts corpus;
  Settings settings;
  AuditResult result;
};

// Names are stable: docs/json.md. Non-finite numbers are null beside a "status" that says why.
std::string to_json(const AuditReport& report);

// One line for each run and language, every metric with the ends of its interval; RFC 4180.
std::string to_csv(const AuditReport& report);

struct TableStyle {
  std::string metric = "kl_per_unit";  // one of table_metrics()
  bool color = false;                  // ANSI, for a terminal
};

// What a table can show.
std::vector<std::string> table_metrics();

// At most 100 columns wide: languages down, runs across, four runs side by side; the worst language
// of each run marked. Throws Error(kBadArgument) for an unknown metric.
std::string to_table(const AuditReport& report, const TableStyle& style);

// A number that one line of a shell can test: "worst_kl", "gap", "gini", "worst_flip_rate",
// "disparity_p". Over all runs the largest (of disparity_p the smallest); runs without such a
// number are passed over, and NaN is left when none has one. Throws Error(kBadArgument) for an
// unknown name.
double summary_number(const AuditReport& report, std::string_view name);

// A sweep with what is needed to repeat it.
struct SweepReport {
  ModelFacts model;
  AuditReport::CorpusFacts corpus;
  AuditReport::Settings settings;
  std::string scheme, protect, mode, unit;
  SweepResult result;
};

std::string to_json(const SweepReport& report);  // as above

// Of a matrix, one line for each unit, language and intervention, every metric with the ends of its
// interval, its p- and its q-value; of sets, one for each set and language. RFC 4180.
std::string to_csv(const SweepReport& report);

// At most 100 columns wide.
std::string to_table(const SweepReport& report, bool color);

// A model as it lies in its file, with the statistics of its weights that were asked for.
struct InspectReport {
  ModelFacts facts;
  const Model* model = nullptr;  // of which no weight is read
  WeightStudy weights;
};

std::string to_json(const InspectReport& report);  // as above

struct InspectStyle {
  bool unfold = false;  // a row a tensor, in place of one for layers whose shape and type agree
  bool color = false;   // ANSI, for a terminal
};
std::string to_table(const InspectReport& report, const InspectStyle& style);

// The version of this program.
std::string_view version();

}  // namespace isogloss
