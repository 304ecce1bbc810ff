// Parts of a corpus that are computed together.
#pragma once

#include <span>
#include <vector>

#include "isogloss/forward/forward.h"
#include "isogloss/tokens/tokens.h"

namespace isogloss {

// A sequence of the corpus.
struct SequenceId {
  size_t language = 0;
  size_t index = 0;
};

const Sequence& get_sequence(const TokenizedCorpus& corpus, SequenceId id);

std::vector<SequenceId> all_sequences(const TokenizedCorpus& corpus);

// Units that show rounding: one in eight of each language, fewer where those have more than enough
// tokens.
std::vector<SequenceId> noise_sample(const TokenizedCorpus& corpus);

// `ids` in slices of as many sequences as `most_tokens` holds, at least one.
std::vector<std::span<const SequenceId>> cut_slices(const TokenizedCorpus& corpus,
                                                    std::span<const SequenceId> ids,
                                                    size_t most_tokens);

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
