// How tables are written.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "isogloss/base/error.h"
#include "isogloss/report/report_impl.h"

namespace isogloss {

std::string in_style(bool on, std::string_view style, const std::string& text) {
  return on && !style.empty() ? fmt::format("{}{}\x1b[0m", style, text) : text;
}

std::string short_number(double value, int digits) {
  const double size = std::abs(value);
  if (size == 0) return "0";
  if ((size < 1e-3 && digits > 1) || size >= 1e5) return fmt::format("{:.1e}", value);
  const int places = digits - 1 - static_cast<int>(std::floor(std::log10(size)));
  return fmt::format("{:.{}f}", value, std::clamp(places, 0, digits + 1));
}

std::string interval_text(const Measured& measured, size_t width, double scale) {
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

double column_scale(std::span<const Measured> column) {
  double most = 0;
  for (const auto& measured : column) {
    if (measured.estimate) most = std::max(most, std::abs(measured.estimate->value));
  }
  double scale = 1;
  while (most > 0 && most < 0.1 * scale && scale > 1e-9) scale /= 1000;
  while (most >= 1e4 * scale && scale < 1e9) scale *= 1000;
  return scale;
}

std::string scale_text(double scale) {
  return scale == 1 ? std::string() : fmt::format("x {:.0e}", scale);
}

size_t character_start(std::string_view text, size_t place) {
  while (place > 0 && (static_cast<unsigned char>(text[place]) & 0xC0) == 0x80) --place;
  return place;
}

std::string shortened(const std::string& text, size_t width) {
  if (text.size() <= width) return text;
  return text.substr(0, character_start(text, width - 1)) + "~";
}

std::string mebibytes(uint64_t bytes) {
  return fmt::format("{:.2f}", static_cast<double>(bytes) / (1 << 20));
}

void TextLines::line(std::string text, std::string_view style) {
  text.erase(text.find_last_not_of(' ') + 1);
  text_ += in_style(color_, style, text) + "\n";
}

void TextLines::paragraph(std::string text, std::string_view style) {
  constexpr std::string_view kIndent = "    ";
  while (text.size() > kLineWidth) {
    const size_t space = text.rfind(' ', kLineWidth);
    const bool found = space != text.npos && space >= kIndent.size();
    const size_t end = found ? space : character_start(text, kLineWidth);
    line(text.substr(0, end), style);
    text = std::string(kIndent) + text.substr(found ? end + 1 : end);
  }
  line(text, style);
}

void add_model(const ModelFacts& model, TextLines& lines) {
  lines.paragraph(fmt::format("{}: {} layers, {:.1f} M parameters, {:.2f} bits per weight",
                              model.name, model.layers, static_cast<double>(model.parameters) / 1e6,
                              model.bits_per_weight));
  if (model.quantized_blocks.empty()) return;
  lines.paragraph(fmt::format("note: the reference's blocks are quantized already ({})",
                              model.quantized_blocks));
}

std::string corpus_title(const AuditReport::CorpusFacts& corpus) {
  return corpus.part == "all" ? corpus.name : fmt::format("{} (part {})", corpus.name, corpus.part);
}

void add_noise_floor(const NoiseFloor& floor, TextLines& lines) {
  lines.paragraph(fmt::format(
      "noise floor (reference against itself, other batch shapes, {} tokens): KL {} mean, {} max "
      "per token; {:.2f} % flips",
      floor.tokens, short_number(floor.kl_per_token_mean), short_number(floor.kl_per_token_max),
      100 * floor.flip_rate));
}

void Grid::add_row(std::vector<std::string> cells, std::string_view style) {
  ISOGLOSS_ASSERT(cells.size() == columns_.size());
  rows_.push_back({std::move(cells), style});
}

std::vector<size_t> Grid::widths(size_t gap) const {
  std::vector<size_t> widths;
  for (size_t c = 0; c < columns_.size(); ++c) {
    size_t width = columns_[c].title.size();
    for (const Row& row : rows_) width = std::max(width, row.cells[c].size());
    widths.push_back(width + (c == 0 ? 0 : gap));
  }
  return widths;
}

void Grid::print(TextLines& lines) const {
  const auto sum = [](const auto& widths) {
    return std::accumulate(widths.begin(), widths.end(), size_t{0});
  };
  size_t gap = 3;
  while (gap > 1 && sum(widths(gap)) > kLineWidth) --gap;
  std::vector<size_t> widths = this->widths(gap);
  while (sum(widths) > kLineWidth) {
    size_t* widest = nullptr;
    for (size_t c = 0; c < columns_.size(); ++c) {
      if (columns_[c].text && (!widest || widths[c] > *widest)) widest = &widths[c];
    }
    if (!widest || *widest <= gap + 1) break;
    --*widest;
  }
  const auto print_row = [&](const std::vector<std::string>& cells, std::string_view style) {
    std::string text;
    for (size_t c = 0; c < cells.size(); ++c) {
      const size_t before = c == 0 ? 0 : gap;
      const size_t width = widths[c] - before;
      text += std::string(before, ' ');
      text += columns_[c].text ? fmt::format("{:<{}}", shortened(cells[c], width), width)
                               : fmt::format("{:>{}}", cells[c], width);
    }
    lines.line(text, style);
  };
  std::vector<std::string> titles;
  for (const Column& column : columns_) titles.push_back(column.title);
  print_row(titles, "");
  for (const Row& row : rows_) print_row(row.cells, row.style);
}

}  // namespace isogloss
