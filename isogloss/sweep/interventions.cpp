// The unit x language matrix of RESTORE and DAMAGE.
#include <algorithm>
#include <cmath>

#include "isogloss/base/error.h"
#include "isogloss/sweep/cell_metrics_impl.h"

namespace isogloss {
namespace {

class Matrix {
 public:
  Matrix(const TokenizedCorpus& corpus, const ScoreTable& table, size_t quantized,
         const std::vector<SweepUnit>& units, std::span<const UnitConfigurations> places,
         const SweepOptions& options)
      : corpus_(corpus),
        table_(table),
        quantized_(quantized),
        places_(places),
        options_(options),
        languages_(corpus.languages.size()) {
    for (const SweepUnit& unit : units) {
      UnitResult& result = matrix_.units.emplace_back();
      result.unit = unit;
      result.languages.resize(languages_);
      for (UnitLanguage& language : result.languages) {
        if (has_restore()) language.restore.emplace();
        if (has_damage()) language.damage.emplace();
      }
    }
    gather_configurations();
  }

  InterventionMatrix run(Regime regime) {
    const ReferenceLosses references(corpus_, table_, configurations_, options_);
    restore_disparities_.assign(places_.size(), MeanSeedDisparity(references, languages_));
    damage_disparities_ = restore_disparities_;
    for (size_t l = 0; l < languages_; ++l) add_metrics(references, l);
    const auto count = static_cast<std::ptrdiff_t>(matrix_.units.size());
#pragma omp parallel for schedule(dynamic)
    for (std::ptrdiff_t u = 0; u < count; ++u) add_shares(static_cast<size_t>(u));
    add_ranks();
    adjust_all();
    for (UnitResult& unit : matrix_.units) conclude(unit, regime);
    return std::move(matrix_);
  }

 private:
  bool has_restore() const {
    return places_.front().restore != kNoConfiguration;
  }
  bool has_damage() const {
    return places_.front().damage != kNoConfiguration;
  }

  void gather_configurations();
  void add_metrics(const ReferenceLosses& references, size_t l);
  void add_shares(size_t u);
  void add_ranks();
  void adjust_all();
  void conclude(UnitResult& unit, Regime regime) const;

  const TokenizedCorpus& corpus_;
  const ScoreTable& table_;
  size_t quantized_;
  std::span<const UnitConfigurations> places_;
  const SweepOptions& options_;
  size_t languages_;
  std::vector<size_t> configurations_;     // places in the table; first, the quantized model's
  std::vector<UnitConfigurations> local_;  // by unit: places in configurations_
  std::vector<MeanSeedDisparity> restore_disparities_, damage_disparities_;  // by unit
  InterventionMatrix matrix_;
};

void Matrix::gather_configurations() {
  configurations_ = {quantized_};
  local_.resize(places_.size());
  for (size_t u = 0; u < places_.size(); ++u) {
    for (const auto member : {&UnitConfigurations::restore, &UnitConfigurations::damage}) {
      if (places_[u].*member == kNoConfiguration) continue;
      local_[u].*member = configurations_.size();
      configurations_.push_back(places_[u].*member);
    }
  }
}

void Matrix::add_metrics(const ReferenceLosses& references, size_t l) {
  const LanguageMetrics metrics(corpus_, table_, l, configurations_, references, options_);
  const auto count = static_cast<std::ptrdiff_t>(local_.size());
#pragma omp parallel for schedule(dynamic)
  for (std::ptrdiff_t i = 0; i < count; ++i) {
    const auto u = static_cast<size_t>(i);
    UnitLanguage& cell = matrix_.units[u].languages[l];
    const auto fill = [&](CellEffect& effect, Change change, MeanSeedDisparity& disparity) {
      effect.metrics = metrics.effects(change);
      effect.kl_quantiles = table_.kl_per_token[configurations_[change.to]][l].quantiles();
      disparity.add(l, metrics, change);
    };
    if (cell.restore) fill(*cell.restore, {0, local_[u].restore}, restore_disparities_[u]);
    if (cell.damage) {
      fill(*cell.damage, {kNoConfiguration, local_[u].damage}, damage_disparities_[u]);
    }
  }
}

// An intervention's effects on the losses of all languages, of the sample or of a draw.
struct LossEffects {
  std::vector<double> shares, interactions;  // by language
  double mean = 0, worst = 0, gap = 0;       // in nats
  double gini = 0;
};

// `before` and `after` are losses by language; `whole` those of the quantized model.
LossEffects loss_effects(std::span<const double> before, std::span<const double> after,
                         std::span<const double> whole) {
  LossEffects effects;
  for (size_t l = 0; l < whole.size(); ++l) {
    effects.shares.push_back((before[l] - after[l]) / whole[l]);
  }
  const double mean = mean_of(effects.shares);
  for (const double share : effects.shares) effects.interactions.push_back(share - mean);
  effects.mean = mean_of(before) - mean_of(after);
  effects.worst = largest_of(before) - largest_of(after);
  effects.gap = gap_of(before) - gap_of(after);
  effects.gini = gini(before) - gini(after);
  return effects;
}

// Draws of LossEffects, number by number.
class EffectDraws {
 public:
  explicit EffectDraws(size_t languages) : shares_(languages), interactions_(languages) {}

  void add(const LossEffects& effects) {
    for (size_t l = 0; l < shares_.size(); ++l) {
      shares_[l].push_back(effects.shares[l]);
      interactions_[l].push_back(effects.interactions[l]);
    }
    mean_.push_back(effects.mean);
    worst_.push_back(effects.worst);
    gap_.push_back(effects.gap);
    gini_.push_back(effects.gini);
  }

  void finish(const LossEffects& sample, std::optional<CellEffect> UnitLanguage::*cell,
              std::optional<SummaryEffect>& mean, std::optional<SummaryEffect>& worst,
              std::optional<DisparityEffects>& disparity, UnitResult& unit) {
    for (size_t l = 0; l < shares_.size(); ++l) {
      CellEffect& effect = *(unit.languages[l].*cell);
      effect.share = effect_of(sample.shares[l], std::move(shares_[l]));
      effect.interaction = effect_of(sample.interactions[l], std::move(interactions_[l]));
    }
    mean = SummaryEffect{effect_of(sample.mean, std::move(mean_)), {}};
    worst = SummaryEffect{effect_of(sample.worst, std::move(worst_)), {}};
    disparity.emplace();
    disparity->gap = effect_of(sample.gap, std::move(gap_));
    disparity->gini = effect_of(sample.gini, std::move(gini_));
  }

 private:
  std::vector<std::vector<double>> shares_, interactions_;
  std::vector<double> mean_, worst_, gap_, gini_;
};

void Matrix::add_shares(size_t u) {
  const auto configurations = {quantized_, places_[u].restore, places_[u].damage};
  std::vector<size_t> there;
  std::ranges::copy_if(configurations, std::back_inserter(there),
                       [](size_t place) { return place != kNoConfiguration; });
  LossStream stream(corpus_, table_, there, options_.seed);
  const std::vector<double> nothing(languages_);
  const auto of = [&](std::span<const double> losses, size_t place) {
    return losses.subspan(place * languages_, languages_);
  };
  const auto restored = [&](std::span<const double> losses) {
    return loss_effects(of(losses, 0), of(losses, 1), of(losses, 0));
  };
  const auto damaged = [&](std::span<const double> losses) {
    return loss_effects(of(losses, there.size() - 1), nothing, of(losses, 0));
  };
  EffectDraws restore(languages_), damage(languages_);
  stream.next(options_.draws, [&](std::span<const double> losses) {
    if (has_restore()) restore.add(restored(losses));
    if (has_damage()) damage.add(damaged(losses));
  });
  UnitResult& unit = matrix_.units[u];
  if (has_restore()) {
    restore.finish(restored(stream.sample()), &UnitLanguage::restore, unit.restore_mean,
                   unit.restore_worst, unit.restore_disparity, unit);
    unit.restore_disparity->seed_disparity = restore_disparities_[u].effect(0);
  }
  if (has_damage()) {
    damage.finish(damaged(stream.sample()), &UnitLanguage::damage, unit.damage_mean,
                  unit.damage_worst, unit.damage_disparity, unit);
    unit.damage_disparity->seed_disparity = damage_disparities_[u].effect(1);
  }
}

// Something that units are ranked by: the loss of a language, their mean, or the largest.
using Objective = std::function<double(std::span<const double> losses)>;

std::vector<Objective> rank_objectives(size_t languages) {
  std::vector<Objective> objectives;
  for (size_t l = 0; l < languages; ++l) {
    objectives.emplace_back([l](std::span<const double> losses) { return losses[l]; });
  }
  objectives.emplace_back([](std::span<const double> losses) { return mean_of(losses); });
  objectives.emplace_back([](std::span<const double> losses) { return largest_of(losses); });
  return objectives;
}

void Matrix::add_ranks() {
  const auto objectives = rank_objectives(languages_);
  const size_t units = matrix_.units.size();
  const auto rank_all = [&](size_t UnitConfigurations::*member, double sign, const auto& place_of) {
    std::vector<size_t> configurations;
    for (const UnitConfigurations& place : places_) configurations.push_back(place.*member);
    LossStream stream(corpus_, table_, configurations, options_.seed);
    std::vector<RankCounter> counters(objectives.size(), RankCounter(units));
    std::vector<double> values(units);
    // Restoring helps the more the smaller the loss that is left.
    const auto fill = [&](std::span<const double> losses, const Objective& objective) {
      for (size_t u = 0; u < units; ++u) {
        values[u] = sign * objective(losses.subspan(u * languages_, languages_));
      }
    };
    stream.next(options_.draws, [&](std::span<const double> losses) {
      for (size_t o = 0; o < objectives.size(); ++o) {
        fill(losses, objectives[o]);
        counters[o].add(values);
      }
    });
    for (size_t o = 0; o < objectives.size(); ++o) {
      fill(stream.sample(), objectives[o]);
      const auto sample_ranks = ranks(values);
      for (size_t u = 0; u < units; ++u) {
        const auto [lo, hi] = counters[o].interval(u);
        place_of(matrix_.units[u], o) = {sample_ranks[u], lo, hi, counters[o].first_share(u)};
      }
    }
  };
  if (has_restore()) {
    rank_all(&UnitConfigurations::restore, -1, [&](UnitResult& unit, size_t o) -> Rank& {
      if (o < languages_) return unit.languages[o].restore->rank;
      return o == languages_ ? unit.restore_mean->rank : unit.restore_worst->rank;
    });
  }
  if (has_damage()) {
    rank_all(&UnitConfigurations::damage, 1, [&](UnitResult& unit, size_t o) -> Rank& {
      if (o < languages_) return unit.languages[o].damage->rank;
      return o == languages_ ? unit.damage_mean->rank : unit.damage_worst->rank;
    });
  }
}

// One family for each kind of number: over units and languages, or over units.
void Matrix::adjust_all() {
  const auto over_cells = [&](std::optional<CellEffect> UnitLanguage::*member, const auto& get) {
    std::vector<Effect*> family;
    for (UnitResult& unit : matrix_.units) {
      for (UnitLanguage& language : unit.languages) family.push_back(&get(*(language.*member)));
    }
    adjust(family);
  };
  const auto over_units = [&](const auto& get) {
    std::vector<Effect*> family;
    for (UnitResult& unit : matrix_.units) family.push_back(&get(unit));
    adjust(family);
  };
  const auto summaries = [&](std::optional<SummaryEffect> UnitResult::*mean,
                             std::optional<SummaryEffect> UnitResult::*worst,
                             std::optional<DisparityEffects> UnitResult::*disparity) {
    over_units([=](UnitResult& unit) -> Effect& { return (unit.*mean)->effect; });
    over_units([=](UnitResult& unit) -> Effect& { return (unit.*worst)->effect; });
    for (const auto member :
         {&DisparityEffects::gap, &DisparityEffects::gini, &DisparityEffects::seed_disparity}) {
      over_units([=](UnitResult& unit) -> Effect& { return *(unit.*disparity).*member; });
    }
  };
  const auto all_of = [&](std::optional<CellEffect> UnitLanguage::*member) {
    for (size_t m = 0; m < cell_metrics().size(); ++m) {
      over_cells(member, [m](CellEffect& cell) -> Effect& { return cell.metrics[m]; });
    }
    over_cells(member, [](CellEffect& cell) -> Effect& { return cell.share; });
    over_cells(member, [](CellEffect& cell) -> Effect& { return cell.interaction; });
  };
  if (has_restore()) {
    all_of(&UnitLanguage::restore);
    summaries(&UnitResult::restore_mean, &UnitResult::restore_worst,
              &UnitResult::restore_disparity);
  }
  if (has_damage()) {
    all_of(&UnitLanguage::damage);
    summaries(&UnitResult::damage_mean, &UnitResult::damage_worst, &UnitResult::damage_disparity);
  }
}

void Matrix::conclude(UnitResult& unit, Regime regime) const {
  const auto kl = static_cast<size_t>(loss_metric(corpus_.parallel));
  double most = 0;
  size_t agreeing = 0;
  for (size_t l = 0; l < languages_; ++l) {
    UnitLanguage& language = unit.languages[l];
    const CellEffect& shown = language.damage ? *language.damage : *language.restore;
    const Measured& loss = shown.metrics[kl].value;
    if (loss.estimate && loss.estimate->value > most) {
      most = loss.estimate->value;
      unit.worst_language = corpus_.languages[l].code;
    }
    if (!language.restore || !language.damage) continue;
    const Measured& restore = language.restore->interaction.value;
    const Measured& damage = language.damage->interaction.value;
    if (!restore.estimate || !damage.estimate) continue;
    language.signs_agree = restore.estimate->value * damage.estimate->value > 0;
    agreeing += language.signs_agree ? 1 : 0;
    language.critical = language.signs_agree && regime == Regime::kNormal &&
                        language.restore->interaction.q_value < kFalseDiscoveryRate;
  }
  unit.sign_agreement = static_cast<double>(agreeing) / static_cast<double>(languages_);
}

}  // namespace

InterventionMatrix analyse_interventions(const TokenizedCorpus& corpus, const ScoreTable& table,
                                         size_t quantized, const std::vector<SweepUnit>& units,
                                         std::span<const UnitConfigurations> places,
                                         const Baseline& baseline, const SweepOptions& options) {
  ISOGLOSS_ASSERT(!units.empty() && units.size() == places.size());
  return Matrix(corpus, table, quantized, units, places, options).run(baseline.regime);
}

}  // namespace isogloss
