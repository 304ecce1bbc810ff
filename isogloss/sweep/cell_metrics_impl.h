// Metrics of one language in several configurations, with their bootstrap.
#pragma once

#include <span>
#include <vector>

#include "isogloss/sweep/effects_impl.h"

namespace isogloss {

// A number of the sample, then of each draw; NaN where it is undefined.
using Series = std::vector<double>;

// From one configuration to another, or from the reference, which loses nothing, to one: places
// among the configurations measured.
struct Change {
  size_t from = kNoConfiguration, to = 0;
};

// What languages are compared with: the loss of the reference language, or of the geometric mean of
// all.
class ReferenceLosses {
 public:
  ReferenceLosses(const TokenizedCorpus& corpus, const ScoreTable& table,
                  std::span<const size_t> configurations, const SweepOptions& options);

  // By place of a configuration. ln of excess nats; percent growth of perplexity, as the published
  // study has it.
  const Series& log_excess(size_t place) const { return log_excess_[place]; }
  const Series& degradation(size_t place) const { return degradation_[place]; }
  // Why there is no comparison where there is none.
  const std::string& rho_status() const { return rho_status_; }
  const std::string& seed_status() const { return seed_status_; }
  // Of the reference language; the number of languages where it is the mean.
  size_t place() const { return place_; }

 private:
  std::vector<Series> log_excess_, degradation_;
  std::string rho_status_, seed_status_;
  size_t place_ = 0;
};

// One language. `configurations` are places in the table, `references` are of the same ones.
class LanguageMetrics {
 public:
  LanguageMetrics(const TokenizedCorpus& corpus, const ScoreTable& table, size_t language,
                  std::span<const size_t> configurations, const ReferenceLosses& references,
                  const SweepOptions& options);

  // In the order of cell_metrics(); not adjusted for their number.
  MetricEffects effects(Change change) const;

  // What the change does to the study's disparity of this language.
  Series seed_disparity_change(Change change) const;

  // Of one configuration.
  std::array<double, kColumns> totals(size_t place) const;

 private:
  Effect ratio_effect(RatioMetric metric, Change change) const;
  template <typename Value>
  Series change_of(Change change, const Value& value) const;

  LanguageSums language_;
  BootstrapTotals bootstrap_;
  std::vector<double> sample_;
  const ReferenceLosses& references_;
};

// The study's disparity, its mean over the languages other than the reference.
class MeanSeedDisparity {
 public:
  MeanSeedDisparity(const ReferenceLosses& references, size_t languages);

  // What a change does to a language; each is added once.
  void add(size_t language, const LanguageMetrics& metrics, Change change);

  // Not adjusted. All languages have to be added.
  Effect effect(double value_under_null) const;

 private:
  const ReferenceLosses* references_;
  size_t others_;
  Series sum_;
};

double reference_perplexity(std::span<const double> totals);

}  // namespace isogloss
