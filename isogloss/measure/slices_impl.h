// Parts of a corpus that are computed together.
#pragma once

#include <span>
#include <vector>

#include "isogloss/measure/scores.h"

namespace isogloss {

// Units that show rounding: one in eight of each language, fewer where those have more than enough
// tokens.
std::vector<SequenceId> noise_sample(const TokenizedCorpus& corpus);

// Sequences in batches, and where each one went.
struct Packing {
  struct Place {
    size_t batch = 0;
    size_t row = 0;
  };
  std::vector<Batch> batches;
  std::vector<Place> places;  // by sequence of the slice
};

Packing pack(const TokenizedCorpus& corpus, std::span<const SequenceId> slice, size_t batch_tokens);

}  // namespace isogloss
