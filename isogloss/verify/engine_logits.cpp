// Logits by our own forward pass.
#include <algorithm>

#include "isogloss/verify/logits_impl.h"

namespace isogloss {
namespace {

class EngineLogits : public LogitSource {
 public:
  EngineLogits(Engine& engine, const Variant& variant, const TokenizedCorpus& corpus,
               size_t batch_tokens)
      : engine_(engine), variant_(variant), corpus_(corpus), batch_tokens_(batch_tokens) {}

  void begin(std::span<const SequenceId> batch) override {
    hidden_.clear();
    places_.clear();
    Batch packed;
    for (const SequenceId id : batch) {
      const auto& tokens = get_sequence(corpus_, id).tokens;
      if (packed.size() > 0 && packed.size() + tokens.size() > batch_tokens_) run(packed);
      places_.push_back({hidden_.size(), packed.size()});
      packed.append(tokens);
    }
    run(packed);
  }

  void compute(const Chunk& chunk) override {
    if (chunk.scored.empty()) return;
    HiddenStates rows(chunk.scored.size(), variant_.model->config().width);
    for (size_t i = 0; i < chunk.scored.size(); ++i) {
      const Place& place = places_[chunk.scored[i].place];
      std::ranges::copy(hidden_[place.batch].row(place.row + chunk.scored[i].offset),
                        rows.row(i).begin());
    }
    logits_ = HiddenStates(rows.tokens(), variant_.model->config().vocab_size);
    run_head(engine_, variant_, rows, {logits_.data(), logits_.tokens() * logits_.width()});
  }

  std::span<const float> row(size_t i) const override { return logits_.row(i); }

 private:
  struct Place {
    size_t batch = 0, row = 0;
  };

  void run(Batch& packed) {
    hidden_.push_back(run_blocks(engine_, variant_, packed));
    packed = {};
  }

  Engine& engine_;
  Variant variant_;
  const TokenizedCorpus& corpus_;
  size_t batch_tokens_;
  std::vector<HiddenStates> hidden_;
  std::vector<Place> places_;  // of the batch's sequences
  HiddenStates logits_;        // a row of the vocabulary for each scored token
};

}  // namespace

std::unique_ptr<LogitSource> engine_logits(Engine& engine, const Variant& variant,
                                           const TokenizedCorpus& corpus, size_t batch_tokens) {
  return std::make_unique<EngineLogits>(engine, variant, corpus, batch_tokens);
}

}  // namespace isogloss
