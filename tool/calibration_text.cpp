#include "tool/calibration_text.h"

#include <charconv>
#include <numeric>

#include "isogloss/base/error.h"
#include "isogloss/base/suggest.h"

namespace isogloss {
namespace {

// "de=2,ko=3".
std::map<std::string, double> parse_given(const std::string& text) {
  std::map<std::string, double> given;
  size_t start = 0;
  while (start <= text.size()) {
    const size_t end = std::min(text.find(',', start), text.size());
    const std::string item = text.substr(start, end - start);
    const size_t equals = item.find('=');
    double weight = 0;
    const char* last = item.data() + item.size();
    const char* first = equals == item.npos ? last : item.data() + equals + 1;
    const auto [stop, error] = std::from_chars(first, last, weight);
    if (error != std::errc{} || stop != last || equals == 0) {
      fail(ErrorCode::kBadArgument,
           "--calibration-weights {}: expected tokens, equal, minimax, or weights by language as "
           "de=2,ko=3",
           text);
    }
    const LanguageInfo& language = get_language(item.substr(0, equals));
    if (!given.emplace(language.code, weight).second) {
      fail(ErrorCode::kBadArgument, "--calibration-weights {}: language {} is there twice", text,
           language.code);
    }
    start = end + 1;
  }
  return given;
}

std::vector<double> parse_weights(const std::string& text, const TokenizedCorpus& corpus) {
  if (text == "tokens") return language_weights(corpus, Weighting::kTokens);
  if (text == "equal" || text == "minimax") return language_weights(corpus, Weighting::kEqual);
  return language_weights(corpus, Weighting::kGiven, parse_given(text));
}

}  // namespace

void add_calibration_options(CLI::App& command, CalibrationArguments& a) {
  add_text_options(command, a.text);
  command
      .add_option("--calibration-weights", a.weights,
                  "How languages weigh: equal, tokens, minimax, or as de=2,ko=3")
      ->capture_default_str();
  command
      .add_option("--calibration-part", a.part,
                  "Units of the corpus to calibrate on: calibration (half of them) or all")
      ->capture_default_str();
  command.add_option("--minimax-rounds", a.rounds, "Rounds of weights that minimax tries")
      ->capture_default_str()
      ->check(CLI::Range(1, 100));
  command
      .add_option("--damping", a.damping,
                  "GPTQ: share of the Hessian's mean diagonal that is added to it")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  command.add_flag("--act-order", a.act_order,
                   "GPTQ: columns in order of what they meet, the largest first");
  command.add_flag("--allow-short-calibration", a.allow_short,
                   "GPTQ: go on with fewer tokens than a matrix has columns");
  command.add_option("--seed", a.seed, "Seed of the parts of the corpus")
      ->capture_default_str()
      ->check(kNotNegative);
}

CalibrationText read_calibration(const CalibrationArguments& arguments, const BuiltIn& built_in,
                                 const Model& model) {
  const Corpus corpus = read_text(arguments.text, built_in, arguments.seed);
  CalibrationText text;
  text.minimax = arguments.weights == "minimax";
  const auto tokens_of = [&](CorpusPart part) {
    return tokenize_text(select_part(corpus, part, arguments.seed), arguments.text, model);
  };
  const CorpusPart part = parse_corpus_part(arguments.part);
  if (text.minimax && part != CorpusPart::kCalibration) {
    fail(ErrorCode::kBadArgument,
         "--calibration-part {}: minimax judges weights on other units than it calibrates on; "
         "leave this option out",
         arguments.part);
  }
  text.calibration = tokens_of(part);
  if (text.minimax) text.select = tokens_of(CorpusPart::kSelect);
  text.weights = parse_weights(arguments.weights, text.calibration);
  return text;
}

CalibrationFacts calibration_facts(const CalibrationText& text,
                                   const CalibrationArguments& arguments) {
  CalibrationFacts facts;
  facts.corpus = corpus_facts(text.calibration, arguments.text);
  for (const TokenizedLanguage& language : text.calibration.languages) {
    for (const Sequence& sequence : language.sequences) facts.tokens += sequence.tokens.size();
  }
  facts.weights = text.weights;
  return facts;
}

}  // namespace isogloss
