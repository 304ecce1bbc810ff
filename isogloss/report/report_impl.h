// What the reports share: the table of metrics, and how numbers and texts are written.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

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

// ANSI.
inline constexpr std::string_view kBold = "\x1b[1m";
inline constexpr std::string_view kMarked = "\x1b[1;31m";
std::string in_style(bool on, std::string_view style, const std::string& text);

// `digits` significant digits, at most five places in front of the point.
std::string short_number(double value, int digits = 3);

// An interval in at most `width` columns: digits go before a number is cut. In place of a number
// that is not there, the first words of why.
std::string interval_text(const Measured& measured, size_t width, double scale = 1);

// The power of 1000 that brings the largest value of a column into [0.1, 10000), so that its
// numbers need no leading zeros; 1 for a column of nothing.
double column_scale(std::span<const Measured> column);
std::string scale_text(double scale);  // "x 1e-03"; "" for 1

// Where a UTF-8 text may be cut, at or before `place`.
size_t character_start(std::string_view text, size_t place);

// In at most `width` columns; "~" stands for what was cut.
std::string shortened(const std::string& text, size_t width);

std::string mebibytes(uint64_t bytes);  // "12.34"

// A text of lines, some of them in a style where there is colour.
class TextLines {
 public:
  explicit TextLines(bool color) : color_(color) {}

  void line(std::string text, std::string_view style = "");  // without spaces at the end
  // Words over lines of at most kLineWidth, later lines indented; a word that is longer than a line
  // is cut.
  void paragraph(std::string text, std::string_view style = "");
  std::string take() { return std::move(text_); }

 private:
  bool color_;
  std::string text_;
};

// What every table says first, and last.
void add_model(const ModelFacts& model, TextLines& lines);

// "builtin", or "builtin (part test)".
std::string corpus_title(const AuditReport::CorpusFacts& corpus);
void add_noise_floor(const NoiseFloor& floor, TextLines& lines);

// Rows under titles, each column as wide as what is in it. Texts, aligned left, are shortened where
// a line would be too long; numbers never are.
class Grid {
 public:
  struct Column {
    std::string title;
    bool text = false;
  };
  explicit Grid(std::vector<Column> columns) : columns_(std::move(columns)) {}

  void add_row(std::vector<std::string> cells, std::string_view style = "");
  void print(TextLines& lines) const;

 private:
  struct Row {
    std::vector<std::string> cells;
    std::string_view style;
  };
  std::vector<size_t> widths(size_t gap) const;

  std::vector<Column> columns_;
  std::vector<Row> rows_;
};

// RFC 4180: quoted where it has to be.
std::string csv_text(std::string_view text);
std::string csv_number(double value);                // "" where there is none
std::string csv_interval(const Measured& measured);  // value,lo,hi

}  // namespace isogloss
