#include "isogloss/measure/slice_scorer_impl.h"

#include <algorithm>
#include <cmath>

#include "isogloss/base/error.h"

namespace isogloss {
namespace {

// Rows of a chunk on their way through the head.
class HeadRows {
 public:
  HeadRows(Engine& engine, const Pass& pass, std::span<const Position> chunk)
      : engine_(engine), pass_(pass) {
    const size_t width = pass.what.variant.model->config().width;
    for (size_t first = 0; first < chunk.size(); first += pass.head_rows) {
      HiddenStates rows(std::min(pass.head_rows, chunk.size() - first), width);
      for (size_t i = 0; i < rows.tokens(); ++i) {
        std::ranges::copy(pass.row(chunk[first + i]), rows.row(i).begin());
      }
      inputs_.push_back(engine.head_input(pass.what.variant, rows));
    }
  }

  // Row-major, a row of slice.count logits for each position.
  void compute(VocabularySlice slice, std::span<float> logits, Meter& meter) {
    size_t place = 0;
    for (HiddenStates& input : inputs_) {
      const size_t count = input.tokens() * slice.count;
      engine_.run_head(pass_.what.variant, input, slice, logits.subspan(place, count));
      place += count;
    }
    const ModelConfig& config = pass_.what.variant.model->config();
    meter.add(pass_.what.name, static_cast<double>(config.embedding_width * place));
  }

 private:
  Engine& engine_;
  const Pass& pass_;
  std::vector<HiddenStates> inputs_;
};

}  // namespace

SliceScorer::SliceScorer(const TokenizedCorpus& corpus, std::span<const SequenceId> slice,
                         const ScoringOptions& options)
    : corpus_(corpus), slice_(slice), options_(options) {
  for (size_t s = 0; s < slice.size(); ++s) {
    for (const size_t predicted : scored_offsets(corpus, slice[s], options)) {
      positions_.push_back({s, predicted - 1});
    }
  }
}

// Tokens of a slice of the vocabulary: whole cache lines of a row.
size_t SliceScorer::tile_width(size_t vocab_size) const {
  constexpr size_t kStep = 64;
  const size_t width = options_.logits_at_once / chunk_.size() / kStep * kStep;
  return std::clamp(width, std::min(kStep, vocab_size), vocab_size);
}

// add(position of the chunk, its logits, its weights) for each.
template <typename Add>
void SliceScorer::add_tile(VocabularySlice slice, const Add& add) {
#pragma omp parallel for schedule(static)
  for (size_t i = 0; i < chunk_.size(); ++i) {
    add(i, std::span(logits_).subspan(i * slice.count, slice.count),
        std::span(weights_).subspan(i * slice.count, slice.count));
  }
}

size_t SliceScorer::target_of(size_t i) const {
  const Sequence& sequence = get_sequence(corpus_, slice_[chunk_[i].sequence]);
  return static_cast<size_t>(sequence.tokens[chunk_[i].offset + 1]);
}

void SliceScorer::check_finite(const Pass& run, const Position& position,
                               const TokenScore& score) const {
  if (std::isfinite(score.nll) && std::isfinite(score.nll_reference) && std::isfinite(score.kl)) {
    return;
  }
  const SequenceId id = slice_[position.sequence];
  const TokenizedLanguage& language = corpus_.languages[id.language];
  fail(ErrorCode::kNotFinite,
       "{}: the {} gives probabilities that are not finite (language {}, unit '{}', token {})",
       run.what.name, std::isfinite(score.nll_reference) ? "quantized model" : "reference",
       language.code, language.unit_ids[id.index], position.offset + 1);
}

void SliceScorer::sum_chunk(Engine& engine, const Pass& reference, std::span<const Pass> runs,
                            Meter& meter) {
  const size_t vocab_size = reference.what.variant.model->config().vocab_size;
  HeadRows reference_rows(engine, reference, chunk_);
  std::vector<HeadRows> rows;
  for (const Pass& run : runs) rows.emplace_back(engine, run, chunk_);
  reference_sums_.assign(chunk_.size(), {});
  sums_.assign(runs.size(), std::vector<LogitSums>(chunk_.size()));
  const size_t tile = tile_width(vocab_size);
  logits_.resize(chunk_.size() * tile);
  weights_.resize(chunk_.size() * tile);
  for (size_t first = 0; first < vocab_size; first += tile) {
    const VocabularySlice slice{first, std::min(tile, vocab_size - first)};
    const std::span<float> logits = std::span(logits_).first(chunk_.size() * slice.count);
    reference_rows.compute(slice, logits, meter);
    add_tile(slice, [&](size_t i, std::span<float> row, std::span<float> weights) {
      add_reference_logits(reference_sums_[i], row, slice.first, target_of(i), weights);
    });
    for (size_t run = 0; run < runs.size(); ++run) {
      rows[run].compute(slice, logits, meter);
      add_tile(slice, [&](size_t i, std::span<float> row, std::span<float> weights) {
        add_logits(sums_[run][i], reference_sums_[i], weights, row, slice.first, target_of(i));
      });
    }
  }
}

void SliceScorer::score(Engine& engine, const Pass& reference, std::span<const Pass> runs,
                        Meter& meter, const Sink& sink) {
  for (size_t first = 0; first < positions_.size(); first += options_.head_rows) {
    chunk_ = std::span(positions_)
                 .subspan(first, std::min(options_.head_rows, positions_.size() - first));
    sum_chunk(engine, reference, runs, meter);
    for (size_t run = 0; run < runs.size(); ++run) {
      for (size_t i = 0; i < chunk_.size(); ++i) {
        const TokenScore score = compare(reference_sums_[i], sums_[run][i]);
        check_finite(runs[run], chunk_[i], score);
        sink(run, slice_[chunk_[i].sequence], score);
      }
    }
  }
}

}  // namespace isogloss
