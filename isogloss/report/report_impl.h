// What the reports share: the table of metrics, and how numbers are written.
#pragma once

#include <span>
#include <string>
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

inline constexpr size_t kLineWidth = 99;  // of a table

// `digits` significant digits, at most five places in front of the point.
std::string short_number(double value, int digits = 3);

// Where a UTF-8 text may be cut, at or before `place`.
size_t character_start(std::string_view text, size_t place);

}  // namespace isogloss
