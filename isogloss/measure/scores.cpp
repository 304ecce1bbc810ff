// Corpus and configurations to token scores. Within a slice of the corpus the reference and all
// configurations go through the blocks as one schedule, and are scored in groups as they come out.
// Memory does not depend on the number of configurations.
#include "isogloss/measure/scores.h"

#include <algorithm>
#include <cmath>

#include "isogloss/measure/slice_scorer_impl.h"

namespace isogloss {
namespace {

// Configurations that are scored together.
size_t group_of(const ScoringOptions& options, size_t configurations) {
  return std::max<size_t>(1, std::min(options.runs_at_once, configurations));
}

// One slice of the corpus through a schedule.
class SlicePass {
 public:
  SlicePass(Engine& engine, std::span<const Configuration> all, const TokenizedCorpus& corpus,
            std::span<const SequenceId> slice, const ScoringOptions& options, Meter& meter,
            const ScoreSink& sink)
      : engine_(engine),
        packing_(pack(corpus, slice, options.batch_tokens)),
        scorer_(corpus, slice, options),
        group_(group_of(options, all.size() - 1)),
        meter_(meter),
        sink_(sink) {
    for (const Configuration& entry : all) {
      passes_.push_back({entry, &packing_, options.head_rows, {}});
    }
  }

  void run(const Schedule& schedule) {
    run_schedule(schedule, passes_, engine_, meter_,
                 [&](size_t place, const std::vector<HiddenStates>& hidden) {
                   if (place == 0) {
                     base_ = passes_[0];
                     base_.hidden = hidden;
                     return;
                   }
                   finished_.push_back(passes_[place]);
                   finished_.back().hidden = hidden;
                   places_.push_back(place - 1);
                   if (finished_.size() == group_) score_finished();
                 });
    if (!finished_.empty()) score_finished();
  }

 private:
  void score_finished() {
    scorer_.score(engine_, base_, finished_, meter_,
                  [&](size_t run, SequenceId id, const TokenScore& score) {
                    sink_.add(places_[run], id, score);
                  });
    if (sink_.finish) sink_.finish(places_);
    finished_.clear();
    places_.clear();
  }

  Engine& engine_;
  Packing packing_;
  SliceScorer scorer_;
  size_t group_;
  Meter& meter_;
  const ScoreSink& sink_;
  std::vector<Pass> passes_;  // the reference, then the configurations
  Pass base_;
  std::vector<Pass> finished_;
  std::vector<size_t> places_;  // of those, among the configurations
};

}  // namespace

ScoringPlan plan_scoring(const Variant& reference, std::span<const Configuration> configurations,
                         const ScoringOptions& options) {
  const Model& model = *reference.model;
  const auto all = with_reference(reference, configurations);
  const Schedule schedule = make_schedule(stage_ids(all));
  const size_t group = group_of(options, configurations.size());
  const size_t groups = (configurations.size() + group - 1) / group;
  const auto embeddings =
      static_cast<size_t>(std::ranges::count_if(schedule.steps, [](const Step& step) {
        return step.kind == Step::Kind::kCompute && step.stage == 0;
      }));
  ScoringPlan plan;
  plan.half_blocks = schedule.computed() - embeddings;
  plan.naive_half_blocks = all.size() * Engine::halves(model);
  // In the schedule's slots, the reference's, those of a group, and all of the reference's.
  plan.states = schedule.slots + 1 + group;
  if (freezes_blocks(configurations)) plan.states += model.config().layers + 1;
  plan.block_work = schedule_work(schedule, all);
  // Each group has the reference's logits again.
  plan.head_work = static_cast<double>(configurations.size() + groups) * head_work(model);
  return plan;
}

double scoring_work(const ScoringPlan& plan, const TokenizedCorpus& corpus,
                    std::span<const SequenceId> ids, const ScoringOptions& options) {
  double work = 0;
  for (const SequenceId id : ids) {
    work += plan.block_work * static_cast<double>(get_sequence(corpus, id).tokens.size()) +
            plan.head_work * static_cast<double>(scored_offsets(corpus, id, options).size());
  }
  return work;
}

std::vector<size_t> scoring_order(const Variant& reference,
                                  std::span<const Configuration> configurations) {
  const Schedule schedule = make_schedule(stage_ids(with_reference(reference, configurations)));
  std::vector<size_t> order;
  for (const Step& step : schedule.steps) {
    const bool finishes = step.kind == Step::Kind::kFinish && step.configuration > 0;
    if (finishes) order.push_back(step.configuration - 1);
  }
  return order;
}

void score_slice(Engine& engine, const Variant& reference,
                 std::span<const Configuration> configurations, const TokenizedCorpus& corpus,
                 std::span<const SequenceId> slice, const ScoringOptions& options, Meter& meter,
                 const ScoreSink& sink) {
  if (configurations.empty()) return;
  const auto all = with_reference(reference, configurations);
  SlicePass(engine, all, corpus, slice, options, meter, sink).run(make_schedule(stage_ids(all)));
}

std::vector<CorpusScores> score_corpus(Engine& engine, const Variant& reference,
                                       std::span<const Configuration> runs,
                                       const TokenizedCorpus& corpus, const ScoringOptions& options,
                                       Meter& meter) {
  std::vector<CorpusScores> scores(runs.size(), CorpusScores(corpus.languages.size()));
  for (auto& run : scores) {
    for (size_t l = 0; l < run.size(); ++l) {
      run[l].units.resize(corpus.languages[l].sequences.size());
    }
  }
  const ScoreSink sink{[&](size_t run, SequenceId id, const TokenScore& score) {
                         scores[run][id.language].units[id.index].push_back(score);
                       },
                       {}};
  const auto ids = all_sequences(corpus);
  const ScoringPlan plan = plan_scoring(reference, runs, options);
  for (const auto slice : cut_slices(corpus, ids, *reference.model, plan, options)) {
    score_slice(engine, reference, runs, corpus, slice, options, meter, sink);
  }
  return scores;
}

NoiseFloor measure_noise_floor(Engine& engine, const Variant& reference,
                               const TokenizedCorpus& corpus, const ScoringOptions& options,
                               Meter& meter) {
  const std::vector<SequenceId> sample = noise_sample(corpus);
  // Other neighbours in a batch, another batch size, another number of rows in the head.
  const Packing packing = pack(corpus, sample, options.batch_tokens);
  const Packing other_packing = pack(corpus, sample, options.batch_tokens / 7 + 1);
  const Configuration what{"noise floor", reference};
  const Pass base = run_stages({what, &packing, options.head_rows, {}}, engine, meter);
  const Pass other =
      run_stages({what, &other_packing, options.head_rows / 3 + 1, {}}, engine, meter);

  NoiseFloor floor;
  double kl_sum = 0;
  size_t flips = 0;
  ScoringOptions every_position = options;
  every_position.positions = 1;
  SliceScorer scorer(corpus, sample, every_position);
  scorer.score(engine, base, {&other, 1}, meter, [&](size_t, SequenceId, const TokenScore& score) {
    ++floor.tokens;
    kl_sum += static_cast<double>(score.kl);
    flips += score.flipped ? 1 : 0;
    floor.kl_per_token_max = std::max(floor.kl_per_token_max, static_cast<double>(score.kl));
    floor.nll_per_token_max =
        std::max(floor.nll_per_token_max, std::abs(score.nll - score.nll_reference));
  });
  floor.kl_per_token_mean = kl_sum / static_cast<double>(floor.tokens);
  floor.flip_rate = static_cast<double>(flips) / static_cast<double>(floor.tokens);
  return floor;
}

double noise_floor_work(const Variant& reference, const TokenizedCorpus& corpus) {
  const ScoringPlan alone = plan_scoring(reference, {}, {});
  return scoring_work(
      {.block_work = 2 * alone.block_work, .head_work = 2 * head_work(*reference.model)}, corpus,
      noise_sample(corpus), {});
}

}  // namespace isogloss
