// Where logits come from: our forward pass, or another program's.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "isogloss/measure/scores.h"

namespace isogloss {

// A token of a chunk whose logits are scored.
struct ScoredToken {
  SequenceId sequence;
  size_t place = 0;   // of the sequence, in the batch
  size_t offset = 0;  // of the token, in the sequence; it predicts the next one
  size_t row = 0;     // of the token, in the chunk
};

// Tokens first .. first + count of a sequence. Only the only piece of a chunk may begin or end
// within a sequence; the pieces of that sequence are then consecutive chunks.
struct Piece {
  SequenceId sequence;
  size_t first = 0, count = 0;
};

// What is computed at a time, so that logits of the whole vocabulary fit into memory.
struct Chunk {
  std::vector<Piece> pieces;
  std::vector<ScoredToken> scored;  // in the order of the pieces
};

struct ChunkLimits {
  size_t tokens = 512, sequences = 64;
};

// `batch` in chunks. Sequences are as long as they need to be for what is scored.
std::vector<Chunk> cut_chunks(const TokenizedCorpus& corpus, std::span<const SequenceId> batch,
                              const ChunkLimits& limits, const ScoringOptions& options);

// Logits of a corpus, chunk by chunk.
class LogitSource {
 public:
  virtual ~LogitSource() = default;
  // The sequences that the next chunks are of.
  virtual void begin(std::span<const SequenceId> batch) = 0;
  virtual void compute(const Chunk& chunk) = 0;
  // Of chunk.scored[i], valid until the next compute().
  virtual std::span<const float> row(size_t i) const = 0;
};

// Ours. Sequences are packed up to `batch_tokens`, at least one.
std::unique_ptr<LogitSource> engine_logits(Engine& engine, const Variant& variant,
                                           const TokenizedCorpus& corpus, size_t batch_tokens);

struct LlamaOptions {
  size_t threads = 1;
  size_t longest = 0;  // tokens of the longest sequence
  ChunkLimits limits;  // of the chunks to come
  bool exact = false;  // of an F32 copy, keys and values in F32 too; else llama.cpp's defaults
  std::filesystem::path scratch;  // exact: where the copy lies,
  uint64_t f32_bytes = 0;         // and what it takes
};

// libllama's, of a GGUF file, on the CPU. Throws Error: kCorrupt, kIo, kMismatch when its
// vocabulary has another size than `vocab_size`.
std::unique_ptr<LogitSource> llama_logits(const std::filesystem::path& path, size_t vocab_size,
                                          const TokenizedCorpus& corpus,
                                          const LlamaOptions& options);

std::string llama_name();  // "llama.cpp 0.5.0 (ggml 0.25.3), CPU"

}  // namespace isogloss
