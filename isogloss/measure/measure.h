// Measure: what a variant of a model costs each language, against the reference, on the same
// tokens.
//
// Everything is per language and in nats unless a name says otherwise; every number that is claimed
// comes with an interval from a paired cluster bootstrap over units. Definitions: docs/metrics.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "isogloss/measure/metrics.h"
#include "isogloss/measure/scores.h"
#include "isogloss/measure/statistics.h"

namespace isogloss {

// Distribution of KL(reference || quantized) over scored tokens.
struct KlPerToken {
  Estimate mean;
  double median = 0, p99 = 0, p999 = 0, max = 0;
};

struct LanguageResult {
  std::string code;
  size_t tokens = 0;  // scored
  size_t units = 0;
  size_t bytes = 0;  // UTF-8, of the scored tokens
  double ppl_reference = 0;
  double ppl = 0;
  double nll_reference_per_token = 0;
  double nll_per_token = 0;
  Measured excess_nats_per_unit;  // mean over units of NLL - NLL of the reference
  Measured excess_bits_per_byte;
  KlPerToken kl_per_token;
  Measured kl_per_unit;  // mean over units of the sum over tokens
  Measured kl_per_byte;
  Measured flip_rate;  // share of positions whose most likely token changed
  Measured rho;        // excess nats per unit, relative to the reference language's
  Measured ln_rho;
  Measured seed_disparity;  // the published study's ratio of perplexity degradations
};

// How unequally the languages lose.
struct Disparity {
  Measured gap;                  // largest minus smallest KL per unit
  Measured gini;                 // of KL per unit
  Measured seed_disparity_mean;  // over the languages other than the reference
  // Does any language's ln KL per unit differ from the mean over languages? Simultaneous over the
  // languages (max-T), at kConfidence.
  double p_value = 1;
  bool measurable = false;
  std::vector<double> deviation, deviation_lo, deviation_hi;  // by language: ln KL minus the mean
  std::string verdict;                                        // a sentence
};

struct RunResult {
  std::string name;
  std::string scheme;  // or "candidate"
  std::string protect;
  uint64_t size_bytes = 0;
  double bits_per_weight = 0;
  std::vector<std::string> fallbacks;  // "blk.0.ffn_up.weight: q4_k -> q5_0"
  Regime regime = Regime::kNormal;
  // By KL per parallel unit (per byte when not parallel); "" when no language loses anything.
  std::string worst_language;
  double worst_language_frequency = 0;  // share of bootstrap draws in which it is the worst
  Disparity disparity;
  std::vector<LanguageResult> languages;  // in the order of the corpus
};

struct AuditResult {
  NoiseFloor noise_floor;
  std::string reference_language;
  bool parallel = true;
  uint64_t seed = 0;
  size_t draws = 0;
  double multiply_adds = 0;  // of products over weights, in all passes
  std::vector<RunResult> runs;
};

// One thing to measure: a variant and what to call it.
struct AuditRun {
  std::string name, scheme, protect;
  Variant variant;
};

struct AuditOptions : ScoringOptions {
  std::string reference_language = "en";  // a code of the corpus, or "geomean"
  size_t draws = 10000;
  uint64_t seed = 1;
};

// Throws Error(kBadArgument) unless options.reference_language is a language of the corpus or
// "geomean".
void check_reference_language(const TokenizedCorpus& corpus, const AuditOptions& options);

// Measures each run against `reference` on every sequence of the corpus. Each run's model must be
// the reference's (check_same_model). Throws Error(kBadArgument) for a reference language that the
// corpus lacks, and Error(kNotFinite) when a model's outputs are not finite.
AuditResult audit(Engine& engine, const Variant& reference, const std::vector<AuditRun>& runs,
                  const TokenizedCorpus& corpus, const AuditOptions& options,
                  const Progress& progress);

}  // namespace isogloss
