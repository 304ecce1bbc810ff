#include "isogloss/measure/slices_impl.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "isogloss/base/random.h"

namespace isogloss {

const Sequence& get_sequence(const TokenizedCorpus& corpus, SequenceId id) {
  return corpus.languages[id.language].sequences[id.index];
}

std::vector<SequenceId> all_sequences(const TokenizedCorpus& corpus) {
  std::vector<SequenceId> ids;
  for (size_t l = 0; l < corpus.languages.size(); ++l) {
    for (size_t i = 0; i < corpus.languages[l].sequences.size(); ++i) ids.push_back({l, i});
  }
  return ids;
}

std::vector<size_t> scored_offsets(const TokenizedCorpus& corpus, SequenceId id,
                                   const ScoringOptions& options) {
  const Sequence& sequence = get_sequence(corpus, id);
  std::vector<size_t> offsets(sequence.scored());
  std::iota(offsets.begin(), offsets.end(), sequence.first_scored);
  const double wanted = std::ceil(options.positions * static_cast<double>(offsets.size()));
  const auto count = std::min(static_cast<size_t>(wanted), offsets.size());
  if (count == offsets.size()) return offsets;
  // A stream of its own for each sequence: the two mixed ids are far apart.
  Random random(options.position_seed + Random(id.language).next() + Random(~id.index).next());
  for (size_t i = 0; i < count; ++i) {
    std::swap(offsets[i], offsets[i + random.below(offsets.size() - i)]);
  }
  offsets.resize(count);
  std::ranges::sort(offsets);
  return offsets;
}

std::vector<SequenceId> noise_sample(const TokenizedCorpus& corpus) {
  constexpr size_t kEvery = 8;
  constexpr size_t kEnoughTokens = 10000;
  const auto ids = all_sequences(corpus);
  size_t tokens = 0;
  for (const SequenceId id : ids) tokens += get_sequence(corpus, id).tokens.size();
  const size_t every = std::max(kEvery, tokens / kEnoughTokens);
  std::vector<SequenceId> sample;
  for (const SequenceId id : ids) {
    if (id.index % every == 0) sample.push_back(id);
  }
  return sample;
}

std::vector<std::span<const SequenceId>> cut_slices(const TokenizedCorpus& corpus,
                                                    std::span<const SequenceId> ids,
                                                    const Model& model, const ScoringPlan& plan,
                                                    const ScoringOptions& options) {
  const size_t token_bytes = model.config().width * sizeof(float) * plan.states;
  const size_t most_tokens = options.hidden_memory / token_bytes;
  std::vector<std::span<const SequenceId>> slices;
  size_t first = 0;
  size_t tokens = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    const size_t count = get_sequence(corpus, ids[i]).tokens.size();
    if (i > first && tokens + count > most_tokens) {
      slices.push_back(ids.subspan(first, i - first));
      first = i;
      tokens = 0;
    }
    tokens += count;
  }
  slices.push_back(ids.subspan(first));
  return slices;
}

Packing pack(const TokenizedCorpus& corpus, std::span<const SequenceId> slice,
             size_t batch_tokens) {
  Packing packing;
  for (const SequenceId id : slice) {
    const auto& tokens = get_sequence(corpus, id).tokens;
    if (packing.batches.empty() || packing.batches.back().size() + tokens.size() > batch_tokens) {
      packing.batches.emplace_back();
    }
    packing.places.push_back({packing.batches.size() - 1, packing.batches.back().size()});
    packing.batches.back().append(tokens);
  }
  return packing;
}

}  // namespace isogloss
