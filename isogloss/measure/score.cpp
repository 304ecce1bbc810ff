// Corpus and variants to token scores. The corpus is taken in slices whose hidden states fit in
// memory; within a slice the reference and all runs go through the blocks as one schedule, and are
// scored in groups as they come out. Memory does not depend on the number of runs.
#include <algorithm>
#include <cmath>

#include "isogloss/measure/slice_scorer_impl.h"

namespace isogloss {
namespace {

// Runs that are scored together.
size_t group_of(const AuditOptions& options, size_t runs) {
  return std::max<size_t>(1, std::min(options.runs_at_once, runs));
}

// The reference, then the runs.
std::vector<Variant> all_variants(const Variant& reference, const std::vector<AuditRun>& runs) {
  std::vector<Variant> variants = {reference};
  for (const AuditRun& run : runs) variants.push_back(run.variant);
  return variants;
}

// Multiply-adds over some sequences: `blocks` for each token, `heads` for each that is scored.
double work_over(const TokenizedCorpus& corpus, std::span<const SequenceId> ids, double blocks,
                 double heads) {
  double work = 0;
  for (const SequenceId id : ids) {
    const Sequence& sequence = get_sequence(corpus, id);
    work += blocks * static_cast<double>(sequence.tokens.size()) +
            heads * static_cast<double>(sequence.scored());
  }
  return work;
}

// One slice of the corpus through a schedule, into the scores of every run.
class SlicePass {
 public:
  SlicePass(Engine& engine, const TokenizedCorpus& corpus, std::span<const SequenceId> slice,
            const AuditOptions& options, std::vector<CorpusScores>& scores)
      : engine_(engine),
        packing_(pack(corpus, slice, options.batch_tokens)),
        scorer_(corpus, slice, options),
        options_(options),
        scores_(scores) {}

  void run(const Schedule& schedule, const Variant& reference, const std::vector<AuditRun>& runs,
           Meter& meter) {
    std::vector<Pass> passes = {{reference, "reference", &packing_, options_.head_rows, {}}};
    for (const AuditRun& run : runs) {
      passes.push_back({run.variant, run.name, &packing_, options_.head_rows, {}});
    }
    Pass base = passes[0];
    const auto finish = [&](size_t configuration, const std::vector<HiddenStates>& hidden) {
      if (configuration == 0) {
        base.hidden = hidden;
        return;
      }
      finished_.push_back(passes[configuration]);
      finished_.back().hidden = hidden;
      finished_runs_.push_back(configuration - 1);
      if (finished_.size() == group_of(options_, runs.size())) score_finished(base, meter);
    };
    run_schedule(schedule, passes, engine_, meter, finish);
    if (!finished_.empty()) score_finished(base, meter);
  }

 private:
  void score_finished(const Pass& base, Meter& meter) {
    scorer_.score(engine_, base, finished_, meter,
                  [&](size_t run, SequenceId id, const TokenScore& score) {
                    scores_[finished_runs_[run]][id.language].units[id.index].push_back(score);
                  });
    finished_.clear();
    finished_runs_.clear();
  }

  Engine& engine_;
  Packing packing_;
  SliceScorer scorer_;
  const AuditOptions& options_;
  std::vector<CorpusScores>& scores_;
  std::vector<Pass> finished_;
  std::vector<size_t> finished_runs_;
};

}  // namespace

double audit_work(const Variant& reference, const std::vector<AuditRun>& runs,
                  const TokenizedCorpus& corpus, const AuditOptions& options) {
  const Model& model = *reference.model;
  const auto variants = all_variants(reference, runs);
  const size_t group = group_of(options, runs.size());
  const size_t groups = (runs.size() + group - 1) / group;  // each with the reference's head again
  const double head = head_work(model);
  double blocks = 0;
  for (size_t half = 0; half < Engine::halves(model); ++half) blocks += half_work(model, half);
  return work_over(corpus, noise_sample(corpus), 2 * blocks, 2 * head) +
         work_over(corpus, all_sequences(corpus),
                   schedule_work(make_schedule(stage_ids(variants)), variants),
                   static_cast<double>(runs.size() + groups) * head);
}

std::vector<CorpusScores> score_corpus(Engine& engine, const Variant& reference,
                                       const std::vector<AuditRun>& runs,
                                       const TokenizedCorpus& corpus, const AuditOptions& options,
                                       Meter& meter) {
  std::vector<CorpusScores> scores(runs.size(), CorpusScores(corpus.languages.size()));
  for (auto& run : scores) {
    for (size_t l = 0; l < run.size(); ++l) {
      run[l].units.resize(corpus.languages[l].sequences.size());
    }
  }
  const auto ids = all_sequences(corpus);
  const Schedule schedule = make_schedule(stage_ids(all_variants(reference, runs)));
  const size_t states = schedule.slots + 1 + group_of(options, runs.size());
  const size_t token_bytes = reference.model->config().width * sizeof(float) * states;
  for (const auto slice : cut_slices(corpus, ids, options.hidden_memory / token_bytes)) {
    SlicePass(engine, corpus, slice, options, scores).run(schedule, reference, runs, meter);
  }
  return scores;
}

NoiseFloor measure_noise_floor(Engine& engine, const Variant& reference,
                               const TokenizedCorpus& corpus, const AuditOptions& options,
                               Meter& meter) {
  const std::vector<SequenceId> sample = noise_sample(corpus);
  // Other neighbours in a batch, another batch size, another number of rows in the head.
  const Packing packing = pack(corpus, sample, options.batch_tokens);
  const Packing other_packing = pack(corpus, sample, options.batch_tokens / 7 + 1);
  const Pass base =
      run_stages({reference, "noise floor", &packing, options.head_rows, {}}, engine, meter);
  const Pass other = run_stages(
      {reference, "noise floor", &other_packing, options.head_rows / 3 + 1, {}}, engine, meter);

  NoiseFloor floor;
  double kl_sum = 0;
  size_t flips = 0;
  SliceScorer scorer(corpus, sample, options);
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

}  // namespace isogloss
