// Measurements of configurations: made once, kept in a journal, shared by a team.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "isogloss/base/journal.h"
#include "isogloss/measure/kl_histogram.h"
#include "isogloss/measure/measure.h"
#include "isogloss/sweep/sweep.h"

namespace isogloss {

// Sums over the scored positions of one sequence, in nats; of a share of the positions, scaled up
// to all of them.
struct UnitScore {
  double nll = 0;
  double kl = 0;
  double flips = 0;

  bool operator==(const UnitScore&) const = default;
};

// What configurations do to every sequence of a corpus, in the order of all_sequences().
struct ScoreTable {
  std::vector<double> nll_reference;                   // [sequence]
  std::vector<std::vector<UnitScore>> configurations;  // [configuration][sequence]
  // [configuration][language], of the scored positions; empty unless it was asked for.
  std::vector<std::vector<KlHistogram>> kl_per_token;
};

// Of the languages of a corpus that there is something of.
using LanguageHistograms = std::map<size_t, KlHistogram>;

// For each: the language, how many numbers follow, KlHistogram::to_numbers(). nullopt for what is
// no such list.
std::vector<double> pack_histograms(const LanguageHistograms& histograms);
std::optional<LanguageHistograms> unpack_histograms(std::span<const double> numbers);

// What a task makes of a configuration on a slice.
struct SliceScores {
  std::vector<UnitScore> sequences;
  LanguageHistograms kl_per_token;  // may be empty
};

// What a journal has of earlier processes.
class Record {
 public:
  struct Phase {
    double positions = 1;
    std::vector<size_t> slices;                        // sequences of each
    std::map<size_t, std::vector<double>> references;  // [slice] -> nats, a sequence each
    std::map<std::pair<size_t, std::string>, SliceScores> scores;  // [slice, name]
    std::map<size_t, std::vector<double>> sums;                    // [slice], of measure_sums()
  };

  // Throws Error(kCorrupt) for an entry that contradicts earlier ones.
  void read(const JsonObject& entry);

  const NoiseFloor* noise_floor() const { return noise_floor_ ? &*noise_floor_ : nullptr; }
  const Phase* find_phase(const std::string& name) const;

 private:
  void read_phase(const JsonObject& entry);
  void read_scores(const JsonObject& entry, Phase& phase);
  void read_sums(const JsonObject& entry, Phase& phase);

  std::optional<NoiseFloor> noise_floor_;
  std::map<std::string, Phase> phases_;
};

// Entries as Record reads them.
nlohmann::json noise_floor_entry(const NoiseFloor& floor);
nlohmann::json phase_entry(const std::string& phase, double positions,
                           std::span<const size_t> slices);
nlohmann::json reference_entry(const std::string& phase, size_t slice,
                               std::span<const double> nll_reference);
nlohmann::json scores_entry(const std::string& phase, size_t slice,
                            const std::string& configuration, std::span<const UnitScore> scores,
                            const LanguageHistograms& kl_per_token);

nlohmann::json sums_entry(const std::string& phase, size_t slice, std::span<const double> sums);

struct RunDirectory::Impl {
  Record record;
  std::unique_ptr<Journal> journal;
};

enum class Histograms { kNone, kKlPerToken };

class Measurer {
 public:
  // `directory` may be nullptr. All outlive the measurer.
  Measurer(Engine& engine, const Variant& reference, const TokenizedCorpus& corpus,
           const SweepOptions& options, Team& team, RunDirectory* directory, Progress progress);

  // Rank 0 has it, the others nothing.
  NoiseFloor noise_floor();

  // Scores of all configurations, whose names differ, on a share of the positions. `phase` names
  // this call among the others of a sweep. What the record has is not measured again. Every rank
  // has the scores; histograms, which are kept on request, rank 0 alone.
  ScoreTable measure(const std::string& phase, std::span<const Configuration> configurations,
                     double positions, Histograms histograms = Histograms::kNone);

  // Other sums over the positions of sequences: `measure` gives `columns` finite numbers for each
  // sequence of a slice, holding `states` hidden states of a token. Rank 0 has the numbers of all
  // sequences, the others nothing.
  using MeasureSums =
      std::function<std::vector<double>(Engine& engine, std::span<const SequenceId> ids)>;
  std::vector<double> measure_sums(const std::string& phase, size_t states, size_t columns,
                                   const MeasureSums& measure);

 private:
  Engine& engine_;
  Variant reference_;
  const TokenizedCorpus& corpus_;
  const SweepOptions& options_;
  Team& team_;
  Journal* journal_ = nullptr;
  const Record* record_ = nullptr;
  Progress progress_;
};

}  // namespace isogloss
