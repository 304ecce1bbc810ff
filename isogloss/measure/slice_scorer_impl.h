// The head over a slice, and what its logits say.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "isogloss/measure/measure_impl.h"
#include "isogloss/measure/passes_impl.h"

namespace isogloss {

// Scores passes of a slice against the reference's. The head runs over chunks of positions, and
// within a chunk over slices of the vocabulary: the reference's logits of such a tile, then every
// run's, are summed up while they are in the cache.
class SliceScorer {
 public:
  SliceScorer(const TokenizedCorpus& corpus, std::span<const SequenceId> slice,
              const ScoringOptions& options);

  // Called with the place of a run in `runs`, for each of its sequences in order of position.
  using Sink = std::function<void(size_t run, SequenceId sequence, const TokenScore& score)>;
  void score(Engine& engine, const Pass& reference, std::span<const Pass> runs, Meter& meter,
             const Sink& sink);

 private:
  void sum_chunk(Engine& engine, const Pass& reference, std::span<const Pass> runs, Meter& meter);
  size_t tile_width(size_t vocab_size) const;
  template <typename Add>
  void add_tile(VocabularySlice slice, const Add& add);
  size_t target_of(size_t i) const;
  void check_finite(const Pass& run, const Position& position, const TokenScore& score) const;

  const TokenizedCorpus& corpus_;
  std::span<const SequenceId> slice_;
  const ScoringOptions& options_;
  std::vector<Position> positions_;
  std::span<const Position> chunk_;
  std::vector<ReferenceSums> reference_sums_;
  std::vector<std::vector<LogitSums>> sums_;  // [run][position of the chunk]
  std::vector<float> logits_, weights_;       // of a tile, [position][token]
};

}  // namespace isogloss
