// What commands read: the data that comes with the program, and models with their facts.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "isogloss/report/report.h"

namespace isogloss {

// The model and corpus that come with the program: beside it when installed, else in its source.
struct BuiltIn {
  std::filesystem::path model, corpus;
};
BuiltIn find_built_in();

// `named`, or polyglot-12 where nothing is named.
std::filesystem::path model_path(const std::string& named, const BuiltIn& built_in);

// What a report says of a model before anything else.
ModelFacts model_facts(const Model& model);

// Refuses negative numbers: CLI11 reads "-3" into an unsigned number as 2^64 - 3.
extern const CLI::Validator kNotNegative;

// The text that is read: measured on, or calibrated on.
struct TextArguments {
  std::string corpus = "builtin";
  std::vector<std::string> languages;
  std::string reference_language = "en";
  std::string part = "all";
  size_t max_units = 0, window = 0;
  bool not_parallel = false;
};
void add_text_options(CLI::App& command, TextArguments& arguments);
void add_part_option(CLI::App& command, TextArguments& arguments);
void add_reference_option(CLI::App& command, TextArguments& arguments);
// `seed`: of the parts.
Corpus read_text(const TextArguments& arguments, const BuiltIn& built_in, uint64_t seed);
TokenizedCorpus tokenize_text(const Corpus& corpus, const TextArguments& arguments,
                              const Model& model);
AuditReport::CorpusFacts corpus_facts(const TokenizedCorpus& corpus,
                                      const TextArguments& arguments);

// Where and how it is computed, and what is left to chance.
struct ComputeArguments {
  std::string device = "cpu", compute = "f32";
  size_t threads = 0, draws = AuditOptions{}.draws;
  uint64_t seed = AuditOptions{}.seed, memory = 0;
  bool quiet = false;
};
void add_compute_options(CLI::App& command, ComputeArguments& arguments);
void add_bootstrap_options(CLI::App& command, ComputeArguments& arguments);

// Memory for decoded weights and hidden states: what the user allows, else a share of what is free.
// Weights of two variants are as many as are used at a time. `processes` on this machine share what
// is free for weights; for hidden states each takes what one alone would, since these decide how
// the text is cut, and by that the last digits of results.
void divide_memory(const ComputeArguments& arguments, const Model& model, EngineOptions& engine,
                   ScoringOptions& scoring, size_t processes = 1);

// "all", "calibration", "select" or "test".
CorpusPart parse_corpus_part(const std::string& name);

// Which tensors a scheme is for, beside the blocks' matrices.
struct CoverageArguments {
  std::vector<std::string> include;
  std::string seed_family = "B";
};
void add_coverage_options(CLI::App& command, CoverageArguments& arguments);
// The seed family; `include` is the caller's, who knows which schemes take it.
SeedFamily seed_family_of(const CoverageArguments& arguments);

// "UNITS", "UNITS=SCHEME" or "none".
void parse_protect(const std::string& text, AssignmentRequest& request);

// Throws Error(kBadArgument) for a scheme whose codes take calibration text or an importance
// matrix: such models are written to a file first.
void refuse_calibrated(const AssignmentRequest& request);

}  // namespace isogloss
