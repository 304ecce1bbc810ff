// A sweep's sets and Shapley values as tables for people.
#include <algorithm>
#include <cmath>
#include <functional>

#include "isogloss/base/error.h"
#include "isogloss/report/sweep_impl.h"

namespace isogloss {
namespace {

constexpr size_t kPairsShown = 8;

void add_title(const std::string& title, TextLines& lines) {
  lines.line("");
  lines.paragraph(title, kBold);
}

// "", ", in nats per parallel unit".
std::string unit_of(const SetMeasure& measure, const SweepResult& result) {
  return measure.loss ? fmt::format(", in nats per {}", loss_denominator(result)) : std::string();
}

// Whether the interval of the lead over the second best excludes 0.
std::string lead_text(const BestSet& best) {
  if (best.runner_up.empty()) return "";
  const auto& lead = best.lead.value.estimate;
  return fmt::format("{} ahead of {}", lead && lead->lo > 0 ? "surely" : "not surely",
                     best.runner_up);
}

// The best set of each size by one objective.
void add_best(const SweepReport& report, const SetMeasure& measure, TextLines& lines) {
  std::vector<const BestSet*> best;
  std::vector<Measured> values;
  for (const BestSet& entry : report.result.subsets->best) {
    if (entry.objective != measure.name) continue;
    best.push_back(&entry);
    values.push_back(entry.set.*measure.value);
  }
  if (best.empty()) return;
  add_title(
      fmt::format("best layers to restore by {}{}", measure.title, unit_of(measure, report.result)),
      lines);
  ScaledColumn column = scaled_column(measure.loss ? "KL" : "D", values);
  Grid grid({{"size"}, {"+MiB"}, {"set", true}, {column.title}, {"the second best", true}});
  for (size_t i = 0; i < best.size(); ++i) {
    const BestSet& entry = *best[i];
    grid.add_row({fmt::format("{}", entry.size), mebibytes(entry.set.extra_bytes), entry.set.name,
                  std::move(column.cells[i]), lead_text(entry)});
  }
  grid.print(lines);
}

// What a value is of the sum of all; "" where there is no sum.
std::string share_text(const Effect& value, double sum) {
  if (!value.value.estimate || !(sum > 0)) return "";
  return fmt::format("{:.1f} %", 100 * value.value.estimate->value / sum);
}

double value_or_zero(const Effect& effect) {
  return effect.value.estimate ? effect.value.estimate->value : 0;
}

// The language that a player wins most back for, and how much.
std::string most_for(const ShapleyValues& shapley, size_t player,
                     const std::vector<std::string>& codes) {
  std::string code;
  double most = 0;
  for (size_t l = 0; l < shapley.values.size(); ++l) {
    const double value = value_or_zero(shapley.values[l][player]);
    if (value <= most) continue;
    most = value;
    code = codes[l];
  }
  return code;
}

void add_values(const SweepReport& report, const ShapleyValues& shapley, TextLines& lines) {
  const SweepResult& result = report.result;
  add_title(fmt::format("Shapley values: what restoring a layer wins back, over all orders; KL in "
                        "nats per {}, mean over languages, {:.0f} % intervals",
                        loss_denominator(result), 100 * kConfidence),
            lines);
  std::vector<size_t> order(shapley.players.size());
  for (size_t p = 0; p < order.size(); ++p) order[p] = p;
  std::ranges::stable_sort(order, std::greater<>(),
                           [&](size_t p) { return value_or_zero(shapley.mean[p]); });
  double sum = 0;
  std::vector<Measured> values;
  for (const size_t p : order) {
    sum += value_or_zero(shapley.mean[p]);
    values.push_back(shapley.mean[p].value);
  }
  ScaledColumn column = scaled_column("value", values);
  Grid grid({{"layer", true}, {column.title}, {"of the sum"}, {"most for", true}});
  for (size_t i = 0; i < std::min(order.size(), kRowsShown); ++i) {
    const size_t p = order[i];
    grid.add_row({shapley.players[p], std::move(column.cells[i]), share_text(shapley.mean[p], sum),
                  most_for(shapley, p, result.languages)});
  }
  grid.print(lines);
  if (order.size() > kRowsShown) {
    lines.line(
        fmt::format("... and {} more layers in the JSON and CSV", order.size() - kRowsShown));
  }
}

// A pair of layers in a language; "" for the mean over languages.
struct ShownPair {
  std::string language;
  const PairInteraction* pair = nullptr;
  const Effect* shown = nullptr;
};

// Those with the largest numbers, whichever their sign.
std::vector<ShownPair> largest_pairs(std::vector<ShownPair> pairs) {
  std::ranges::stable_sort(pairs, std::greater<>(), [](const ShownPair& pair) {
    return std::abs(value_or_zero(*pair.shown));
  });
  pairs.resize(std::min(pairs.size(), kPairsShown));
  return pairs;
}

void add_pairs(const SweepReport& report, const std::string& title, std::vector<ShownPair> pairs,
               TextLines& lines) {
  if (pairs.empty()) return;
  pairs = largest_pairs(std::move(pairs));
  add_title(title, lines);
  std::vector<Measured> values;
  for (const ShownPair& entry : pairs) values.push_back(entry.shown->value);
  ScaledColumn column = scaled_column("KL", values);
  Grid grid({{"layers", true}, {"language", true}, {column.title}, {"q"}});
  const SubsetsResult& subsets = *report.result.subsets;
  for (size_t i = 0; i < pairs.size(); ++i) {
    const PairInteraction& pair = *pairs[i].pair;
    grid.add_row({fmt::format("{}+{}", subsets.players[pair.first], subsets.players[pair.second]),
                  pairs[i].language.empty() ? "mean" : pairs[i].language,
                  std::move(column.cells[i]), short_number(pairs[i].shown->q_value, 2)});
  }
  grid.print(lines);
}

constexpr std::string_view kSignOfPairs =
    "above 0: together they win back more than the sum of both";

void add_interactions(const SweepReport& report, TextLines& lines) {
  const SubsetsResult& subsets = *report.result.subsets;
  std::vector<ShownPair> pairs;
  for (size_t l = 0; l < subsets.interactions.size(); ++l) {
    for (const PairInteraction& pair : subsets.interactions[l]) {
      pairs.push_back({report.result.languages[l], &pair, &pair.index});
    }
  }
  add_pairs(report,
            fmt::format("largest interactions of two layers (Shapley interaction index; {})",
                        kSignOfPairs),
            std::move(pairs), lines);
}

void add_contrasts(const SweepReport& report, TextLines& lines) {
  std::vector<ShownPair> pairs;
  for (const PairInteraction& pair : report.result.subsets->contrasts_at_none) {
    pairs.push_back({"", &pair, &pair.at_none});
  }
  add_pairs(report,
            fmt::format("largest contrasts of two layers, no other restored ({})", kSignOfPairs),
            std::move(pairs), lines);
}

// "97 % of 50"; "" where there is none to beat.
std::string beats_text(double percentile, size_t random_sets) {
  return random_sets == 0 ? "" : fmt::format("{:.0f} % of {}", 100 * percentile, random_sets);
}

}  // namespace

void add_subsets(const SweepReport& report, TextLines& lines) {
  if (!report.result.subsets) return;
  const SubsetsResult& subsets = *report.result.subsets;
  for (const SetMeasure& measure : kSetMeasures) add_best(report, measure, lines);
  if (subsets.shapley) {
    add_values(report, *subsets.shapley, lines);
    add_interactions(report, lines);
  } else {
    add_contrasts(report, lines);
  }
  lines.line("");
  lines.paragraph(
      fmt::format("{} sets of at most {} layers; surely: the interval of the lead "
                  "excludes 0",
                  subsets.sets, subsets.max_size));
  if (subsets.positions < 1) {
    lines.paragraph(
        fmt::format("searched on {} % of the positions; the best sets are measured on "
                    "all of them, everything else on that share",
                    short_number(100 * subsets.positions)));
  }
}

void add_shapley(const SweepReport& report, TextLines& lines) {
  if (!report.result.shapley) return;
  const SampledShapleyResult& sampled = *report.result.shapley;
  add_values(report, sampled.shapley, lines);
  lines.line("");
  lines.paragraph(fmt::format("{} permutations; {}", sampled.permutations,
                              sampled.precise ? "the tolerance was reached"
                                              : "the tolerance was NOT reached (--tolerance, "
                                                "--max-permutations)"));
}

void add_compared_sets(const SweepReport& report, TextLines& lines) {
  const auto& sets = report.result.sets;
  if (sets.empty()) return;
  add_title(fmt::format("restored sets; KL in nats per {}, {:.0f} % intervals",
                        loss_denominator(report.result), 100 * kConfidence),
            lines);
  std::vector<Measured> worst, mean;
  for (const ComparedSet& compared : sets) {
    worst.push_back(compared.set.worst_loss);
    mean.push_back(compared.set.mean_loss);
  }
  ScaledColumn of_worst = scaled_column("worst KL", worst),
               of_mean = scaled_column("mean KL", mean);
  Grid grid({{"set", true},
             {"+MiB"},
             {"worst", true},
             {of_worst.title},
             {"beats"},
             {of_mean.title},
             {"beats"}});
  bool any_random = false;
  for (size_t i = 0; i < sets.size(); ++i) {
    const ComparedSet& compared = sets[i];
    any_random = any_random || compared.random_sets > 0;
    grid.add_row({compared.set.name, mebibytes(compared.set.extra_bytes),
                  compared.set.worst_language, std::move(of_worst.cells[i]),
                  beats_text(compared.worst_loss_percentile, compared.random_sets),
                  std::move(of_mean.cells[i]),
                  beats_text(compared.mean_loss_percentile, compared.random_sets)});
  }
  grid.print(lines);
  if (!any_random) return;
  lines.line("");
  lines.paragraph(
      "beats: share of the random sets of the same bytes that lose more, ties counted "
      "half");
}

}  // namespace isogloss
