// A file through our forward pass and its runtime, chunk by chunk, to sums by unit.
#include "isogloss/verify/verify.h"

#include <algorithm>
#include <cmath>

#include "isogloss/base/error.h"
#include "isogloss/verify/verify_impl.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;

// What the logits of one token say, by computation of the file.
struct TokenScores {
  TokenScore of[kComputations];  // against the reference
  double kl_of_runtime[kComputations] = {}, kl_of_rounding[kComputations] = {};
};

// A computation of the file.
struct Computation {
  std::unique_ptr<LogitSource> logits;
  std::unique_ptr<LogitSource> rounded;  // ours, that rounds as it does; nullptr: it rounds nothing
};

// All computations of a corpus, side by side.
class Verifier {
 public:
  Verifier(const TokenizedCorpus& corpus, const VerifyOptions& options, const ChunkLimits& limits)
      : corpus_(corpus), options_(options), limits_(limits) {
    for (const auto& language : corpus.languages) {
      const size_t units = language.sequences.size();
      sums_.push_back({units, kVerifyColumns, std::vector<double>(units * kVerifyColumns)});
    }
  }

  std::unique_ptr<LogitSource> reference;
  Computation computations[kComputations];  // without kExact where that is not computed

  // Models whose computation costs as much as what is computed.
  double models() const { return static_cast<double>(sources().size()); }

  // Multiply-adds of a token (`block_work`) and of a scored one (`head_work`), of all models().
  void run(double block_work, double head_work, Meter& meter) {
    const auto ids = all_sequences(corpus_);
    size_t first = 0;
    size_t tokens = 0;
    for (size_t i = 0; i <= ids.size(); ++i) {
      const size_t count = i < ids.size() ? get_sequence(corpus_, ids[i]).tokens.size() : 0;
      const bool full = i > first && tokens + count > options_.batch_tokens;
      if (full || i == ids.size()) {
        run_batch(std::span(ids).subspan(first, i - first), block_work, head_work, meter);
        first = i;
        tokens = 0;
      }
      tokens += count;
    }
  }

  const std::vector<UnitSums>& sums() const { return sums_; }

 private:
  std::vector<LogitSource*> sources() const {
    std::vector<LogitSource*> all{reference.get()};
    for (const Computation& computation : computations) {
      if (computation.logits) all.push_back(computation.logits.get());
      if (computation.rounded) all.push_back(computation.rounded.get());
    }
    return all;
  }

  void run_batch(std::span<const SequenceId> batch, double block_work, double head_work,
                 Meter& meter) {
    for (LogitSource* source : sources()) source->begin(batch);
    for (const SequenceId id : batch) begin_unit(id);
    for (const Chunk& chunk : cut_chunks(corpus_, batch, limits_, options_)) {
      for (LogitSource* source : sources()) source->compute(chunk);
      score(chunk);
      size_t tokens = 0;
      for (const Piece& piece : chunk.pieces) tokens += piece.count;
      meter.add("verify", block_work * static_cast<double>(tokens) +
                              head_work * static_cast<double>(chunk.scored.size()));
    }
  }

  double* unit(SequenceId id) { return &sums_[id.language].values[id.index * kVerifyColumns]; }

  void begin_unit(SequenceId id) {
    for (size_t c = 0; c < kComputations; ++c) {
      unit(id)[c * kColumns + kUnits] = 1;
      unit(id)[c * kColumns + kBytes] = static_cast<double>(get_sequence(corpus_, id).bytes);
    }
  }

  void score(const Chunk& chunk) {
    scores_.assign(chunk.scored.size(), {});
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < chunk.scored.size(); ++i) scores_[i] = compare_token(chunk.scored[i], i);
    for (size_t i = 0; i < chunk.scored.size(); ++i) {
      check_finite(chunk.scored[i], scores_[i]);
      add(unit(chunk.scored[i].sequence), scores_[i]);
    }
  }

  TokenScores compare_token(const ScoredToken& token, size_t i) const {
    const auto& tokens = get_sequence(corpus_, token.sequence).tokens;
    const auto target = static_cast<size_t>(tokens[token.offset + 1]);
    const auto ours = computations[kPredicted].logits->row(i);
    const auto kl_from_ours = [&](const LogitSource& source) {
      return static_cast<double>(compare_logits(ours, source.row(i), target).kl);
    };
    TokenScores scores;
    for (size_t c = 0; c < kComputations; ++c) {
      const auto& [logits, rounded] = computations[c];
      if (!logits) continue;
      scores.of[c] = compare_logits(reference->row(i), logits->row(i), target);
      if (c != kPredicted) scores.kl_of_runtime[c] = kl_from_ours(*logits);
      if (rounded) scores.kl_of_rounding[c] = kl_from_ours(*rounded);
    }
    return scores;
  }

  // Who computes what is not finite; null: nobody.
  static const char* not_finite(const TokenScores& scores) {
    constexpr const char* kNames[] = {"isogloss on the file", "the runtime",
                                      "the runtime on the F32 copy"};
    for (size_t c = 0; c < kComputations; ++c) {
      const TokenScore& score = scores.of[c];
      if (!std::isfinite(score.nll_reference)) return "the reference";
      if (!std::isfinite(score.nll) || !std::isfinite(score.kl)) return kNames[c];
      if (!std::isfinite(scores.kl_of_rounding[c]))
        return "isogloss, rounding as the runtime does,";
    }
    return nullptr;
  }

  void check_finite(const ScoredToken& token, const TokenScores& scores) const {
    const char* who = not_finite(scores);
    if (!who) return;
    const TokenizedLanguage& language = corpus_.languages[token.sequence.language];
    fail(ErrorCode::kNotFinite,
         "{} gives probabilities that are not finite (language {}, unit '{}', token {})", who,
         language.code, language.unit_ids[token.sequence.index], token.offset + 1);
  }

  static void add(double* unit, const TokenScores& scores) {
    for (size_t c = 0; c < kComputations; ++c) {
      double* columns = unit + c * kColumns;
      columns[kTokens] += 1;
      columns[kNllReference] += scores.of[c].nll_reference;
      columns[kNll] += scores.of[c].nll;
      columns[kKl] += static_cast<double>(scores.of[c].kl);
      columns[kFlips] += scores.of[c].flipped ? 1 : 0;
      unit[kKlOfRuntimes + c] += scores.kl_of_runtime[c];
      unit[kKlOfRoundings + c] += scores.kl_of_rounding[c];
    }
  }

  const TokenizedCorpus& corpus_;
  const VerifyOptions& options_;
  ChunkLimits limits_;
  std::vector<UnitSums> sums_;  // by language
  std::vector<TokenScores> scores_;
};

// Logits of a chunk take 128 MiB a computation. 512 tokens are llama.cpp's own default.
ChunkLimits limits_for(size_t vocab_size) {
  constexpr size_t kLogits = size_t{1} << 25;
  ChunkLimits limits;
  limits.tokens = std::clamp<size_t>(kLogits / vocab_size, 16, limits.tokens);
  return limits;
}

LlamaOptions llama_options(const VerifyRequest& request, const VerifyOptions& options,
                           const ChunkLimits& limits) {
  LlamaOptions llama;
  llama.threads = options.threads;
  llama.limits = limits;
  llama.scratch = options.scratch;
  for (const SequenceId id : all_sequences(*request.corpus)) {
    llama.longest = std::max(llama.longest, get_sequence(*request.corpus, id).tokens.size());
  }
  for (const TensorView& tensor : request.written->tensors()) {
    llama.f32_bytes += tensor.count() * sizeof(float);
  }
  return llama;
}

// The file by libllama, and by our own pass with its rounding.
Computation by_llama(Engine& engine, Variant variant, const TokenizedCorpus& corpus,
                     const LlamaOptions& llama, const VerifyOptions& options) {
  const ModelConfig& config = variant.model->config();
  Computation computation;
  computation.logits = llama_logits(variant.model->path(), config.vocab_size, corpus, llama);
  variant.rounding = llama.exact ? Rounding::kLlamaF32 : Rounding::kLlama;
  const bool rounds = !llama.exact || config.activation == Activation::kGeluTanh;
  if (rounds) computation.rounded = engine_logits(engine, variant, corpus, options.batch_tokens);
  return computation;
}

size_t count_retokenized(const TokenizedCorpus& corpus, const TokenizedCorpus& written,
                         size_t language) {
  const auto& ours = corpus.languages[language].sequences;
  const auto& theirs = written.languages[language].sequences;
  ISOGLOSS_ASSERT(ours.size() == theirs.size());
  size_t count = 0;
  for (size_t i = 0; i < ours.size(); ++i) count += ours[i].tokens != theirs[i].tokens ? 1 : 0;
  return count;
}

}  // namespace

bool VerifyResult::agrees() const {
  return std::ranges::all_of(languages, &LanguageVerification::agrees);
}

VerifyResult verify(Engine& engine, const VerifyRequest& request, const VerifyOptions& options,
                    const Progress& progress) {
  const TokenizedCorpus& corpus = *request.corpus;
  const Model& written = *request.written;
  check_same_model(*request.reference, written);
  const Assignment reference_assignment = unchanged(*request.reference);
  const Assignment written_assignment = unchanged(written);
  const Variant reference{request.reference, &reference_assignment};
  const Variant variant{&written, &written_assignment};
  const bool is_directory = fs::is_directory(written.path());

  const ChunkLimits limits = limits_for(written.config().vocab_size);
  Verifier verifier(corpus, options, limits);
  verifier.reference = engine_logits(engine, reference, corpus, options.batch_tokens);
  verifier.computations[kPredicted].logits =
      engine_logits(engine, variant, corpus, options.batch_tokens);
  VerifyResult result;
  if (is_directory) {
    result.runtime = "isogloss, a sequence at a time";
    verifier.computations[kRuntime].logits =
        engine_logits(engine, variant, corpus, /*batch_tokens=*/1);
  } else {
    result.runtime = llama_name();
    LlamaOptions llama = llama_options(request, options, limits);
    verifier.computations[kRuntime] = by_llama(engine, variant, corpus, llama, options);
    llama.exact = true;
    if (options.exact) {
      verifier.computations[kExact] = by_llama(engine, variant, corpus, llama, options);
    }
  }

  const Configuration configuration{"file", variant};
  const ScoringPlan plan = plan_scoring(reference, {&configuration, 1}, options);
  const double models = verifier.models() / 2;  // the plan is for two
  Meter meter(noise_floor_work(reference, corpus) +
                  models * scoring_work(plan, corpus, all_sequences(corpus), options),
              progress);
  result.noise_floor = measure_noise_floor(engine, reference, corpus, options, meter);
  verifier.run(models * plan.block_work, models * plan.head_work, meter);

  result.parallel = corpus.parallel;
  result.seed = options.seed;
  result.draws = options.draws;
  result.limits = options.limits;
  for (size_t l = 0; l < corpus.languages.size(); ++l) {
    const uint64_t seed = corpus.parallel ? options.seed : options.seed + l;
    LanguageVerification language =
        summarize(corpus.languages[l], verifier.sums()[l],
                  verifier.computations[kExact].logits != nullptr, options.draws, seed);
    if (request.written_corpus) {
      language.retokenized_units = count_retokenized(corpus, *request.written_corpus, l);
    }
    language.disagreement = find_disagreement(language, result, is_directory);
    result.languages.push_back(std::move(language));
  }
  return result;
}

}  // namespace isogloss
