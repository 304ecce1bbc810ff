// A sweep as CSV.
#include <fmt/format.h>

#include <algorithm>

#include "isogloss/report/sweep_impl.h"

namespace isogloss {
namespace {

std::string interval_names(std::string_view name) {
  return fmt::format(",{0},{0}_lo,{0}_hi", name);
}

std::string effect_names(std::string_view name) {
  return interval_names(name) + fmt::format(",{0}_p,{0}_q", name);
}

// A truth; "" where there is none.
std::string_view truth(bool there, bool value) {
  return !there ? "" : value ? "true" : "false";
}

std::string matrix_header() {
  std::string line = "unit,language,intervention,tensors,extra_bytes";
  for (const CellMetric& metric : cell_metrics()) line += effect_names(metric.name);
  for (const KlQuantile& quantile : kKlQuantiles) line += fmt::format(",kl_{}", quantile.name);
  line += effect_names("share") + effect_names("interaction");
  line += ",rank,rank_lo,rank_hi,rank_first,signs_agree,critical";
  return line;
}

std::string matrix_row(const UnitResult& result, const std::string& code,
                       const UnitLanguage& language, const Intervention& intervention) {
  const SweepUnit& unit = result.unit;
  const CellEffect& cell = *(language.*intervention.cell);
  std::string line =
      fmt::format("{},{},{},{},{}", csv_text(unit.name), csv_text(code), intervention.name,
                  std::ranges::count(unit.tensors, true), unit.extra_bytes);
  for (const Effect& metric : cell.metrics) line += fmt::format(",{}", csv_effect(metric));
  for (const KlQuantile& quantile : kKlQuantiles) {
    line += fmt::format(",{}", csv_number(cell.kl_quantiles.*quantile.value));
  }
  line += fmt::format(",{},{}", csv_effect(cell.share), csv_effect(cell.interaction));
  const Rank& rank = cell.rank;
  line +=
      fmt::format(",{},{},{},{},{},{}", csv_number(rank.rank), csv_number(rank.lo),
                  csv_number(rank.hi), csv_number(rank.first_frequency),
                  truth(has_both(language), language.signs_agree), truth(true, language.critical));
  return line;
}

std::string matrix_csv(const InterventionMatrix& matrix, const std::vector<std::string>& codes) {
  std::string csv = matrix_header().append(kLineEnd);
  for (const UnitResult& unit : matrix.units) {
    for (size_t l = 0; l < unit.languages.size(); ++l) {
      for (const Intervention& intervention : kInterventions) {
        const UnitLanguage& language = unit.languages[l];
        if (!(language.*intervention.cell)) continue;
        csv += matrix_row(unit, codes[l], language, intervention).append(kLineEnd);
      }
    }
  }
  return csv;
}

// What the lines of best and of compared sets have in the middle.
std::string set_names() {
  std::string line = ",extra_bytes,language" + interval_names("loss") + ",worst_language";
  for (const SetMeasure& measure : kSetMeasures) line += interval_names(measure.name);
  return line;
}

// One line for each language, between `before` and `after`.
std::string set_lines(const SetResult& set, const std::vector<std::string>& codes,
                      const std::string& before, const std::string& after) {
  std::string measures;
  for (const SetMeasure& measure : kSetMeasures) {
    measures += fmt::format(",{}", csv_interval(set.*measure.value));
  }
  std::string lines;
  for (size_t l = 0; l < set.loss.size(); ++l) {
    lines += fmt::format("{},{},{},{},{}{}{}{}", before, set.extra_bytes, csv_text(codes[l]),
                         csv_interval(set.loss[l]), csv_text(set.worst_language), measures, after,
                         kLineEnd);
  }
  return lines;
}

std::string subsets_csv(const SubsetsResult& subsets, const std::vector<std::string>& codes) {
  std::string csv = "objective,size,set" + set_names() + ",runner_up" + effect_names("lead");
  csv += kLineEnd;
  for (const BestSet& best : subsets.best) {
    const std::string lead = best.runner_up.empty() ? ",,,," : csv_effect(best.lead);
    csv += set_lines(
        best.set, codes,
        fmt::format("{},{},{}", csv_text(best.objective), best.size, csv_text(best.set.name)),
        fmt::format(",{},{}", csv_text(best.runner_up), lead));
  }
  return csv;
}

std::string compared_sets_csv(const std::vector<ComparedSet>& sets,
                              const std::vector<std::string>& codes) {
  std::string csv = "set,random_for,size" + set_names() +
                    ",random_sets,worst_loss_percentile,mean_loss_percentile";
  csv += kLineEnd;
  const auto before = [](const SetResult& set, std::string_view random_for) {
    return fmt::format("{},{},{}", csv_text(set.name), csv_text(random_for), set.units.size());
  };
  for (const ComparedSet& compared : sets) {
    const bool any = compared.random_sets > 0;
    csv += set_lines(compared.set, codes, before(compared.set, ""),
                     fmt::format(",{},{},{}", compared.random_sets,
                                 any ? csv_number(compared.worst_loss_percentile) : "",
                                 any ? csv_number(compared.mean_loss_percentile) : ""));
    for (const SetResult& random : compared.random) {
      csv += set_lines(random, codes, before(random, compared.set.name), ",,,");
    }
  }
  return csv;
}

std::string shapley_csv(const ShapleyValues& shapley, const std::vector<std::string>& codes) {
  std::string csv = std::string("player,language,value,lo,hi,p,q").append(kLineEnd);
  for (size_t p = 0; p < shapley.players.size(); ++p) {
    const auto add = [&](const std::string& code, const Effect& value) {
      csv += fmt::format("{},{},{}{}", csv_text(shapley.players[p]), csv_text(code),
                         csv_effect(value), kLineEnd);
    };
    for (size_t l = 0; l < shapley.values.size(); ++l) add(codes[l], shapley.values[l][p]);
    add("mean", shapley.mean[p]);
  }
  return csv;
}

}  // namespace

std::string csv_effect(const Effect& effect) {
  const std::string interval = csv_interval(effect.value);
  if (!effect.value.estimate) return interval + ",,";
  return fmt::format("{},{},{}", interval, csv_number(effect.p_value), csv_number(effect.q_value));
}

std::string to_csv(const SweepReport& report) {
  const SweepResult& result = report.result;
  const auto& codes = result.languages;
  if (result.subsets) return subsets_csv(*result.subsets, codes);
  if (result.shapley) return shapley_csv(result.shapley->shapley, codes);
  if (!result.sets.empty()) return compared_sets_csv(result.sets, codes);
  if (result.patch) return patch_csv(*result.patch, codes);
  return matrix_csv(result.matrix.value_or(InterventionMatrix{}), codes);
}

}  // namespace isogloss
