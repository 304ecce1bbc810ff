// The table of metrics that JSON, CSV and the table for people share.
#pragma once

#include <span>
#include <string_view>

#include "isogloss/report/report.h"

namespace isogloss {

// A metric of a language with an interval.
struct MetricColumn {
  std::string_view name;   // in JSON and CSV
  std::string_view title;  // above the table
  Measured (*get)(const LanguageResult&);
};
std::span<const MetricColumn> metric_columns();

}  // namespace isogloss
