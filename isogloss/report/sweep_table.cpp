// A sweep as a table for people: what is swept, the matrix of interventions, how it was computed.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "isogloss/base/error.h"
#include "isogloss/report/sweep_impl.h"

namespace isogloss {
namespace {

constexpr size_t kEffectWidth = 20;  // two of them, beside names of tensors

// By what rows are ordered: the effect on the worst-off language.
const std::optional<SummaryEffect>& ordering_effect(const UnitResult& unit) {
  return unit.damage_worst ? unit.damage_worst : unit.restore_worst;
}

double value_or(const Effect& effect, double otherwise) {
  const auto& estimate = effect.value.estimate;
  return estimate && std::isfinite(estimate->value) ? estimate->value : otherwise;
}

// A tensor's without ".weight", which unit sets do not need either.
std::string short_name(const UnitResult& unit) {
  constexpr std::string_view kSuffix = ".weight";
  std::string name = unit.unit.name;
  if (name.ends_with(kSuffix)) name.resize(name.size() - kSuffix.size());
  return name;
}

class MatrixTable {
 public:
  MatrixTable(const SweepResult& result, TextLines& lines) : result_(result), lines_(lines) {
    for (const UnitResult& unit : result_.matrix->units) units_.push_back(&unit);
    std::ranges::stable_sort(units_, std::greater<>(), [](const UnitResult* unit) {
      constexpr double kLeast = -std::numeric_limits<double>::infinity();
      const auto& effect = ordering_effect(*unit);
      return effect ? value_or(effect->effect, kLeast) : kLeast;
    });
  }

  void add() {
    if (units_.empty()) return;
    lines_.line("");
    lines_.line(fmt::format("KL divergence in nats per {}, mean over languages, {:.0f} % intervals",
                            loss_denominator(result_), 100 * kConfidence),
                kBold);
    grid().print(lines_);
    if (units_.size() > kRowsShown) {
      lines_.line(
          fmt::format("... and {} more units in the JSON and CSV", units_.size() - kRowsShown));
    }
    lines_.line("");
    critical_units();
    worsening_units();
    lines_.line("");
    legend();
  }

 private:
  using Row = std::vector<std::string>;

  bool has_damage() const { return units_.front()->damage_mean.has_value(); }
  bool has_restore() const { return units_.front()->restore_mean.has_value(); }
  std::span<const UnitResult* const> shown() const {
    return std::span(units_).first(std::min(units_.size(), kRowsShown));
  }

  Grid grid() const {
    std::vector<Grid::Column> columns = {{"unit", true}, {"+MiB"}};
    std::vector<Row> rows;
    for (const UnitResult* unit : shown()) {
      rows.push_back({short_name(*unit), mebibytes(unit->unit.extra_bytes)});
    }
    for (const Intervention& intervention : kInterventions) {
      if (units_.front()->*intervention.mean) add_effects(intervention, columns, rows);
    }
    columns.insert(columns.end(), {{"rank"}, {"first"}, {"worst", true}});
    if (has_both(*units_.front())) columns.push_back({"signs"});
    columns.push_back({"", true});
    Grid grid(std::move(columns));
    for (size_t u = 0; u < rows.size(); ++u) {
      const UnitResult& unit = *units_[u];
      const Rank& rank = ordering_effect(unit)->rank;
      rows[u].push_back(fmt::format("{:.3g} ({:.3g}-{:.3g})", rank.rank, rank.lo, rank.hi));
      rows[u].push_back(fmt::format("{:.0f} %", 100 * rank.first_frequency));
      rows[u].push_back(unit.worst_language);
      if (has_both(unit)) rows[u].push_back(signs_text(unit));
      const bool critical = is_critical(unit);
      rows[u].emplace_back(critical ? "*" : "");
      grid.add_row(std::move(rows[u]), critical ? kMarked : "");
    }
    return grid;
  }

  void add_effects(const Intervention& intervention, std::vector<Grid::Column>& columns,
                   std::vector<Row>& rows) const {
    std::vector<Measured> values;
    for (const UnitResult* unit : shown()) {
      values.push_back((unit->*intervention.mean)->effect.value);
    }
    ScaledColumn column = scaled_column(intervention.title, values, kEffectWidth);
    columns.push_back({std::move(column.title)});
    for (size_t u = 0; u < rows.size(); ++u) rows[u].push_back(std::move(column.cells[u]));
  }

  static std::string signs_text(const UnitResult& unit) {
    return fmt::format("{}/{}",
                       std::ranges::count(unit.languages, true, &UnitLanguage::signs_agree),
                       unit.languages.size());
  }

  static bool is_critical(const UnitResult& unit) {
    return std::ranges::any_of(unit.languages, &UnitLanguage::critical);
  }

  void legend() {
    if (has_restore()) {
      lines_.paragraph(
          "RESTORE: won back where everything is quantized but the unit, which grows "
          "the file by +MiB");
    }
    if (has_damage()) lines_.paragraph("DAMAGE: lost where nothing is quantized but the unit");
    lines_.paragraph(fmt::format(
        "rank: by {} of the worst-off language, with its interval; first: share of the draws in "
        "which the unit is; worst: the language that the unit {} most{}",
        has_damage() ? "DAMAGE" : "RESTORE", has_damage() ? "hurts" : "helps",
        has_both(*units_.front())
            ? "; signs: languages whose interactions agree in sign between RESTORE and DAMAGE"
            : ""));
  }

  // " hi ar": the languages of a unit that a predicate picks.
  template <typename Predicate>
  std::string codes_of(const UnitResult& unit, Predicate predicate) const {
    std::string codes;
    for (size_t l = 0; l < unit.languages.size(); ++l) {
      if (predicate(unit.languages[l])) codes += " " + result_.languages[l];
    }
    return codes;
  }

  // A line for each unit with something to say, up to kRowsShown.
  void list(const std::string& title, const std::vector<std::string>& findings) {
    lines_.paragraph(title);
    for (size_t i = 0; i < std::min(findings.size(), kRowsShown); ++i) {
      lines_.paragraph("    " + findings[i]);
    }
    if (findings.size() > kRowsShown) {
      lines_.line(fmt::format("    ... and {} more units in the JSON and CSV",
                              findings.size() - kRowsShown));
    }
  }

  void critical_units() {
    const Regime regime = result_.baseline.regime;
    if (regime != Regime::kNormal) {
      lines_.paragraph(
          fmt::format("language-critical units: none is named, for the quantized model is {}",
                      to_string(regime)));
      return;
    }
    if (!has_both(*units_.front())) {
      lines_.paragraph(
          "language-critical units: it takes RESTORE and DAMAGE to tell (--mode both)");
      return;
    }
    std::vector<std::string> findings;
    for (const UnitResult* unit : units_) {
      const auto codes_where = [&](bool more) {
        return codes_of(*unit, [more](const UnitLanguage& language) {
          return language.critical && (value_or(language.restore->interaction, 0) > 0) == more;
        });
      };
      const std::string more = codes_where(true), less = codes_where(false);
      if (more.empty() && less.empty()) continue;
      findings.push_back(fmt::format("{}:{}{}{}", short_name(*unit), more,
                                     less.empty()   ? ""
                                     : more.empty() ? " less for"
                                                    : "; less for",
                                     less));
    }
    const std::string meaning = fmt::format(
        "(share of the loss won back unlike the mean over languages, q < {}; DAMAGE agrees in "
        "sign)",
        kFalseDiscoveryRate);
    if (findings.empty()) {
      lines_.paragraph(fmt::format("language-critical units: none {}", meaning));
    } else {
      list(fmt::format("* language-critical units {}:", meaning), findings);
    }
  }

  // Units that a language is better off without being restored.
  void worsening_units() {
    if (!has_restore()) return;
    const auto metric = static_cast<size_t>(loss_metric(result_.parallel));
    std::vector<std::string> findings;
    for (const UnitResult* unit : units_) {
      const std::string codes = codes_of(*unit, [&](const UnitLanguage& language) {
        const Effect& effect = language.restore->metrics[metric];
        return value_or(effect, 0) < 0 && effect.q_value < kFalseDiscoveryRate;
      });
      if (!codes.empty()) findings.push_back(short_name(*unit) + ":" + codes);
    }
    const std::string title = "units whose restoration makes a language worse";
    if (findings.empty()) {
      lines_.paragraph(fmt::format("{}: none (q < {})", title, kFalseDiscoveryRate));
    } else {
      list(fmt::format("{} (q < {}):", title, kFalseDiscoveryRate), findings);
    }
  }

  const SweepResult& result_;
  TextLines& lines_;
  std::vector<const UnitResult*> units_;  // as rows are ordered
};

// " x 80 parallel units"; "" where languages have different ones.
std::string units_text(const SweepResult& result) {
  if (!result.parallel || result.units.empty()) return "";
  return fmt::format(" x {} parallel units", result.units.front());
}

void add_head(const SweepReport& report, TextLines& lines) {
  const SweepResult& result = report.result;
  add_model(report.model, lines);
  lines.paragraph(fmt::format("{}: {} languages{}, {}", corpus_title(report.corpus),
                              result.languages.size(), units_text(result),
                              report.settings.compute));
  const std::string include = fmt::format("{}", fmt::join(report.settings.include, ", "));
  lines.paragraph(fmt::format("{}, mode {}, unit {}{}{}", report.scheme, report.mode, report.unit,
                              include.empty() ? "" : fmt::format("; quantized also: {}", include),
                              report.protect.empty() || report.protect == "none"
                                  ? ""
                                  : fmt::format("; protected: {}", report.protect)));
  const Baseline& baseline = result.baseline;
  std::string worst = "no language loses anything";
  const auto place = std::ranges::find(result.languages, baseline.worst_language);
  if (place != result.languages.end()) {
    const auto& metrics = baseline.languages[static_cast<size_t>(place - result.languages.begin())];
    worst = fmt::format(
        "worst language {}, KL {} nats per {}", baseline.worst_language,
        interval_text(metrics[static_cast<size_t>(loss_metric(result.parallel))], kLineWidth),
        loss_denominator(result));
  }
  lines.paragraph(fmt::format("quantized model: {}, {} MiB, {:.2f} bits per weight; {}",
                              to_string(baseline.regime), mebibytes(baseline.size.size_bytes),
                              baseline.size.bits_per_weight, worst));
  if (baseline.regime == Regime::kNormal) return;
  lines.paragraph(fmt::format("The quantized model is {}: no claim is made about where in the "
                              "model the loss comes from (docs/sweep.md)",
                              to_string(baseline.regime)),
                  kMarked);
}

void add_foot(const SweepResult& result, TextLines& lines) {
  lines.line("");
  add_noise_floor(result.noise_floor, lines);
  lines.paragraph(fmt::format(
      "paired bootstrap over units, {} draws, so that no p-value is below "
      "{}; seed {}",
      result.draws, short_number(2.0 / static_cast<double>(result.draws + 1), 2), result.seed));
  lines.paragraph(fmt::format("planned {} half-block evaluations, naive {}", result.half_blocks,
                              result.naive_half_blocks));
}

}  // namespace

std::string_view loss_denominator(const SweepResult& result) {
  return result.parallel ? "parallel unit" : "UTF-8 byte";
}

ScaledColumn scaled_column(std::string_view title, const std::vector<Measured>& values,
                           size_t width) {
  const double scale = column_scale(values);
  const std::string suffix = scale_text(scale);
  ScaledColumn column{fmt::format("{}{}{}", title, suffix.empty() ? "" : " ", suffix), {}};
  for (const Measured& value : values) {
    column.cells.push_back(interval_text(value, width, scale));
  }
  return column;
}

void add_matrix(const SweepReport& report, TextLines& lines) {
  if (report.result.matrix) MatrixTable(report.result, lines).add();
}

std::string to_table(const SweepReport& report, bool color) {
  TextLines lines(color);
  add_head(report, lines);
  for (const auto add : {add_matrix, add_subsets, add_shapley, add_compared_sets, add_patch}) {
    add(report, lines);
  }
  add_foot(report.result, lines);
  return lines.take();
}

}  // namespace isogloss
