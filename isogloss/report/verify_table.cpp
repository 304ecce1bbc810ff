// A verification as a table.
#include <algorithm>

#include "isogloss/measure/metrics.h"
#include "isogloss/report/report_impl.h"
#include "isogloss/report/verify_report.h"

namespace isogloss {
namespace {

constexpr size_t kIntervalWidth = 18;  // so that a row is at most 98 wide

const Measured& kl(const FileLoss& loss) {
  return loss.metric(RatioMetric::kKlPerToken);
}

// One scale for all that is KL, since columns are compared with each other.
double kl_scale(const VerifyResult& result) {
  std::vector<Measured> values;
  for (const LanguageVerification& found : result.languages) {
    values.push_back(kl(found.predicted));
    values.push_back(kl(found.runtime));
  }
  return column_scale(values);
}

std::string value_text(const Measured& measured, double scale) {
  if (!measured.estimate) return interval_text(measured, kIntervalWidth);
  return short_number(measured.estimate->value / scale);
}

void add_languages(const VerifyResult& result, double scale, TextLines& lines) {
  const bool exact = std::ranges::any_of(
      result.languages, [](const LanguageVerification& l) { return l.exact.has_value(); });
  std::vector<Grid::Column> columns = {{"", true},       {"tokens"}, {"PPL"}, {"file"},    {"run"},
                                       {"KL predicted"}, {"KL run"}, {"own"}, {"rounding"}};
  if (exact) columns.push_back({"exact"});
  columns.push_back({"ok"});
  Grid grid(std::move(columns));
  for (const LanguageVerification& found : result.languages) {
    std::vector<std::string> cells = {found.code,
                                      fmt::format("{}", found.tokens),
                                      short_number(found.ppl_reference, 4),
                                      short_number(found.predicted.ppl, 4),
                                      short_number(found.runtime.ppl, 4),
                                      interval_text(kl(found.predicted), kIntervalWidth, scale),
                                      interval_text(kl(found.runtime), kIntervalWidth, scale),
                                      value_text(found.runtime.kl_of_runtime, scale),
                                      value_text(found.runtime.kl_of_rounding, scale)};
    if (exact) cells.push_back(found.exact ? value_text(found.exact->kl_of_runtime, scale) : "");
    cells.emplace_back(found.agrees() ? "yes" : "NO");
    grid.add_row(std::move(cells), found.agrees() ? "" : kMarked);
  }
  grid.print(lines);
}

void add_verdict(const VerifyResult& result, TextLines& lines) {
  std::vector<std::string> others;
  for (const LanguageVerification& found : result.languages) {
    if (found.agrees()) continue;
    others.push_back(found.code);
    lines.paragraph(fmt::format("{}: {}", found.code, found.disagreement), kMarked);
  }
  lines.paragraph(others.empty() ? "The runtime computes what was predicted, in every language."
                                 : fmt::format("The runtime does not compute what was predicted, "
                                               "in {} of {} languages.",
                                               others.size(), result.languages.size()),
                  kBold);
}

void add_legend(const VerifyReport& report, TextLines& lines) {
  lines.paragraph(
      "PPL: of the reference, of the file as isogloss predicts it, of the file as it runs; own: KL "
      "from the file as predicted to the file as it runs; rounding: KL from it to isogloss with "
      "the "
      "runtime's rounding; exact: as own, where the runtime computes in F32");
  add_noise_floor(report.result.noise_floor, lines);
  lines.paragraph(fmt::format("paired bootstrap over units, {} draws, seed {}", report.result.draws,
                              report.result.seed));
}

}  // namespace

std::string to_table(const VerifyReport& report, bool color) {
  const VerifyResult& result = report.result;
  TextLines lines(color);
  const ModelFacts& written = report.written;
  lines.paragraph(fmt::format("{}: {:.2f} bits per weight{}", written.path, written.bits_per_weight,
                              written.quantized_blocks.empty()
                                  ? ""
                                  : fmt::format(", blocks {}", written.quantized_blocks)));
  lines.paragraph(fmt::format("runtime: {}", result.runtime));
  lines.paragraph(fmt::format("against {}", report.reference.path));
  add_model(report.reference, lines);
  const size_t units = result.languages.front().units;
  lines.paragraph(fmt::format("{}: {} languages{}", corpus_title(report.corpus),
                              result.languages.size(),
                              result.parallel ? fmt::format(" x {} parallel units", units) : ""));
  lines.line("");
  const double scale = kl_scale(result);
  lines.line(fmt::format("KL divergence in nats per token{}{}, {:.0f} % intervals",
                         scale == 1 ? "" : " ", scale_text(scale), 100 * kConfidence),
             kBold);
  add_languages(result, scale, lines);
  lines.line("");
  add_verdict(result, lines);
  add_legend(report, lines);
  return lines.take();
}

}  // namespace isogloss
