// A batch of sequences in pieces whose logits fit into memory.
#include "isogloss/base/error.h"
#include "isogloss/verify/logits_impl.h"

namespace isogloss {
namespace {

class ChunkCutter {
 public:
  ChunkCutter(const TokenizedCorpus& corpus, const ChunkLimits& limits,
              const ScoringOptions& options)
      : corpus_(corpus), limits_(limits), options_(options) {}

  void add(SequenceId id, size_t place) {
    const std::vector<size_t> predicted = scored_offsets(corpus_, id, options_);
    if (predicted.empty()) return;
    const size_t needed = predicted.back();  // nothing reads the last token that is predicted
    if (needed > limits_.tokens) return add_long(id, place, predicted);
    const bool full = rows_ + needed > limits_.tokens || chunk_.pieces.size() == limits_.sequences;
    if (full) flush();
    add_piece({id, 0, needed}, place, predicted);
  }

  std::vector<Chunk> take() {
    flush();
    return std::move(chunks_);
  }

 private:
  void add_long(SequenceId id, size_t place, const std::vector<size_t>& predicted) {
    for (size_t first = 0; first < predicted.back(); first += limits_.tokens) {
      flush();
      add_piece({id, first, std::min(limits_.tokens, predicted.back() - first)}, place, predicted);
    }
    flush();
  }

  void add_piece(const Piece& piece, size_t place, const std::vector<size_t>& predicted) {
    for (const size_t next : predicted) {
      const size_t offset = next - 1;
      if (offset < piece.first || offset >= piece.first + piece.count) continue;
      chunk_.scored.push_back({piece.sequence, place, offset, rows_ + offset - piece.first});
    }
    chunk_.pieces.push_back(piece);
    rows_ += piece.count;
  }

  void flush() {
    if (!chunk_.pieces.empty()) chunks_.push_back(std::move(chunk_));
    chunk_ = {};
    rows_ = 0;
  }

  const TokenizedCorpus& corpus_;
  const ChunkLimits& limits_;
  const ScoringOptions& options_;
  std::vector<Chunk> chunks_;
  Chunk chunk_;      // that is being filled
  size_t rows_ = 0;  // of it
};

}  // namespace

std::vector<Chunk> cut_chunks(const TokenizedCorpus& corpus, std::span<const SequenceId> batch,
                              const ChunkLimits& limits, const ScoringOptions& options) {
  ISOGLOSS_ASSERT(limits.tokens > 0 && limits.sequences > 0);
  ChunkCutter cutter(corpus, limits, options);
  for (size_t place = 0; place < batch.size(); ++place) cutter.add(batch[place], place);
  return cutter.take();
}

}  // namespace isogloss
