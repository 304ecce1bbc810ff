#include "tool/inputs.h"

#include <cstdlib>

#include "isogloss/base/error.h"
#include "isogloss/quantize/quantize.h"
#include "isogloss/text/text.h"

namespace isogloss {

namespace fs = std::filesystem;

BuiltIn find_built_in() {
  const char* chosen = std::getenv("ISOGLOSS_DATA");
  for (const fs::path& share : {fs::path(chosen ? chosen : ""), fs::path(ISOGLOSS_SHARE_DIR)}) {
    if (!share.empty() && fs::exists(share / "parallel")) {
      return {share / "polyglot-12", builtin_corpus_directory(share)};
    }
  }
  const fs::path source(ISOGLOSS_SOURCE_DIR);
  return {source / "models" / "polyglot-12", builtin_corpus_directory(source / "data")};
}

fs::path model_path(const std::string& named, const BuiltIn& built_in) {
  return named.empty() ? built_in.model : fs::path(named);
}

ModelFacts model_facts(const Model& model) {
  ModelFacts facts;
  facts.path = model.path().string();
  facts.name = model.config().name;
  facts.family = get_family_info(model.config().family).gguf_name;
  facts.layers = model.config().layers;
  for (const auto& tensor : model.tensors()) facts.parameters += tensor.count();
  const ModelSize size = assigned_size(model, unchanged(model));
  facts.size_bytes = size.size_bytes;
  facts.bits_per_weight = size.bits_per_weight;
  facts.quantized_blocks = model.quantized_blocks();
  return facts;
}

const CLI::Validator kNotNegative(
    [](const std::string& text) {
      return text.find('-') == text.npos ? "" : fmt::format("{} is negative", text);
    },
    "");

void add_text_options(CLI::App& command, TextArguments& a) {
  command.add_option("--corpus", a.corpus, "builtin, a directory of <lang>.txt, or a .jsonl file")
      ->capture_default_str();
  command.add_option("--langs", a.languages, "Languages, as en,de,zh (default: all there are)")
      ->delimiter(',')
      ->allow_extra_args(false);
  command.add_flag("--not-parallel", a.not_parallel, "Lines of different languages are unrelated");
  command.add_option("--max-units", a.max_units, "Use the first N units of each language")
      ->check(kNotNegative);
  command
      .add_option("--window", a.window,
                  "Cut the text into windows of N tokens and score the second half of each, as "
                  "llama-perplexity does")
      ->check(kNotNegative);
}

void add_part_option(CLI::App& command, TextArguments& a) {
  command
      .add_option("--part", a.part,
                  "Units of the corpus: all, calibration (half of them: what quantize calibrates "
                  "on), select, or test (a quarter each)")
      ->capture_default_str();
}

void add_reference_option(CLI::App& command, TextArguments& a) {
  command
      .add_option("--reference-lang", a.reference_language, "What rho is relative to; or geomean")
      ->capture_default_str();
}

Corpus read_text(const TextArguments& arguments, const BuiltIn& built_in, uint64_t seed) {
  const bool builtin = arguments.corpus == "builtin";
  CorpusOptions options;
  options.languages = arguments.languages;
  options.parallel = !arguments.not_parallel && arguments.window == 0;
  options.max_units = arguments.max_units;
  Corpus corpus = read_corpus(builtin ? built_in.corpus : fs::path(arguments.corpus), options);
  corpus.name = arguments.corpus;
  return select_part(corpus, parse_corpus_part(arguments.part), seed);
}

TokenizedCorpus tokenize_text(const Corpus& corpus, const TextArguments& arguments,
                              const Model& model) {
  const Tokenizer tokenizer(model.vocabulary(), model.path().string());
  const size_t context = model.config().context_length;
  if (arguments.window == 0) return tokenize(corpus, tokenizer, context);
  if (arguments.window > context) {
    fail(ErrorCode::kBadArgument, "--window {}: the model's context holds {} tokens",
         arguments.window, context);
  }
  return tokenize_windows(corpus, tokenizer, arguments.window);
}

AuditReport::CorpusFacts corpus_facts(const TokenizedCorpus& corpus,
                                      const TextArguments& arguments) {
  AuditReport::CorpusFacts facts{
      corpus.name, corpus.parallel, arguments.window, {}, arguments.part};
  for (const auto& language : corpus.languages) facts.languages.push_back(language.code);
  return facts;
}

void add_compute_options(CLI::App& command, ComputeArguments& a) {
  command.add_option("--device", a.device, "Where to compute")->capture_default_str();
  command.add_option("--compute", a.compute, "Precision of products: f32 or bf16")
      ->capture_default_str();
  command.add_option("--threads", a.threads, "Threads (default: one a core)")->check(kNotNegative);
  command.add_option("--memory", a.memory, "Memory to use, as 4GB (default: 60 % of what is free)")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      ->transform(kNotNegative)
      ->type_name("SIZE");
  command.add_flag("--quiet", a.quiet, "No progress");
}

void add_bootstrap_options(CLI::App& command, ComputeArguments& a) {
  command.add_option("--seed", a.seed, "Seed of the bootstrap")
      ->capture_default_str()
      ->check(kNotNegative);
  command.add_option("--draws", a.draws, "Bootstrap draws")
      ->capture_default_str()
      ->check(CLI::Range(100, 10'000'000));
}

void divide_memory(const ComputeArguments& arguments, const Model& model, EngineOptions& engine,
                   ScoringOptions& scoring, size_t processes) {
  constexpr double kShareOfFree = 0.6;
  constexpr uint64_t kUnknown = 4ULL << 30;
  uint64_t memory = arguments.memory;
  if (memory == 0) {
    const uint64_t available = available_memory();
    memory = available == 0 ? kUnknown
                            : static_cast<uint64_t>(kShareOfFree * static_cast<double>(available));
  }
  scoring.hidden_memory = std::min(scoring.hidden_memory, memory / 4);
  if (arguments.memory == 0) memory /= processes;
  engine.weight_memory = std::min(memory / 2, 2 * decoded_bytes(model, engine.compute));
}

CorpusPart parse_corpus_part(const std::string& name) {
  if (name == "all") return CorpusPart::kAll;
  if (name == "calibration") return CorpusPart::kCalibration;
  if (name == "select") return CorpusPart::kSelect;
  if (name == "test") return CorpusPart::kTest;
  fail(ErrorCode::kBadArgument,
       "'{}' is no part of a corpus; expected all, calibration, select or test", name);
}

void add_coverage_options(CLI::App& command, CoverageArguments& arguments) {
  command
      .add_option("--include", arguments.include,
                  "Quantize also: embeddings, head, norms (not for seed schemes)")
      ->delimiter(',')
      ->allow_extra_args(false);
  command
      .add_option("--seed-family", arguments.seed_family,
                  "Parameters that seed schemes take: A, B or C, as in the published study")
      ->capture_default_str();
}

SeedFamily seed_family_of(const CoverageArguments& arguments) {
  const std::string& name = arguments.seed_family;
  if (name == "A") return SeedFamily::kA;
  if (name == "B") return SeedFamily::kB;
  if (name == "C") return SeedFamily::kC;
  fail(ErrorCode::kBadArgument, "--seed-family {}: expected A, B or C", name);
}

void parse_protect(const std::string& text, AssignmentRequest& request) {
  if (text == "none") return;
  const size_t equals = text.find('=');
  request.protect = text.substr(0, equals);
  if (equals == std::string::npos) return;
  if (equals == 0) {
    fail(ErrorCode::kBadArgument, "--protect {}: no units before '='; expected UNITS=SCHEME", text);
  }
  request.protect_scheme = parse_scheme(text.substr(equals + 1));
}

void refuse_calibrated(const AssignmentRequest& request) {
  for (const Scheme& scheme : {request.scheme, request.protect_scheme}) {
    const bool calibrated = needs_calibration(scheme);
    if (!calibrated && !needs_importance(scheme)) continue;
    fail(ErrorCode::kBadArgument,
         "scheme {}: its codes take {}; write the model by 'isogloss quantize', and measure the "
         "file by 'isogloss audit --candidate'",
         to_string(scheme), calibrated ? "calibration text" : "an importance matrix");
  }
}

}  // namespace isogloss
