// A model with an engine to run it, and the built-in texts, for the tests that compute.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "isogloss/forward/forward.h"
#include "isogloss/text/text.h"

namespace isogloss {

inline std::filesystem::path repository_path(const std::string& place) {
  return std::filesystem::path(ISOGLOSS_SOURCE_DIR) / place;
}

// Products in F32 and on one thread unless asked otherwise: where other processes take the cores,
// threads that wait for each other after every small product are many times slower.
struct LoadedModel {
  explicit LoadedModel(const std::filesystem::path& path, size_t threads = 1,
                       ComputeType compute = ComputeType::kF32)
      : model(read_model(path)),
        as_stored(unchanged(model)),
        device("cpu", threads),
        engine(device, {compute, 1ULL << 30}) {}

  Variant stored() const { return {&model, &as_stored}; }

  // A row of vocab_size logits for each row of `hidden`.
  HiddenStates head(const Variant& variant, HiddenStates hidden) {
    HiddenStates logits(hidden.tokens(), model.config().vocab_size);
    run_head(engine, variant, hidden, {logits.data(), logits.tokens() * logits.width()});
    return logits;
  }

  // The logits of every position of one sequence.
  HiddenStates logits(const Variant& variant, std::span<const int32_t> tokens) {
    Batch batch;
    batch.append(tokens);
    return head(variant, run_blocks(engine, variant, batch));
  }

  Model model;
  Assignment as_stored;
  Device device;
  Engine engine;
};

// The first units of these languages of the built-in corpus; 0 units: all there are.
inline Corpus builtin_corpus(std::vector<std::string> languages, size_t units) {
  CorpusOptions options;
  options.languages = std::move(languages);
  options.max_units = units;
  return read_corpus(builtin_corpus_directory(repository_path("data")), options);
}

}  // namespace isogloss
