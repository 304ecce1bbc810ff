// Scores: what configurations of a model do to every position of a text, beside the reference on
// the same tokens. What they have in common is computed once.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "isogloss/base/progress.h"
#include "isogloss/forward/forward.h"
#include "isogloss/tokens/tokens.h"

namespace isogloss {

// A sequence of the corpus.
struct SequenceId {
  size_t language = 0;
  size_t index = 0;

  bool operator==(const SequenceId&) const = default;
};

const Sequence& get_sequence(const TokenizedCorpus& corpus, SequenceId id);

// Of every language in turn.
std::vector<SequenceId> all_sequences(const TokenizedCorpus& corpus);

// Something to measure. The hidden state before `first_block` is that of another variant, `before`,
// as if it had been written over the variant's own. A frozen block adds to the residual stream what
// it adds in the reference, whatever it reads.
struct Configuration {
  std::string name;
  Variant variant;
  std::vector<size_t> frozen_blocks = {};  // ascending
  size_t first_block = 0;                  // 0: the variant computes everything
  Variant before = {};

  // What computes a stage: 0 is the embedding, 2 d + 1 and 2 d + 2 are the halves of block d.
  const Variant& variant_of(size_t stage) const {
    const bool is_before = first_block > 0 && (stage == 0 || (stage - 1) / 2 < first_block);
    return is_before ? before : variant;
  }
};

struct ScoringOptions {
  size_t batch_tokens = 2048;           // packed together
  uint64_t hidden_memory = 1ULL << 28;  // bytes of hidden states kept at once
  size_t runs_at_once = 16;             // scored together, against logits computed once
  size_t head_rows = 1024;              // positions whose logits are computed together
  size_t logits_at_once = 1 << 21;      // of each model; a cache holds them
  double positions = 1;                 // share of each sequence's scored positions to take
  uint64_t position_seed = 1;           // of the choice of those
};

// What one position says about one configuration, in nats.
struct TokenScore {
  double nll_reference = 0;
  double nll = 0;
  float kl = 0;                 // KL(reference || configuration), at least 0
  bool flipped = false;         // the most likely token changed
  float entropy_reference = 0;  // of the reference's distribution
};

// What the arithmetic of a KL divergence over F32 logits can be wrong by, in nats (tested).
inline constexpr double kKlRounding = 5e-7;

// What the logits of two models for one position say; `target` is the token that follows.
TokenScore compare_logits(std::span<const float> reference, std::span<const float> logits,
                          size_t target);

// The offsets of the tokens of a sequence that are predicted and scored: all of them, or, of a
// share below 1, that share rounded up, drawn without replacement; ascending. The same for every
// configuration.
std::vector<size_t> scored_offsets(const TokenizedCorpus& corpus, SequenceId id,
                                   const ScoringOptions& options);

// What scoring takes. Half-blocks are counted for one pass over the text, the reference's included.
struct ScoringPlan {
  size_t half_blocks = 0;
  size_t naive_half_blocks = 0;  // if every configuration were computed alone
  size_t states = 0;             // hidden states of a token that are held at once
  double block_work = 0;         // multiply-adds a token
  double head_work = 0;          // multiply-adds a scored position
};
ScoringPlan plan_scoring(const Variant& reference, std::span<const Configuration> configurations,
                         const ScoringOptions& options);

// Multiply-adds of a plan over some sequences.
double scoring_work(const ScoringPlan& plan, const TokenizedCorpus& corpus,
                    std::span<const SequenceId> ids, const ScoringOptions& options);

// `ids` in parts whose hidden states fit into options.hidden_memory, of at least one sequence.
std::vector<std::span<const SequenceId>> cut_slices(const TokenizedCorpus& corpus,
                                                    std::span<const SequenceId> ids,
                                                    const Model& model, const ScoringPlan& plan,
                                                    const ScoringOptions& options);

// Places of the configurations in the order in which score_slice() reaches them: neighbours have
// the most in common, so that a piece of this order is nearly as cheap as its share of the whole.
std::vector<size_t> scoring_order(const Variant& reference,
                                  std::span<const Configuration> configurations);

// Counts the multiply-adds of products over weights, so that the time left is judged by work.
class Meter {
 public:
  Meter(double total, Progress progress) : total_(total), progress_(std::move(progress)) {}
  void add(std::string_view stage, double work) {
    done_ += work;
    if (progress_) progress_(stage, std::min(1.0, done_ / total_));
  }
  double done() const { return done_; }

 private:
  double total_;
  double done_ = 0;
  Progress progress_;
};

// Where scores go. Places are those of the configurations.
struct ScoreSink {
  // For each scored position; those of a sequence come in order.
  std::function<void(size_t configuration, SequenceId sequence, const TokenScore& score)> add;
  // After the last score of some configurations; may be empty.
  std::function<void(std::span<const size_t> configurations)> finish;
};

// Scores every configuration on the sequences of a slice. The numbers of a configuration depend on
// the slice and the options, and not on which others are scored with it. Throws Error(kNotFinite)
// when a model's outputs are not finite.
void score_slice(Engine& engine, const Variant& reference,
                 std::span<const Configuration> configurations, const TokenizedCorpus& corpus,
                 std::span<const SequenceId> slice, const ScoringOptions& options, Meter& meter,
                 const ScoreSink& sink);

// The reference against itself, computed with other batch shapes, on a sample of the units: what
// differs here is rounding and not quantization.
struct NoiseFloor {
  size_t tokens = 0;
  double kl_per_token_mean = 0;
  double kl_per_token_max = 0;
  double flip_rate = 0;
  double nll_per_token_max = 0;  // largest absolute difference
};

NoiseFloor measure_noise_floor(Engine& engine, const Variant& reference,
                               const TokenizedCorpus& corpus, const ScoringOptions& options,
                               Meter& meter);

// Multiply-adds of that.
double noise_floor_work(const Variant& reference, const TokenizedCorpus& corpus);

}  // namespace isogloss
