// Corpus and variants to token scores. The corpus is taken in slices whose hidden states fit in
// memory; within a slice each half-block runs over all batches before the next, so that its weights
// are made once; then the head runs chunk by chunk, the reference's logits beside every run's.
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

// Counts multiply-adds done, so that the time left is judged by work.
class Meter {
 public:
  Meter(double total, Progress progress) : total_(total), progress_(std::move(progress)) {}
  void add(std::string_view stage, double work) {
    done_ += work;
    if (progress_) progress_(stage, std::min(1.0, done_ / total_));
  }

 private:
  double total_;
  double done_ = 0;
  Progress progress_;
};

double block_work(const Model& model) {
  double parameters = 0;
  for (const auto& tensor : model.tensors()) {
    if (get_role_info(tensor.role).per_layer()) parameters += static_cast<double>(tensor.count());
  }
  return parameters;
}
double head_work(const Model& model) {
  return static_cast<double>(model.config().vocab_size * model.config().width);
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

void run_pass_blocks(Engine& engine, Pass& pass, Meter& meter) {
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
}

void run_pass_head(Engine& engine, const Pass& pass, std::span<const Position> chunk,
                   std::span<float> logits, Meter& meter) {
  const ModelConfig& config = pass.variant.model->config();
  for (size_t first = 0; first < chunk.size(); first += pass.head_rows) {
    const size_t count = std::min(pass.head_rows, chunk.size() - first);
    HiddenStates rows(count, config.width);
    for (size_t i = 0; i < count; ++i) {
      std::ranges::copy(pass.row(chunk[first + i]), rows.row(i).begin());
    }
    engine.run_head(pass.variant, rows,
                    logits.subspan(first * config.vocab_size, count * config.vocab_size));
    meter.add(pass.name, head_work(*pass.variant.model) * static_cast<double>(count));
  }
}

class SliceScorer {
 public:
  SliceScorer(const TokenizedCorpus& corpus, std::span<const SequenceId> slice, size_t chunk_rows,
              size_t vocab_size)
      : corpus_(corpus),
        slice_(slice),
        chunk_rows_(chunk_rows),
        vocab_size_(vocab_size),
        reference_logits_(chunk_rows, vocab_size),
        logits_(chunk_rows, vocab_size) {
    for (size_t s = 0; s < slice.size(); ++s) {
      const Sequence& sequence = get_sequence(corpus, slice[s]);
      for (size_t t = sequence.first_scored; t < sequence.tokens.size(); ++t) {
        positions_.push_back({s, t - 1});
      }
    }
  }

  // Calls sink(run, language, sequence index, scores in order of position).
  template <typename Sink>
  void score(Engine& engine, const Pass& reference, const std::vector<Pass>& runs, Meter& meter,
             const Sink& sink) {
    for (size_t first = 0; first < positions_.size(); first += chunk_rows_) {
      const std::span<const Position> chunk =
          std::span(positions_).subspan(first, std::min(chunk_rows_, positions_.size() - first));
      run_pass_head(engine, reference, chunk, rows(reference_logits_, chunk.size()), meter);
      summarize_chunk(chunk.size());
      for (size_t run = 0; run < runs.size(); ++run) {
        run_pass_head(engine, runs[run], chunk, rows(logits_, chunk.size()), meter);
        compare_chunk(chunk);
        for (size_t i = 0; i < chunk.size(); ++i) {
          check_finite(runs[run], chunk[i], scores_[i]);
          sink(run, slice_[chunk[i].sequence], scores_[i]);
        }
      }
    }
  }

 private:
  std::span<float> rows(HiddenStates& logits, size_t count) const {
    return {logits.data(), count * vocab_size_};
  }

  void summarize_chunk(size_t count) {
    summaries_.resize(count);
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < count; ++i) summaries_[i] = summarize_logits(reference_logits_.row(i));
  }

  void compare_chunk(std::span<const Position> chunk) {
    scores_.resize(chunk.size());
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < chunk.size(); ++i) {
      const Sequence& sequence = get_sequence(corpus_, slice_[chunk[i].sequence]);
      scores_[i] =
          compare_logits(summaries_[i], logits_.row(i), sequence.tokens[chunk[i].offset + 1]);
    }
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
  size_t chunk_rows_;
  size_t vocab_size_;
  HiddenStates reference_logits_, logits_;
  std::vector<Position> positions_;
  std::vector<LogitRow> summaries_;
  std::vector<TokenScore> scores_;
};

std::vector<SequenceId> all_sequences(const TokenizedCorpus& corpus) {
  std::vector<SequenceId> ids;
  for (size_t l = 0; l < corpus.languages.size(); ++l) {
    for (size_t i = 0; i < corpus.languages[l].sequences.size(); ++i) ids.push_back({l, i});
  }
  return ids;
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

size_t rows_of_chunk(const ModelConfig& config, const AuditOptions& options) {
  constexpr size_t kLeastRows = 16;   // below it a product waits for its weights
  constexpr size_t kMostRows = 2048;  // above it nothing is gained
  const uint64_t rows = options.logit_memory / (2 * config.vocab_size * sizeof(float));
  return std::clamp<uint64_t>(rows, kLeastRows, kMostRows);
}

double total_work(const TokenizedCorpus& corpus, const Model& model, size_t passes) {
  double tokens = 0;
  double scored = 0;
  for (const SequenceId id : all_sequences(corpus)) {
    tokens += static_cast<double>(get_sequence(corpus, id).tokens.size());
    scored += static_cast<double>(get_sequence(corpus, id).scored());
  }
  return static_cast<double>(passes) * (tokens * block_work(model) + scored * head_work(model));
}

}  // namespace

std::vector<CorpusScores> score_corpus(Engine& engine, const Variant& reference,
                                       const std::vector<AuditRun>& runs,
                                       const TokenizedCorpus& corpus, const AuditOptions& options,
                                       const Progress& progress) {
  const ModelConfig& config = reference.model->config();
  std::vector<CorpusScores> scores(runs.size(), CorpusScores(corpus.languages.size()));
  for (auto& run : scores) {
    for (size_t l = 0; l < run.size(); ++l) {
      run[l].units.resize(corpus.languages[l].sequences.size());
    }
  }
  const auto ids = all_sequences(corpus);
  const size_t token_bytes = config.width * sizeof(float) * (runs.size() + 1);
  const size_t chunk_rows = rows_of_chunk(config, options);
  Meter meter(total_work(corpus, *reference.model, runs.size() + 1), progress);
  for (const auto slice : cut_slices(corpus, ids, options.hidden_memory / token_bytes)) {
    const Packing packing = pack(corpus, slice, options.batch_tokens);
    Pass base{reference, "reference", &packing, chunk_rows, {}};
    run_pass_blocks(engine, base, meter);
    std::vector<Pass> passes;
    for (const AuditRun& run : runs) {
      passes.push_back({run.variant, run.name, &packing, chunk_rows, {}});
      run_pass_blocks(engine, passes.back(), meter);
    }
    SliceScorer scorer(corpus, slice, chunk_rows, config.vocab_size);
    scorer.score(engine, base, passes, meter,
                 [&](size_t run, SequenceId id, const TokenScore& score) {
                   scores[run][id.language].units[id.index].push_back(score);
                 });
  }
  return scores;
}

NoiseFloor measure_noise_floor(Engine& engine, const Variant& reference,
                               const TokenizedCorpus& corpus, const AuditOptions& options) {
  constexpr size_t kEvery = 8;  // one unit in eight is enough to see rounding
  std::vector<SequenceId> sample;
  for (const SequenceId id : all_sequences(corpus)) {
    if (id.index % kEvery == 0) sample.push_back(id);
  }
  // Other neighbours in a batch, another batch size, another number of rows in the head.
  const Packing packing = pack(corpus, sample, options.batch_tokens);
  const Packing other_packing = pack(corpus, sample, options.batch_tokens / 7 + 1);
  const size_t chunk_rows = rows_of_chunk(reference.model->config(), options);
  Meter meter(1, {});
  Pass base{reference, "reference", &packing, chunk_rows, {}};
  std::vector<Pass> other = {{reference, "reference", &other_packing, chunk_rows / 3 + 1, {}}};
  run_pass_blocks(engine, base, meter);
  run_pass_blocks(engine, other.front(), meter);

  NoiseFloor floor;
  double kl_sum = 0;
  size_t flips = 0;
  SliceScorer scorer(corpus, sample, chunk_rows, reference.model->config().vocab_size);
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
