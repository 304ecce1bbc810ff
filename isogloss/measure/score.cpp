// Corpus and variants to token scores. The corpus is taken in slices whose hidden states fit in
// memory, the runs in groups; within a slice each half-block runs over all batches before the next,
// so that its weights are made once. Then the head runs over chunks of positions, and within a
// chunk over slices of the vocabulary: the reference's logits of such a tile, then every run's, are
// summed up while they are in the cache. Memory does not depend on the number of runs or the
// vocabulary.
#include <algorithm>
#include <cmath>

#include "isogloss/base/error.h"
#include "isogloss/measure/measure_impl.h"

namespace isogloss {
namespace {

// A sequence of the corpus.
struct SequenceId {
  size_t language = 0;
  size_t index = 0;
};

// A position of a slice that is scored.
struct Position {
  size_t sequence = 0;  // in the slice
  size_t offset = 0;    // of the token that predicts
};

const Sequence& get_sequence(const TokenizedCorpus& corpus, SequenceId id) {
  return corpus.languages[id.language].sequences[id.index];
}

// Sequences in batches, and where each one went.
struct Packing {
  struct Place {
    size_t batch = 0;
    size_t row = 0;
  };
  std::vector<Batch> batches;
  std::vector<Place> places;  // by sequence of the slice
};

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

// Multiply-adds a token.
double block_work(const Model& model) {
  double parameters = 0;
  for (const auto& tensor : model.tensors()) {
    const RoleInfo& role = get_role_info(tensor.role);
    const bool multiplies = role.per_layer() && role.kind == TensorKind::kMatrix;
    if (multiplies) parameters += static_cast<double>(tensor.count());
  }
  return parameters;
}
double head_work(const Model& model) {
  return static_cast<double>(model.config().vocab_size * model.config().embedding_width);
}

// A variant's way through a slice: its hidden states before the head, batch by batch.
struct Pass {
  Variant variant;
  std::string_view name;
  const Packing* packing = nullptr;
  size_t head_rows = 0;  // rows the head takes at once
  std::vector<HiddenStates> hidden;

  std::span<const float> row(const Position& position) const {
    const Packing::Place& place = packing->places[position.sequence];
    return hidden[place.batch].row(place.row + position.offset);
  }
};

Pass run_blocks_of(Pass pass, Engine& engine, Meter& meter) {
  const auto& batches = pass.packing->batches;
  const size_t halves = Engine::halves(*pass.variant.model);
  const double work = block_work(*pass.variant.model) / static_cast<double>(halves);
  for (const Batch& batch : batches) pass.hidden.push_back(engine.embed(pass.variant, batch));
  for (size_t half = 0; half < halves; ++half) {
    for (size_t b = 0; b < batches.size(); ++b) {
      engine.run_half(pass.variant, half, batches[b], pass.hidden[b]);
      meter.add(pass.name, work * static_cast<double>(batches[b].size()));
    }
  }
  return pass;
}

// Rows of a chunk on their way through the head.
class HeadRows {
 public:
  HeadRows(Engine& engine, const Pass& pass, std::span<const Position> chunk)
      : engine_(engine), pass_(pass) {
    const size_t width = pass.variant.model->config().width;
    for (size_t first = 0; first < chunk.size(); first += pass.head_rows) {
      HiddenStates rows(std::min(pass.head_rows, chunk.size() - first), width);
      for (size_t i = 0; i < rows.tokens(); ++i) {
        std::ranges::copy(pass.row(chunk[first + i]), rows.row(i).begin());
      }
      inputs_.push_back(engine.head_input(pass.variant, rows));
    }
  }

  // Row-major, a row of slice.count logits for each position.
  void compute(VocabularySlice slice, std::span<float> logits, Meter& meter) {
    size_t place = 0;
    for (HiddenStates& input : inputs_) {
      const size_t count = input.tokens() * slice.count;
      engine_.run_head(pass_.variant, input, slice, logits.subspan(place, count));
      place += count;
    }
    const ModelConfig& config = pass_.variant.model->config();
    meter.add(pass_.name, static_cast<double>(config.embedding_width * place));
  }

 private:
  Engine& engine_;
  const Pass& pass_;
  std::vector<HiddenStates> inputs_;
};

class SliceScorer {
 public:
  SliceScorer(const TokenizedCorpus& corpus, std::span<const SequenceId> slice,
              const AuditOptions& options)
      : corpus_(corpus), slice_(slice), options_(options) {
    for (size_t s = 0; s < slice.size(); ++s) {
      const Sequence& sequence = get_sequence(corpus, slice[s]);
      for (size_t t = sequence.first_scored; t < sequence.tokens.size(); ++t) {
        positions_.push_back({s, t - 1});
      }
    }
  }

  // Calls sink(run, sequence, score), for each run and sequence in order of position.
  template <typename Sink>
  void score(Engine& engine, const Pass& reference, const std::vector<Pass>& runs, Meter& meter,
             const Sink& sink) {
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

 private:
  void sum_chunk(Engine& engine, const Pass& reference, const std::vector<Pass>& runs,
                 Meter& meter) {
    const size_t vocab_size = reference.variant.model->config().vocab_size;
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

  // Tokens of a slice of the vocabulary: whole cache lines of a row.
  size_t tile_width(size_t vocab_size) const {
    constexpr size_t kStep = 64;
    const size_t width = options_.logits_at_once / chunk_.size() / kStep * kStep;
    return std::clamp(width, std::min(kStep, vocab_size), vocab_size);
  }

  // add(position of the chunk, its logits, its weights) for each.
  template <typename Add>
  void add_tile(VocabularySlice slice, const Add& add) {
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < chunk_.size(); ++i) {
      add(i, std::span(logits_).subspan(i * slice.count, slice.count),
          std::span(weights_).subspan(i * slice.count, slice.count));
    }
  }

  size_t target_of(size_t i) const {
    const Sequence& sequence = get_sequence(corpus_, slice_[chunk_[i].sequence]);
    return static_cast<size_t>(sequence.tokens[chunk_[i].offset + 1]);
  }

  void check_finite(const Pass& run, const Position& position, const TokenScore& score) const {
    if (std::isfinite(score.nll) && std::isfinite(score.nll_reference) && std::isfinite(score.kl)) {
      return;
    }
    const SequenceId id = slice_[position.sequence];
    const TokenizedLanguage& language = corpus_.languages[id.language];
    fail(ErrorCode::kNotFinite,
         "{}: the {} gives probabilities that are not finite (language {}, unit '{}', token {})",
         run.name, std::isfinite(score.nll_reference) ? "quantized model" : "reference",
         language.code, language.unit_ids[id.index], position.offset + 1);
  }

  const TokenizedCorpus& corpus_;
  std::span<const SequenceId> slice_;
  const AuditOptions& options_;
  std::vector<Position> positions_;
  std::span<const Position> chunk_;
  std::vector<ReferenceSums> reference_sums_;
  std::vector<std::vector<LogitSums>> sums_;  // [run][position of the chunk]
  std::vector<float> logits_, weights_;       // of a tile, [position][token]
};

std::vector<SequenceId> all_sequences(const TokenizedCorpus& corpus) {
  std::vector<SequenceId> ids;
  for (size_t l = 0; l < corpus.languages.size(); ++l) {
    for (size_t i = 0; i < corpus.languages[l].sequences.size(); ++i) ids.push_back({l, i});
  }
  return ids;
}

// Units that show rounding: one in eight of each language, fewer where those have more than enough
// tokens.
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

// Ends of the slices of `ids`: as many sequences as `most_tokens` holds, at least one.
std::vector<std::span<const SequenceId>> cut_slices(const TokenizedCorpus& corpus,
                                                    std::span<const SequenceId> ids,
                                                    size_t most_tokens) {
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

// Runs that are scored together.
size_t group_of(const AuditOptions& options, size_t runs) {
  return std::max<size_t>(1, std::min(options.runs_at_once, runs));
}

double pass_work(const TokenizedCorpus& corpus, std::span<const SequenceId> ids, const Model& model,
                 double block_passes, double head_passes) {
  double work = 0;
  for (const SequenceId id : ids) {
    const Sequence& sequence = get_sequence(corpus, id);
    work += block_passes * block_work(model) * static_cast<double>(sequence.tokens.size()) +
            head_passes * head_work(model) * static_cast<double>(sequence.scored());
  }
  return work;
}

}  // namespace

double audit_work(const TokenizedCorpus& corpus, const Model& model, size_t runs,
                  const AuditOptions& options) {
  const size_t group = group_of(options, runs);
  const size_t groups = (runs + group - 1) / group;  // each with the reference's head again
  return pass_work(corpus, noise_sample(corpus), model, 2, 2) +
         pass_work(corpus, all_sequences(corpus), model, static_cast<double>(runs + 1),
                   static_cast<double>(runs + groups));
}

std::vector<CorpusScores> score_corpus(Engine& engine, const Variant& reference,
                                       const std::vector<AuditRun>& runs,
                                       const TokenizedCorpus& corpus, const AuditOptions& options,
                                       Meter& meter) {
  const ModelConfig& config = reference.model->config();
  std::vector<CorpusScores> scores(runs.size(), CorpusScores(corpus.languages.size()));
  for (auto& run : scores) {
    for (size_t l = 0; l < run.size(); ++l) {
      run[l].units.resize(corpus.languages[l].sequences.size());
    }
  }
  const auto ids = all_sequences(corpus);
  const size_t group = group_of(options, runs.size());
  const size_t token_bytes = config.width * sizeof(float) * (group + 1);
  for (const auto slice : cut_slices(corpus, ids, options.hidden_memory / token_bytes)) {
    const Packing packing = pack(corpus, slice, options.batch_tokens);
    const auto pass_of = [&](const Variant& variant, std::string_view name) {
      return run_blocks_of({variant, name, &packing, options.head_rows, {}}, engine, meter);
    };
    const Pass base = pass_of(reference, "reference");
    SliceScorer scorer(corpus, slice, options);
    for (size_t first = 0; first < runs.size(); first += group) {
      std::vector<Pass> passes;
      for (size_t run = first; run < std::min(first + group, runs.size()); ++run) {
        passes.push_back(pass_of(runs[run].variant, runs[run].name));
      }
      scorer.score(engine, base, passes, meter,
                   [&](size_t run, SequenceId id, const TokenScore& score) {
                     scores[first + run][id.language].units[id.index].push_back(score);
                   });
    }
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
      run_blocks_of({reference, "noise floor", &packing, options.head_rows, {}}, engine, meter);
  const std::vector<Pass> other = {run_blocks_of(
      {reference, "noise floor", &other_packing, options.head_rows / 3 + 1, {}}, engine, meter)};

  NoiseFloor floor;
  double kl_sum = 0;
  size_t flips = 0;
  SliceScorer scorer(corpus, sample, options);
  scorer.score(engine, base, other, meter, [&](size_t, SequenceId, const TokenScore& score) {
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
