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

constexpr std::string_view kBold = "\x1b[1m";
constexpr std::string_view kWorst = "\x1b[1;31m";
constexpr std::string_view kPlain = "\x1b[0m";

// An interval in at most `width` columns: digits go before a number is cut.
std::string cell(const Measured& measured, size_t width, double scale = 1) {
  if (!measured.estimate) return measured.status.substr(0, measured.status.find(':'));
  const Estimate& e = *measured.estimate;
  std::string text;
  for (const int digits : {3, 2, 1}) {
    text = fmt::format("{} [{}, {}]", short_number(e.value / scale, digits),
                       short_number(e.lo / scale, digits), short_number(e.hi / scale, digits));
    if (text.size() <= width) break;
  }
  return text;
}

// The power of 1000 that brings the largest value of a column into [0.1, 10000), so that its
// numbers need no leading zeros; 1 for a column of nothing.
double column_scale(const std::vector<Measured>& column) {
  double most = 0;
  for (const auto& measured : column) {
    if (measured.estimate) most = std::max(most, std::abs(measured.estimate->value));
  }
  double scale = 1;
  while (most > 0 && most < 0.1 * scale && scale > 1e-9) scale /= 1000;
  while (most >= 1e4 * scale && scale < 1e9) scale *= 1000;
  return scale;
}

std::string shortened(const std::string& text, size_t width) {
  if (text.size() <= width) return text;
  return text.substr(0, character_start(text, width - 1)) + "~";
}

std::string in_style(bool on, std::string_view style, const std::string& text) {
  return on ? fmt::format("{}{}{}", style, text, kPlain) : text;
}

class Table {
 public:
  Table(const AuditReport& report, const TableStyle& style)
      : report_(report), style_(style), column_(find_column(style.metric)) {}

  std::string render() {
    header();
    const auto& runs = report_.result.runs;
    for (size_t first = 0; first < runs.size(); first += kRunsAcross) {
      block(std::span(runs).subspan(first, std::min(kRunsAcross, runs.size() - first)));
    }
    footer();
    return std::move(text_);
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

  void line(std::string text) {
    text.erase(text.find_last_not_of(' ') + 1);
    text_ += text + "\n";
  }

  void header() {
    const auto& model = report_.model;
    const auto& corpus = report_.corpus;
    paragraph(fmt::format("{}: {} layers, {:.1f} M parameters, {:.2f} bits per weight", model.name,
                          model.layers, static_cast<double>(model.parameters) / 1e6,
                          model.bits_per_weight));
    if (!model.quantized_blocks.empty()) {
      paragraph(fmt::format("note: the reference's blocks are quantized already ({})",
                            model.quantized_blocks));
    }
    const size_t units = report_.result.runs.front().languages.front().units;
    paragraph(fmt::format("{}: {} languages{}, {}", corpus.name, corpus.languages.size(),
                          corpus.parallel ? fmt::format(" x {} parallel units", units) : "",
                          report_.settings.compute));
    line("");
    std::string title = std::string(column_.title);
    if (!corpus.parallel) {
      const size_t place = title.find("parallel unit");
      if (place != title.npos) title.replace(place, 13, "unit (not comparable across languages)");
    }
    line(in_style(style_.color, kBold,
                  fmt::format("{}, {:.0f} % intervals", title, 100 * kConfidence)));
  }

  template <typename Function>
  void row(const std::string& label, std::span<const RunResult> runs, Function cell_of) {
    std::string text = fmt::format("{:<{}}", label, kLabelWidth);
    for (const auto& run : runs) {
      text += fmt::format("{:>{}}", shortened(cell_of(run), kCellWidth - 1), kCellWidth);
    }
    line(text);
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
          cell(column_.get(language), kCellWidth - 2, scale_of(run, column_.get));
      const std::string padded =
          fmt::format("{:>{}}", mark + shortened(text_of_cell, kCellWidth - 2), kCellWidth);
      text += in_style(style_.color && worst, kWorst, padded);
    }
    line(text);
  }

  void block(std::span<const RunResult> runs) {
    row("", runs, [](const RunResult& run) { return run.name; });
    row("", runs, [this](const RunResult& run) {
      const double scale = scale_of(run, column_.get);
      return scale == 1 ? std::string() : fmt::format("x {:.0e}", scale);
    });
    for (size_t l = 0; l < runs.front().languages.size(); ++l) language_row(l, runs);
    line(std::string(kLabelWidth + runs.size() * kCellWidth, '-'));
    row("size", runs, [](const RunResult& run) {
      return fmt::format("{:.2f} MiB", static_cast<double>(run.size_bytes) / (1 << 20));
    });
    row("bits/weight", runs,
        [](const RunResult& run) { return fmt::format("{:.2f}", run.bits_per_weight); });
    row("regime", runs, [](const RunResult& run) { return std::string(to_string(run.regime)); });
    row("worst", runs, [](const RunResult& run) {
      if (run.worst_language.empty()) return std::string("none");
      return fmt::format("{} in {:.0f} % of draws", run.worst_language,
                         100 * run.worst_language_frequency);
    });
    row("gap", runs, [](const RunResult& run) {
      const double scale = column_scale({run.disparity.gap});
      const std::string suffix = scale == 1 ? "" : fmt::format("e{:.0f}", std::log10(scale));
      return cell(run.disparity.gap, kCellWidth - 1 - suffix.size(), scale) + suffix;
    });
    row("seed's D", runs, [](const RunResult& run) {
      return cell(run.disparity.seed_disparity_mean, kCellWidth - 1);
    });
    line("");
  }

  // Words of `text` over lines of at most kLineWidth, later lines indented; a word that is longer
  // than a line is cut.
  void paragraph(std::string text) {
    constexpr std::string_view kIndent = "    ";
    while (text.size() > kLineWidth) {
      const size_t space = text.rfind(' ', kLineWidth);
      const bool found = space != text.npos && space >= kIndent.size();
      const size_t end = found ? space : character_start(text, kLineWidth);
      line(text.substr(0, end));
      text = std::string(kIndent) + text.substr(found ? end + 1 : end);
    }
    line(text);
  }

  void footer() {
    for (const auto& run : report_.result.runs) {
      paragraph(fmt::format("{}: {}", run.name, run.disparity.verdict));
    }
    for (const auto& run : report_.result.runs) {
      if (run.fallbacks.empty()) continue;
      paragraph(fmt::format("{}: {} tensors do not fit the scheme and fall back ({}{})", run.name,
                            run.fallbacks.size(), run.fallbacks.front(),
                            run.fallbacks.size() > 1 ? ", ..." : ""));
    }
    const NoiseFloor& floor = report_.result.noise_floor;
    paragraph(fmt::format(
        "noise floor (reference against itself, other batch shapes, {} tokens): KL {} mean, {} max "
        "per token; {:.2f} % flips",
        floor.tokens, short_number(floor.kl_per_token_mean), short_number(floor.kl_per_token_max),
        100 * floor.flip_rate));
    paragraph(fmt::format(
        "* worst language, by KL per {}; paired bootstrap over units, {} draws, seed {}",
        report_.corpus.parallel ? "parallel unit" : "byte", report_.result.draws,
        report_.result.seed));
  }

  const AuditReport& report_;
  const TableStyle& style_;
  const MetricColumn& column_;
  std::string text_;
};

}  // namespace

std::string to_table(const AuditReport& report, const TableStyle& style) {
  return Table(report, style).render();
}

}  // namespace isogloss
