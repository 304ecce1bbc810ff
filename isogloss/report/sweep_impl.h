// What a sweep's table, JSON and CSV share: the interventions, what sets are compared by, and
// names.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "isogloss/report/report_impl.h"

namespace isogloss {

struct Intervention {
  std::string_view name;   // in JSON and CSV
  std::string_view title;  // above the table
  std::optional<CellEffect> UnitLanguage::*cell;
  std::optional<SummaryEffect> UnitResult::*mean;
  std::optional<SummaryEffect> UnitResult::*worst;
  std::optional<DisparityEffects> UnitResult::*disparity;
};
inline constexpr Intervention kInterventions[] = {
    {"restore", "RESTORE", &UnitLanguage::restore, &UnitResult::restore_mean,
     &UnitResult::restore_worst, &UnitResult::restore_disparity},
    {"damage", "DAMAGE", &UnitLanguage::damage, &UnitResult::damage_mean, &UnitResult::damage_worst,
     &UnitResult::damage_disparity},
};

struct KlQuantile {
  std::string_view name;  // in JSON, and after "kl_" in CSV
  double KlQuantiles::*value;
};
inline constexpr KlQuantile kKlQuantiles[] = {{"median", &KlQuantiles::median},
                                              {"p99", &KlQuantiles::p99},
                                              {"p999", &KlQuantiles::p999},
                                              {"max", &KlQuantiles::max}};

// Only then do signs agree or disagree.
inline bool has_both(const UnitLanguage& language) {
  return language.restore && language.damage;
}
inline bool has_both(const UnitResult& unit) {
  return unit.restore_mean && unit.damage_mean;
}

// What sets are compared by.
struct SetMeasure {
  std::string_view name;   // in JSON and CSV, and of an objective
  std::string_view title;  // above the table
  bool loss = true;        // in nats
  Measured SetResult::*value = nullptr;
};
inline constexpr SetMeasure kSetMeasures[] = {
    {"worst_loss", "KL of the worst-off language", true, &SetResult::worst_loss},
    {"mean_loss", "mean KL over languages", true, &SetResult::mean_loss},
    {"seed_disparity", "seed's D, mean over languages but the reference", false,
     &SetResult::seed_disparity},
};

inline constexpr size_t kRowsShown = 40;  // of units; of tensors there can be hundreds

inline constexpr std::string_view kLineEnd = "\r\n";  // of CSV
std::string csv_effect(const Effect& effect);         // value,lo,hi,p,q
std::string patch_csv(const PatchResult& patch, const std::vector<std::string>& codes);

// Parts of the table; each begins with an empty line and its title.
void add_matrix(const SweepReport& report, TextLines& lines);
void add_subsets(const SweepReport& report, TextLines& lines);
void add_shapley(const SweepReport& report, TextLines& lines);
void add_compared_sets(const SweepReport& report, TextLines& lines);
void add_patch(const SweepReport& report, TextLines& lines);

// "parallel unit", "UTF-8 byte": what a loss is of.
std::string_view loss_denominator(const SweepResult& result);

// Intervals in at most `width` columns each, under one power of 1000, which the title names.
struct ScaledColumn {
  std::string title;
  std::vector<std::string> cells;
};
inline constexpr size_t kIntervalWidth = 24;
ScaledColumn scaled_column(std::string_view title, const std::vector<Measured>& values,
                           size_t width = kIntervalWidth);

}  // namespace isogloss
