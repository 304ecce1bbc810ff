// A quantized model as a table.
#include <algorithm>
#include <map>

#include "isogloss/report/quantize_report.h"
#include "isogloss/report/report_impl.h"

namespace isogloss {
namespace {

std::string shape_text(const TensorView& view) {
  return view.rows == 1 ? fmt::format("{}", view.cols)
                        : fmt::format("{} x {}", view.rows, view.cols);
}

double bits_each(uint64_t bytes, uint64_t numbers) {
  return 8 * static_cast<double>(bytes) / static_cast<double>(numbers);
}

void add_tensors(const QuantizeReport& report, TextLines& lines) {
  Grid grid({{"tensor", true}, {"shape", true}, {"type", true}, {"bytes"}, {"bits"}});
  for (const PlannedTensor& planned : report.plan.tensors) {
    const TensorView& view = report.tensors_of->tensors()[planned.tensor];
    grid.add_row({view.name, shape_text(view), planned.type, fmt::format("{}", planned.size_bytes),
                  fmt::format("{:.2f}", bits_each(planned.size_bytes, view.count()))});
  }
  grid.print(lines);
}

void add_types(const QuantizeReport& report, TextLines& lines) {
  struct Sum {
    size_t tensors = 0;
    uint64_t bytes = 0, numbers = 0;
  };
  std::map<std::string, Sum> types;
  for (const PlannedTensor& planned : report.plan.tensors) {
    Sum& sum = types[planned.type];
    ++sum.tensors;
    sum.bytes += planned.size_bytes;
    sum.numbers += report.tensors_of->tensors()[planned.tensor].count();
  }
  Grid grid({{"type", true}, {"tensors"}, {"MiB"}, {"bits"}});
  for (const auto& [type, sum] : types) {
    grid.add_row({type, fmt::format("{}", sum.tensors), mebibytes(sum.bytes),
                  fmt::format("{:.2f}", bits_each(sum.bytes, sum.numbers))});
  }
  grid.print(lines);
}

// The same change of many tensors is one line.
void add_fallbacks(const QuantizeReport& report, TextLines& lines) {
  std::map<std::string, std::vector<std::string>> changes;
  for (const Fallback& fallback : report.fallbacks) {
    const TensorView& view = report.tensors_of->tensors()[fallback.tensor];
    const auto planned =
        std::ranges::find(report.plan.tensors, fallback.tensor, &PlannedTensor::tensor);
    changes[fmt::format("{} does not fit rows of {} numbers; {} bytes as {} instead",
                        to_string(fallback.wanted), view.cols, planned->size_bytes,
                        to_string(fallback.used))]
        .push_back(view.name);
  }
  for (const auto& [change, names] : changes) {
    const std::string others =
        names.size() == 1 ? "" : fmt::format(" and {} more", names.size() - 1);
    lines.paragraph(fmt::format("note: {}{}: {}", names.front(), others, change));
  }
}

void add_notes(const QuantizeReport& report, TextLines& lines) {
  std::map<std::string, std::vector<size_t>> tensors;
  for (const QuantizeNote& note : report.notes) tensors[note.text].push_back(note.tensor);
  for (const auto& [text, of] : tensors) {
    const std::string others = of.size() == 1 ? "" : fmt::format(" and {} more", of.size() - 1);
    lines.paragraph(
        fmt::format("note: {}{}: {}", report.tensors_of->tensors()[of.front()].name, others, text));
  }
}

// Rounds first .. last.
void add_rounds(const QuantizeReport& report, size_t first, size_t last, TextLines& lines) {
  std::vector<Grid::Column> columns = {{"language", true}};
  for (size_t r = first; r < last; ++r) {
    columns.push_back({fmt::format("weight {}", r + 1)});
    columns.push_back({fmt::format("loss {}", r + 1)});
  }
  Grid grid(std::move(columns));
  const auto& languages = report.calibration->corpus.languages;
  for (size_t l = 0; l < languages.size(); ++l) {
    std::vector<std::string> cells = {languages[l]};
    for (size_t r = first; r < last; ++r) {
      cells.push_back(fmt::format("{:.3f}", report.rounds[r].weights[l]));
      cells.push_back(short_number(report.rounds[r].losses[l]));
    }
    grid.add_row(std::move(cells));
  }
  grid.print(lines);
}

void add_rounds(const QuantizeReport& report, TextLines& lines) {
  constexpr size_t kRoundsAbreast = 4;
  for (size_t first = 0; first < report.rounds.size(); first += kRoundsAbreast) {
    add_rounds(report, first, std::min(first + kRoundsAbreast, report.rounds.size()), lines);
  }
  lines.paragraph(fmt::format("round {} is written: its worst-off language loses least",
                              report.chosen_round + 1));
}

void add_calibration(const QuantizeReport& report, TextLines& lines) {
  const CalibrationFacts& facts = *report.calibration;
  std::string weights;
  for (size_t l = 0; l < facts.weights.size(); ++l) {
    weights +=
        fmt::format("{}{} {:.3f}", l == 0 ? "" : ", ", facts.corpus.languages[l], facts.weights[l]);
  }
  lines.paragraph(fmt::format("calibration: {}, {} tokens; weights {}", facts.corpus.name,
                              facts.tokens, weights));
  if (!report.rounds.empty()) add_rounds(report, lines);
}

}  // namespace

std::string to_table(const QuantizeReport& report, bool color) {
  TextLines lines(color);
  add_model(report.model, lines);
  if (report.dry_run) {
    add_tensors(report, lines);
  } else {
    add_types(report, lines);
  }
  add_fallbacks(report, lines);
  add_notes(report, lines);
  if (report.calibration) add_calibration(report, lines);
  lines.paragraph(
      fmt::format("{}{}: {} bytes, {:.2f} bits per weight ({})",
                  report.dry_run ? "would write " : "wrote ", report.output, report.plan.file_bytes,
                  report.plan.bits_per_weight, to_string(report.format)),
      kBold);
  return lines.take();
}

}  // namespace isogloss
