#include <algorithm>
#include <cmath>

#include "isogloss/base/error.h"
#include "isogloss/base/suggest.h"
#include "isogloss/report/report_impl.h"

namespace isogloss {
namespace {

constexpr size_t kRunsAcross = 4;
constexpr size_t kLabelWidth = 11;
constexpr size_t kCellWidth = 22;  // 11 + 4 x 22 = 99 columns

class Table {
 public:
  Table(const AuditReport& report, const TableStyle& style)
      : report_(report), style_(style), column_(find_column(style.metric)), lines_(style.color) {}

  std::string render() {
    header();
    const auto& runs = report_.result.runs;
    for (size_t first = 0; first < runs.size(); first += kRunsAcross) {
      block(std::span(runs).subspan(first, std::min(kRunsAcross, runs.size() - first)));
    }
    footer();
    return lines_.take();
  }

 private:
  static const MetricColumn& find_column(const std::string& name) {
    const auto columns = metric_columns();
    const auto found = std::ranges::find(columns, name, &MetricColumn::name);
    if (found == columns.end()) {
      fail(ErrorCode::kBadArgument, "'{}' is no metric{}; there are {}", name,
           did_you_mean(name, table_metrics()), fmt::join(table_metrics(), ", "));
    }
    return *found;
  }

  void header() {
    const auto& corpus = report_.corpus;
    add_model(report_.model, lines_);
    const size_t units = report_.result.runs.front().languages.front().units;
    lines_.paragraph(fmt::format("{}: {} languages{}, {}", corpus_title(corpus),
                                 corpus.languages.size(),
                                 corpus.parallel ? fmt::format(" x {} parallel units", units) : "",
                                 report_.settings.compute));
    lines_.line("");
    std::string title = std::string(column_.title);
    if (!corpus.parallel) {
      const size_t place = title.find("parallel unit");
      if (place != title.npos) title.replace(place, 13, "unit (not comparable across languages)");
    }
    lines_.line(fmt::format("{}, {:.0f} % intervals", title, 100 * kConfidence), kBold);
  }

  template <typename Function>
  void row(const std::string& label, std::span<const RunResult> runs, Function cell_of) {
    std::string text = fmt::format("{:<{}}", label, kLabelWidth);
    for (const auto& run : runs) {
      text += fmt::format("{:>{}}", shortened(cell_of(run), kCellWidth - 1), kCellWidth);
    }
    lines_.line(text);
  }

  static double scale_of(const RunResult& run, Measured (*get)(const LanguageResult&)) {
    std::vector<Measured> column;
    for (const auto& language : run.languages) column.push_back(get(language));
    return column_scale(column);
  }

  void language_row(size_t index, std::span<const RunResult> runs) {
    std::string text = fmt::format("{:<{}}", runs.front().languages[index].code, kLabelWidth);
    for (const auto& run : runs) {
      const LanguageResult& language = run.languages[index];
      const bool worst = run.languages.size() > 1 && language.code == run.worst_language;
      const std::string mark = worst ? "*" : "";
      const std::string text_of_cell =
          interval_text(column_.get(language), kCellWidth - 2, scale_of(run, column_.get));
      const std::string padded =
          fmt::format("{:>{}}", mark + shortened(text_of_cell, kCellWidth - 2), kCellWidth);
      text += in_style(style_.color && worst, kMarked, padded);
    }
    lines_.line(text);
  }

  void block(std::span<const RunResult> runs) {
    row("", runs, [](const RunResult& run) { return run.name; });
    row("", runs, [this](const RunResult& run) {
      const double scale = scale_of(run, column_.get);
      return scale_text(scale);
    });
    for (size_t l = 0; l < runs.front().languages.size(); ++l) language_row(l, runs);
    lines_.line(std::string(kLabelWidth + runs.size() * kCellWidth, '-'));
    row("size", runs, [](const RunResult& run) { return mebibytes(run.size_bytes) + " MiB"; });
    row("bits/weight", runs,
        [](const RunResult& run) { return fmt::format("{:.2f}", run.bits_per_weight); });
    row("regime", runs, [](const RunResult& run) { return std::string(to_string(run.regime)); });
    row("worst", runs, [](const RunResult& run) {
      if (run.worst_language.empty()) return std::string("none");
      return fmt::format("{} in {:.0f} % of draws", run.worst_language,
                         100 * run.worst_language_frequency);
    });
    row("gap", runs, [](const RunResult& run) {
      const double scale = column_scale(std::span(&run.disparity.gap, 1));
      const std::string suffix = scale == 1 ? "" : fmt::format("e{:.0f}", std::log10(scale));
      return interval_text(run.disparity.gap, kCellWidth - 1 - suffix.size(), scale) + suffix;
    });
    row("seed's D", runs, [](const RunResult& run) {
      return interval_text(run.disparity.seed_disparity_mean, kCellWidth - 1);
    });
    lines_.line("");
  }

  void footer() {
    for (const auto& run : report_.result.runs) {
      lines_.paragraph(fmt::format("{}: {}", run.name, run.disparity.verdict));
    }
    for (const auto& run : report_.result.runs) {
      if (run.fallbacks.empty()) continue;
      lines_.paragraph(fmt::format("{}: {} tensors do not fit the scheme and fall back ({}{})",
                                   run.name, run.fallbacks.size(), run.fallbacks.front(),
                                   run.fallbacks.size() > 1 ? ", ..." : ""));
    }
    add_noise_floor(report_.result.noise_floor, lines_);
    lines_.paragraph(fmt::format(
        "* worst language, by KL per {}; paired bootstrap over units, {} draws, seed {}",
        report_.corpus.parallel ? "parallel unit" : "byte", report_.result.draws,
        report_.result.seed));
  }

  const AuditReport& report_;
  const TableStyle& style_;
  const MetricColumn& column_;
  TextLines lines_;
};

}  // namespace

std::string to_table(const AuditReport& report, const TableStyle& style) {
  return Table(report, style).render();
}

}  // namespace isogloss
