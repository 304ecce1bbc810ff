#include "isogloss/sweep/sweep.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "isogloss/base/error.h"
#include "isogloss/sweep/game_impl.h"
#include "isogloss/sweep/sets_impl.h"

namespace isogloss {
namespace {

bool is_matrix(SweepMode mode) {
  return mode == SweepMode::kRestore || mode == SweepMode::kDamage || mode == SweepMode::kBoth;
}

bool is_search(SweepMode mode) {
  return mode == SweepMode::kSubsets || mode == SweepMode::kShapley;
}

Assignment quantized_model(const Model& model, const SweepRequest& request) {
  Assignment quantized = assign(model, request.quantize);
  if (quantized.schemes == unchanged(model).schemes) {
    fail(ErrorCode::kBadArgument,
         "scheme {} quantizes nothing of this model, so that there is nothing to restore",
         to_string(request.quantize.scheme));
  }
  return quantized;
}

// Layers as players; those that are quantized.
std::vector<SweepUnit> layer_units(const Model& model, const Assignment& quantized) {
  auto units = sweep_units(model, quantized, UnitKind::kLayer);
  std::erase_if(units, [](const SweepUnit& unit) { return !unit.name.starts_with('L'); });
  return units;
}

// The quantized model, then what each unit is measured in.
struct MatrixPlan {
  std::vector<SweepUnit> units;
  std::vector<Configuration> configurations;
  std::vector<UnitConfigurations> places;
};

MatrixPlan plan_matrix(const SweepRequest& request, ConfigurationBuilder& builder) {
  MatrixPlan plan;
  plan.units = sweep_units(builder.model(), builder.quantized(), request.unit);
  plan.configurations.push_back(builder.everything());
  const auto add = [&](Configuration configuration) {
    plan.configurations.push_back(std::move(configuration));
    return plan.configurations.size() - 1;
  };
  for (const SweepUnit& unit : plan.units) {
    UnitConfigurations& places = plan.places.emplace_back();
    const SweepUnit* one = &unit;
    if (request.mode != SweepMode::kDamage) {
      places.restore = add(builder.restore(std::span(&one, 1)));
    }
    if (request.mode != SweepMode::kRestore) places.damage = add(builder.damage(unit));
  }
  return plan;
}

void check_subsets(const std::vector<SweepUnit>& layers, const SweepRequest& request) {
  if (request.mode != SweepMode::kSubsets || layers.size() <= kMostExactPlayers) return;
  fail(ErrorCode::kBadArgument,
       "--mode subsets: {} layers have 2^{} subsets; at most {} layers can be swept so. --mode "
       "shapley samples them",
       layers.size(), layers.size(), kMostExactPlayers);
}

void check_request(const SweepRequest& request, const SweepOptions& options) {
  if (request.mode == SweepMode::kSets && request.sets.empty()) {
    fail(ErrorCode::kBadArgument, "--mode sets: no set; name one with --set L0+L11");
  }
  if (request.mode != SweepMode::kSets && !request.sets.empty()) {
    fail(ErrorCode::kBadArgument, "--set {}: is measured in --mode sets, not in --mode {}",
         request.sets.front(), to_string(request.mode));
  }
  if (!(options.search_positions > 0 && options.search_positions <= 1)) {
    fail(ErrorCode::kBadArgument, "--search-positions {}: expected a share above 0, at most 1",
         options.search_positions);
  }
  if (!(request.tolerance >= 0)) {
    fail(ErrorCode::kBadArgument, "--tolerance {}: expected a share of the loss, at least 0",
         request.tolerance);
  }
}

// Every configuration that is known before anything was measured.
std::vector<Configuration> first_configurations(const SweepRequest& request,
                                                const SweepOptions& options,
                                                const Variant& reference,
                                                ConfigurationBuilder& builder) {
  if (request.mode == SweepMode::kPatch) return patch_configurations(builder, reference);
  if (is_matrix(request.mode)) return plan_matrix(request, builder).configurations;
  const auto layers = layer_units(builder.model(), builder.quantized());
  check_subsets(layers, request);
  std::vector<Configuration> configurations;
  const auto add = [&](const auto& has) {
    std::vector<const SweepUnit*> units;
    for (size_t i = 0; i < layers.size(); ++i) {
      if (has(i)) units.push_back(&layers[i]);
    }
    configurations.push_back(builder.restore(units));
  };
  if (request.mode == SweepMode::kSubsets) {
    for (const uint32_t mask : subset_masks(layers.size(), request.max_size)) {
      add([mask](size_t i) { return (mask >> i & 1) != 0; });
    }
  }
  if (request.mode == SweepMode::kShapley) {
    std::set<std::set<size_t>> seen;  // orders share sets
    for (const auto& order : draw_permutations(layers.size(), request.max_permutations,
                                               options.seed, /*first_pair=*/0)) {
      for (size_t length = 0; length <= order.size(); ++length) {
        const auto end = order.begin() + static_cast<std::ptrdiff_t>(length);
        const std::set<size_t> restored(order.begin(), end);
        if (seen.insert(restored).second) add([&](size_t i) { return restored.contains(i); });
      }
    }
  }
  if (request.mode == SweepMode::kSets) {
    configurations.push_back(builder.everything());
    const auto units = sweep_units(builder.model(), builder.quantized(), request.unit);
    for (Configuration& set : plan_sets(builder, units, request, options).configurations) {
      configurations.push_back(std::move(set));
    }
  }
  return configurations;
}

}  // namespace

SweepPlan plan_sweep(const Model& model, const TokenizedCorpus& corpus, const SweepRequest& request,
                     const SweepOptions& options) {
  check_request(request, options);
  ConfigurationBuilder builder(model, quantized_model(model, request));
  const Assignment stored = unchanged(model);
  const Variant reference{&model, &stored};
  const auto configurations = first_configurations(request, options, reference, builder);
  ScoringOptions scoring = options;
  if (is_search(request.mode)) scoring.positions = options.search_positions;
  const ScoringPlan planned = plan_scoring(reference, configurations, scoring);
  const ScoringPlan plain = plan_scoring(reference, std::span(configurations).first(1), options);
  const auto ids = all_sequences(corpus);
  const double noise = noise_floor_work(reference, corpus);
  SweepPlan plan;
  plan.units = is_matrix(request.mode)
                   ? sweep_units(model, builder.quantized(), request.unit).size()
                   : layer_units(model, builder.quantized()).size();
  plan.configurations = configurations.size();
  plan.half_blocks = planned.half_blocks;
  plan.naive_half_blocks = planned.naive_half_blocks;
  plan.multiply_adds = noise + scoring_work(planned, corpus, ids, scoring);
  plan.naive_multiply_adds = static_cast<double>(configurations.size()) *
                             (noise + scoring_work(plain, corpus, ids, options));
  const auto slices = cut_slices(corpus, ids, model, planned, scoring);
  plan.slices = slices.size();
  size_t most = 0;
  for (const auto slice : slices) {
    size_t tokens = 0;
    for (const SequenceId id : slice) tokens += get_sequence(corpus, id).tokens.size();
    most = std::max(most, tokens);
  }
  plan.hidden_bytes = most * planned.states * model.config().width * sizeof(float);
  return plan;
}

double measure_speed(Engine& engine, const Model& model, const TokenizedCorpus& corpus,
                     const ScoringOptions& options) {
  constexpr size_t kMostTokens = 1024;
  const auto ids = all_sequences(corpus);
  size_t count = 0;
  for (size_t tokens = 0; count < ids.size() && tokens < kMostTokens; ++count) {
    tokens += get_sequence(corpus, ids[count]).tokens.size();
  }
  const Assignment stored = unchanged(model);
  const Variant reference{&model, &stored};
  const Configuration configuration{"reference", reference};
  const ScoreSink sink{[](size_t, SequenceId, const TokenScore&) {}, {}};
  double speed = 0;
  for (int run = 0; run < 2; ++run) {  // the first decodes weights
    Meter meter(1, {});
    const auto start = std::chrono::steady_clock::now();
    score_slice(engine, reference, std::span(&configuration, 1), corpus,
                std::span(ids).first(count), options, meter, sink);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    speed = meter.done() / seconds.count();
  }
  return speed;
}

SweepResult sweep(Engine& engine, const Model& model, const TokenizedCorpus& corpus,
                  const SweepRequest& request, const SweepOptions& options, Team& team,
                  RunDirectory* directory, const Progress& progress) {
  check_request(request, options);
  ConfigurationBuilder builder(model, quantized_model(model, request));
  const Assignment stored = unchanged(model);
  const Variant reference{&model, &stored};
  Measurer measurer(engine, reference, corpus, options, team, directory, progress);
  SweepResult result;
  const SweepPlan plan = plan_sweep(model, corpus, request, options);
  result.half_blocks = plan.half_blocks;
  result.naive_half_blocks = plan.naive_half_blocks;
  result.reference_language = options.reference_language;
  result.parallel = corpus.parallel;
  result.seed = options.seed;
  result.draws = options.draws;
  for (const auto& language : corpus.languages) {
    result.languages.push_back(language.code);
    result.units.push_back(language.sequences.size());
  }
  result.noise_floor = measurer.noise_floor();
  const size_t vocab_size = model.config().vocab_size;
  if (is_matrix(request.mode)) {
    const MatrixPlan matrix = plan_matrix(request, builder);
    const ScoreTable table =
        measurer.measure("interventions", matrix.configurations, 1, Histograms::kKlPerToken);
    if (team.rank() != 0) return result;
    result.baseline = analyse_baseline(corpus, table, 0, vocab_size, options);
    result.matrix = analyse_interventions(corpus, table, 0, matrix.units, matrix.places,
                                          result.baseline, options);
  } else {
    const auto everything = builder.everything();
    const ScoreTable table = measurer.measure("baseline", std::span(&everything, 1), 1);
    result.baseline = analyse_baseline(corpus, table, 0, vocab_size, options);
    const auto layers = layer_units(model, builder.quantized());
    if (request.mode == SweepMode::kSubsets) {
      result.subsets = sweep_subsets(measurer, builder, layers, corpus, request, options);
    } else if (request.mode == SweepMode::kShapley) {
      result.shapley = sweep_shapley(measurer, builder, layers, corpus, request, options);
    } else if (request.mode == SweepMode::kSets) {
      const auto units = sweep_units(model, builder.quantized(), request.unit);
      result.sets = sweep_sets(measurer, builder, units, corpus, request, options);
    } else {
      result.patch = sweep_patch(measurer, builder, reference, corpus, options);
    }
  }
  result.baseline.size = assigned_size(model, builder.quantized());
  return result;
}

}  // namespace isogloss
