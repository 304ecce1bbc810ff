// Sets of units that are restored together, and the modes that search them.
#pragma once

#include <deque>
#include <string>
#include <unordered_map>
#include <vector>

#include "isogloss/sweep/effects_impl.h"

namespace isogloss {

// Configurations of one model, made as they are asked for. Holds the assignments they point to.
class ConfigurationBuilder {
 public:
  ConfigurationBuilder(const Model& model, Assignment quantized)
      : model_(model), quantized_(std::move(quantized)) {}

  const Model& model() const { return model_; }
  const Assignment& quantized() const { return quantized_; }

  Configuration everything();                                      // "quantized"
  Configuration restore(std::span<const SweepUnit* const> units);  // "restore:L0+L3"
  Configuration damage(const SweepUnit& unit);                     // "damage:L0"

 private:
  Configuration make(std::string name, const TensorSet& quantized_set);

  const Model& model_;
  Assignment quantized_;
  std::deque<Assignment> assignments_;
};

// "L0+L3"; "nothing" for none.
std::string join_names(std::span<const SweepUnit* const> units);

// The tensors of all of them.
TensorSet union_of(size_t tensors, std::span<const SweepUnit* const> units);

// Bytes by which a file grows when the units are restored; they may overlap.
uint64_t extra_bytes_of(const Model& model, const Assignment& quantized,
                        std::span<const SweepUnit* const> units);

// What sets are compared by: the smaller, the better.
enum class SetObjective { kWorstLoss, kMeanLoss, kSeedDisparity };
inline constexpr SetObjective kSetObjectives[] = {SetObjective::kWorstLoss, SetObjective::kMeanLoss,
                                                  SetObjective::kSeedDisparity};
std::string_view to_string(SetObjective objective);

// Sets of a table, by their places: of the sample and of draws.
class SetLosses {
 public:
  SetLosses(const TokenizedCorpus& corpus, const ScoreTable& table,
            std::span<const size_t> configurations, const SweepOptions& options);

  // By an objective, of the sample; NaN where it is undefined.
  double value(size_t place, SetObjective objective) const;

  // Everything but name, units and bytes.
  SetResult describe(size_t place) const;
  // How much larger the objective of `other` is.
  Effect lead(size_t place, size_t other, SetObjective objective) const;

 private:
  double objective_of(std::span<const double> losses, std::span<const double> degradations,
                      SetObjective objective) const;
  std::vector<double> objective_draws(size_t place, SetObjective objective) const;

  const TokenizedCorpus& corpus_;
  size_t languages_;
  size_t draws_;
  size_t reference_;  // language that the seed's disparity is relative to, or none
  // [place][draw][language], the sample in place of draw 0; losses, and growth of perplexity in %.
  std::vector<std::vector<double>> losses_, degradations_;
};

// The set at `place`, whose units are given.
SetResult describe_set(const SetLosses& losses, size_t place, const ConfigurationBuilder& builder,
                       std::span<const SweepUnit* const> units);

// Objectives of every configuration of a table, of the sample alone: [objective][configuration].
std::vector<std::vector<double>> sample_objectives(const TokenizedCorpus& corpus,
                                                   const ScoreTable& table,
                                                   const SweepOptions& options);

SubsetsResult sweep_subsets(Measurer& measurer, ConfigurationBuilder& builder,
                            const std::vector<SweepUnit>& layers, const TokenizedCorpus& corpus,
                            const SweepRequest& request, const SweepOptions& options);

SampledShapleyResult sweep_shapley(Measurer& measurer, ConfigurationBuilder& builder,
                                   const std::vector<SweepUnit>& layers,
                                   const TokenizedCorpus& corpus, const SweepRequest& request,
                                   const SweepOptions& options);

// The sets of a request with their random ones, known before anything was measured.
struct PlannedSets {
  struct Entry {
    SweepUnit given;
    std::vector<std::vector<const SweepUnit*>> random;
    size_t different = 0;        // that there are, as far as was looked
    std::vector<size_t> places;  // of configurations: the given set, then the random ones
  };
  std::vector<Entry> entries;
  std::vector<Configuration> configurations;  // each once
};

// Random sets consist of `units`, which outlive the plan. Throws Error(kBadArgument) for a set that
// names no units, or none that are quantized.
PlannedSets plan_sets(ConfigurationBuilder& builder, const std::vector<SweepUnit>& units,
                      const SweepRequest& request, const SweepOptions& options);

std::vector<ComparedSet> sweep_sets(Measurer& measurer, ConfigurationBuilder& builder,
                                    const std::vector<SweepUnit>& units,
                                    const TokenizedCorpus& corpus, const SweepRequest& request,
                                    const SweepOptions& options);

std::vector<Configuration> patch_configurations(ConfigurationBuilder& builder,
                                                const Variant& reference);
PatchResult sweep_patch(Measurer& measurer, ConfigurationBuilder& builder, const Variant& reference,
                        const TokenizedCorpus& corpus, const SweepOptions& options);

// Every subset of so many layers, as masks, of at most `max_size`; by size, then by mask.
std::vector<uint32_t> subset_masks(size_t layers, size_t max_size);

}  // namespace isogloss
