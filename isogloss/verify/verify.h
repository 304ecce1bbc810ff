// Verify: a written file measured in the runtime that people will use, beside what our own forward
// pass makes of it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "isogloss/measure/measure.h"

namespace isogloss {

inline constexpr size_t kRatioMetrics = static_cast<size_t>(RatioMetric::kFlipRate) + 1;

// What a computation of the file loses in one language against the reference, on the same tokens.
struct FileLoss {
  double ppl = 0;
  std::array<Measured, kRatioMetrics> metrics;  // in the order of RatioMetric

  const Measured& metric(RatioMetric which) const { return metrics[static_cast<size_t>(which)]; }
};

// The same in the runtime, beside what this program predicts.
struct RuntimeLoss : FileLoss {
  std::array<Measured, kRatioMetrics> differences;  // runtime less predicted, paired by unit
  // KL(file by isogloss || file by the runtime), nats per token: what the runtime's arithmetic adds
  // where the numbers of the file are the same.
  Measured kl_of_runtime;
  // KL(file by isogloss || file by isogloss with the runtime's rounding): what of that is
  // explained.
  Measured kl_of_rounding;

  const Measured& difference(RatioMetric which) const {
    return differences[static_cast<size_t>(which)];
  }
};

struct LanguageVerification {
  std::string code;
  size_t tokens = 0;  // scored
  size_t units = 0;
  size_t retokenized_units = 0;  // that the file's own tokenizer splits otherwise
  double ppl_reference = 0;
  FileLoss predicted;                // by our forward pass
  RuntimeLoss runtime;               // as people run it
  std::optional<RuntimeLoss> exact;  // by the runtime, all its products in F32
  std::string disagreement;          // a sentence; "": none

  bool agrees() const { return disagreement.empty(); }
};

// How far the runtime may be from the prediction before it counts as computing another model.
// KL(file by isogloss || file by the runtime) is held to what the runtime's rounding does to this
// very file: a model amplifies what is rounded by as much as it is sensitive, a collapsed one most.
struct VerifyLimits {
  // Of kl_of_rounding: sound files showed 0.9 to 1.2 of it (docs/verify.md), the rest is chance.
  double rounding_margin = 2;
  // Where that is less, nats per token: sums in another order.
  double order_kl = 1e-5;
  // Where no activation is rounded, KL from the reference is what was predicted, but for this share
  // of it, the noise floor and KL(file by isogloss || file by the runtime).
  double kl_tolerance = 0.01;
};

struct VerifyResult {
  std::string runtime;  // "llama.cpp 0.5.0-dev (ggml 0.25.3), CPU"
  NoiseFloor noise_floor;
  bool parallel = true;
  uint64_t seed = 0;
  size_t draws = 0;
  VerifyLimits limits;
  std::vector<LanguageVerification> languages;  // in the order of the corpus

  bool agrees() const;
};

struct VerifyOptions : ScoringOptions {
  size_t draws = 10000;
  uint64_t seed = 1;
  size_t threads = 1;  // of the runtime
  // A GGUF file is computed twice: as it is, where llama.cpp rounds what products over quantized
  // weights read to 8 bits, and as an F32 copy that llama.cpp decodes, where nothing is rounded and
  // small faults show. The copy lies in `scratch` while it is loaded: 4 bytes a weight.
  bool exact = true;
  std::filesystem::path scratch = std::filesystem::temp_directory_path();
  VerifyLimits limits;
};

struct VerifyRequest {
  const Model* reference = nullptr;
  const Model* written = nullptr;  // a version of it, read from the file that is verified
  const TokenizedCorpus* corpus = nullptr;
  // The same text by the tokenizer of the file; nullptr: not compared.
  const TokenizedCorpus* written_corpus = nullptr;
};

// Measures `written` by our forward pass and by its runtime. The runtime of a GGUF file is libllama
// on the CPU, which loads it from its path. Directories have none here: the runtime is then our
// forward pass again, a sequence at a time; that they decode is what is verified. Throws Error: as
// audit(); kCorrupt when the runtime does not load the file; kIo where the F32 copy does not fit.
VerifyResult verify(Engine& engine, const VerifyRequest& request, const VerifyOptions& options,
                    const Progress& progress);

}  // namespace isogloss
