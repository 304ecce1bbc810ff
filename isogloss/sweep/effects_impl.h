// What all analyses of a sweep share: sums of several configurations side by side, their losses
// draw by draw, and effects with tests.
#pragma once

#include <array>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "isogloss/sweep/measurer_impl.h"
#include "isogloss/sweep/sweep.h"

namespace isogloss {

// The seed of a language's draws: languages of a parallel corpus draw the same units.
uint64_t draw_seed(const TokenizedCorpus& corpus, uint64_t seed, size_t language);

// Where a language's sequences begin in a table.
size_t first_sequence(const TokenizedCorpus& corpus, size_t language);

// Sums of one language over its units, for some configurations of a table.
class LanguageSums {
 public:
  LanguageSums(const TokenizedCorpus& corpus, const ScoreTable& table, size_t language,
               std::span<const size_t> configurations);

  const UnitSums& sums() const { return sums_; }
  // The columns of one of the configurations, by its place among them, from a row of totals.
  std::array<double, kColumns> of(std::span<const double> row, size_t place) const;

 private:
  static constexpr size_t kShared = 4;  // units, tokens, bytes, the reference's nats
  static constexpr size_t kOwn = 3;     // nats, KL, flips
  UnitSums sums_;
};

// Sums over the units of a sample, by column.
std::vector<double> column_totals(const UnitSums& sums);

// Losses of some configurations in every language, KL per unit (per byte when not parallel): of the
// sample, then of draws.
class LossStream {
 public:
  LossStream(const TokenizedCorpus& corpus, const ScoreTable& table,
             std::span<const size_t> configurations, uint64_t seed);

  // [configuration][language], row-major.
  const std::vector<double>& sample() const { return sample_; }
  // The same of the next draws, one after the other.
  using Visit = std::function<void(std::span<const double> losses)>;
  void next(size_t draws, const Visit& visit);

 private:
  size_t configurations_;
  std::vector<double> sample_;
  std::vector<BootstrapStream> streams_;  // by language; column 0 is what losses are divided by
};

inline const std::string kNothingToDivideBy = "UNDEFINED: nothing to divide by";

// Percentile interval and test of a value whose draws are there; draws that are not finite are
// undefined, and too many of them leave only a status.
Effect effect_of(double value, std::vector<double> draws, double value_under_null = 0,
                 const std::string& status = kNothingToDivideBy);
Measured measured_of(double value, std::vector<double> draws,
                     const std::string& status = kNothingToDivideBy);

// Replaces the q-values of a family of effects by Benjamini & Hochberg's.
void adjust(std::span<Effect* const> family);

double mean_of(std::span<const double> values);
double largest_of(std::span<const double> values);
double gap_of(std::span<const double> values);  // largest minus smallest

// Effects of interventions on units. In the table stand the quantized model, then for each unit
// everything quantized but it, then nothing but it; a mode that lacks one has kNoConfiguration
// in its place.
inline constexpr size_t kNoConfiguration = static_cast<size_t>(-1);
struct UnitConfigurations {
  size_t restore = kNoConfiguration;
  size_t damage = kNoConfiguration;
};
InterventionMatrix analyse_interventions(const TokenizedCorpus& corpus, const ScoreTable& table,
                                         size_t quantized, const std::vector<SweepUnit>& units,
                                         std::span<const UnitConfigurations> places,
                                         const Baseline& baseline, const SweepOptions& options);

// The quantized model by itself; its `size` is left to the caller.
Baseline analyse_baseline(const TokenizedCorpus& corpus, const ScoreTable& table, size_t quantized,
                          size_t vocab_size, const SweepOptions& options);

}  // namespace isogloss
