// Activation patching: hidden states of one model written over the other's.
#include <algorithm>
#include <cmath>

#include "isogloss/base/error.h"
#include "isogloss/sweep/gains_impl.h"
#include "isogloss/sweep/sets_impl.h"

namespace isogloss {
namespace {

// Configurations, and the places of those that are wanted.
struct PatchPlan {
  std::vector<Configuration> configurations;
  size_t whole = 0;
  std::vector<size_t> restored, damaged;  // by block
  std::vector<size_t> alone, direct;      // by block
  std::vector<Mediation> pairs;
  std::vector<size_t> mediated;  // by pair

  size_t add(Configuration configuration) {
    configurations.push_back(std::move(configuration));
    return configurations.size() - 1;
  }
};

// DAMAGE of a block: by itself, through each later block, and past all of them.
void add_mediations(size_t block, size_t layers, ConfigurationBuilder& builder, PatchPlan& plan) {
  const Configuration alone =
      builder.damage(make_unit(builder.model(), builder.quantized(), fmt::format("L{}", block)));
  plan.alone.push_back(plan.add(alone));
  Configuration direct = alone;
  direct.name += " directly";
  for (size_t later = block + 1; later < layers; ++later) {
    Configuration through = alone;
    through.name += fmt::format(" without L{}", later);
    through.frozen_blocks = {later};
    plan.pairs.push_back({block, later, {}});
    plan.mediated.push_back(plan.add(std::move(through)));
    direct.frozen_blocks.push_back(later);
  }
  plan.direct.push_back(plan.add(std::move(direct)));
}

PatchPlan plan_patches(ConfigurationBuilder& builder, const Variant& reference) {
  PatchPlan plan;
  plan.whole = plan.add(builder.everything());
  const Variant quantized = plan.configurations[plan.whole].variant;
  const size_t layers = builder.model().config().layers;
  for (size_t b = 0; b < layers; ++b) {
    plan.restored.push_back(
        plan.add({fmt::format("reference up to L{}", b), quantized, {}, b + 1, reference}));
    plan.damaged.push_back(
        plan.add({fmt::format("quantized up to L{}", b), reference, {}, b + 1, quantized}));
  }
  for (size_t b = 0; b < layers; ++b) add_mediations(b, layers, builder, plan);
  return plan;
}

class Patch {
 public:
  Patch(Measurer& measurer, ConfigurationBuilder& builder, const Variant& reference,
        const TokenizedCorpus& corpus, const SweepOptions& options)
      : measurer_(measurer),
        reference_(reference),
        corpus_(corpus),
        options_(options),
        layers_(builder.model().config().layers),
        plan_(plan_patches(builder, reference)) {}

  PatchResult run() {
    const Variant quantized = plan_.configurations[plan_.whole].variant;
    const auto gains = measurer_.measure_sums("gains", kGainStates, layers_ * gain_columns(),
                                              [&](Engine& engine, std::span<const SequenceId> ids) {
                                                return measure_gains(engine, reference_, quantized,
                                                                     corpus_, ids, options_);
                                              });
    table_ = measurer_.measure("patches", plan_.configurations, 1);
    PatchResult result;
    if (gains.empty()) return result;  // rank 0 has them
    result.covariates = covariate_names();
    result.blocks.resize(layers_);
    for (size_t b = 0; b < layers_; ++b) result.blocks[b].name = fmt::format("L{}", b);
    analyse_gains(corpus_, gains, options_, result.blocks);
    add_shares(result);
    return result;
  }

 private:
  // A loss relative to another's.
  struct Ratio {
    size_t of = 0, to = 0;    // configurations
    bool complement = false;  // 1 minus it
    std::vector<Effect>* target = nullptr;
  };

  void add_shares(PatchResult& result) const;
  void fill(const Ratio& ratio) const;

  Measurer& measurer_;
  Variant reference_;
  const TokenizedCorpus& corpus_;
  const SweepOptions& options_;
  size_t layers_;
  PatchPlan plan_;
  ScoreTable table_;
};

void Patch::fill(const Ratio& ratio) const {
  const std::vector<size_t> both = {ratio.of, ratio.to};
  LossStream stream(corpus_, table_, both, options_.seed);
  const size_t languages = corpus_.languages.size();
  const auto value = [&](std::span<const double> losses, size_t l) {
    const double share = losses[l] / losses[languages + l];
    return ratio.complement ? 1 - share : share;
  };
  std::vector<std::vector<double>> draws(languages);
  stream.next(options_.draws, [&](std::span<const double> losses) {
    for (size_t l = 0; l < languages; ++l) draws[l].push_back(value(losses, l));
  });
  for (size_t l = 0; l < languages; ++l) {
    ratio.target->push_back(effect_of(value(stream.sample(), l), std::move(draws[l])));
  }
}

void Patch::add_shares(PatchResult& result) const {
  result.mediations = plan_.pairs;
  result.direct.resize(layers_);
  std::vector<std::vector<Ratio>> families(4);
  for (size_t b = 0; b < layers_; ++b) {
    PatchedBlock& block = result.blocks[b];
    families[0].push_back({plan_.restored[b], plan_.whole, true, &block.restored});
    families[1].push_back({plan_.damaged[b], plan_.whole, false, &block.damaged});
    families[2].push_back({plan_.direct[b], plan_.alone[b], false, &result.direct[b]});
  }
  for (size_t p = 0; p < plan_.mediated.size(); ++p) {
    Mediation& pair = result.mediations[p];
    families[3].push_back({plan_.mediated[p], plan_.alone[pair.block], true, &pair.share});
  }
  for (auto& family : families) {
    const auto count = static_cast<std::ptrdiff_t>(family.size());
#pragma omp parallel for schedule(dynamic)
    for (std::ptrdiff_t i = 0; i < count; ++i) fill(family[static_cast<size_t>(i)]);
    std::vector<Effect*> effects;
    for (const Ratio& ratio : family) {
      for (Effect& effect : *ratio.target) effects.push_back(&effect);
    }
    adjust(effects);
  }
}

}  // namespace

std::vector<Configuration> patch_configurations(ConfigurationBuilder& builder,
                                                const Variant& reference) {
  return plan_patches(builder, reference).configurations;
}

PatchResult sweep_patch(Measurer& measurer, ConfigurationBuilder& builder, const Variant& reference,
                        const TokenizedCorpus& corpus, const SweepOptions& options) {
  return Patch(measurer, builder, reference, corpus, options).run();
}

}  // namespace isogloss
