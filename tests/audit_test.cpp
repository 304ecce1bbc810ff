// Contract of audit() in isogloss/measure/measure.h, with models that run. How scores become
// numbers is in measure_test.cpp.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <memory>
#include <numbers>

#include "isogloss/measure/measure_impl.h"
#include "tests/loaded_model.h"
#include "tests/model_files.h"

namespace isogloss {
namespace {

// Relative. A plain softmax differs by vector_exp's 2e-7 of a term, another packing by the order of
// sums in F32, both less in a sum over tokens; a largest KL passes through a float. Measured: 5e-8.
constexpr double kPackingTolerance = 1e-6;

// Nats, of one token: 1e-5 of a logit of size 10, as forward_test allows another packing.
constexpr double kTokenTolerance = 1e-4;

// What a long sum of doubles is off by.
constexpr double kRounding = 1e-9;

const std::vector<std::string> kLanguages = {"zh", "en", "he"};  // in no usual order
constexpr size_t kUnitsEach = 5;
constexpr size_t kDraws = 300;

AuditOptions few_draws() {
  AuditOptions options;
  options.draws = kDraws;
  return options;
}

// The shipped model, with schemes to run it in.
class Polyglot : public LoadedModel {
 public:
  Polyglot()
      : LoadedModel(repository_path("models/polyglot-12")),
        tokenizer_(model.vocabulary(), "polyglot-12") {}

  const Tokenizer& tokenizer() const { return tokenizer_; }

  TokenizedCorpus corpus(size_t units = kUnitsEach) const {
    return tokenize(builtin_corpus(kLanguages, units), tokenizer_, model.config().context_length);
  }

  AuditRun run(const std::string& scheme, SeedFamily family = SeedFamily::kB) {
    AssignmentRequest request;
    request.scheme = parse_scheme(scheme);
    request.seed_family = family;
    assignments_.push_back(assign(model, request));
    return {scheme + " run", scheme, "", {&model, &assignments_.back()}};
  }

  AuditResult audit_of(const std::vector<AuditRun>& runs, const TokenizedCorpus& corpus,
                       const AuditOptions& options = few_draws()) {
    return audit(engine, stored(), runs, corpus, options, {});
  }

 private:
  Tokenizer tokenizer_;
  std::deque<Assignment> assignments_;
};

// Every number of a result in one list, NaN for a missing one.
class Numbers {
 public:
  explicit Numbers(const RunResult& run) {
    add({run.bits_per_weight, static_cast<double>(run.size_bytes), run.worst_language_frequency});
    add(run.disparity.gap);
    add(run.disparity.gini);
    add(run.disparity.seed_disparity_mean);
    add({run.disparity.p_value, run.disparity.measurable ? 1.0 : 0.0});
    for (const auto* list :
         {&run.disparity.deviation, &run.disparity.deviation_lo, &run.disparity.deviation_hi}) {
      values_.insert(values_.end(), list->begin(), list->end());
    }
    for (const LanguageResult& language : run.languages) add(language);
  }

  const std::vector<double>& values() const { return values_; }

 private:
  void add(std::initializer_list<double> values) {
    values_.insert(values_.end(), values.begin(), values.end());
  }
  void add(const Estimate& estimate) { add({estimate.value, estimate.lo, estimate.hi}); }
  void add(const Measured& measured) { add(measured.estimate.value_or(Estimate{-1, -1, -1})); }
  void add(const LanguageResult& language) {
    add({static_cast<double>(language.tokens), static_cast<double>(language.units),
         static_cast<double>(language.bytes), language.ppl_reference, language.ppl,
         language.nll_reference_per_token, language.nll_per_token});
    const KlPerToken& kl = language.kl_per_token;
    add(kl.mean);
    add({kl.median, kl.p99, kl.p999, kl.max});
    for (const Measured* measured :
         {&language.excess_nats_per_unit, &language.excess_bits_per_byte, &language.kl_per_unit,
          &language.kl_per_byte, &language.flip_rate, &language.rho, &language.ln_rho,
          &language.seed_disparity}) {
      add(*measured);
    }
  }

  std::vector<double> values_;
};

void expect_same(const RunResult& found, const RunResult& expected) {
  EXPECT_EQ(Numbers(found).values(), Numbers(expected).values());
  EXPECT_EQ(found.name, expected.name);
  EXPECT_EQ(found.scheme, expected.scheme);
  EXPECT_EQ(found.regime, expected.regime);
  EXPECT_EQ(found.worst_language, expected.worst_language);
  EXPECT_EQ(found.disparity.verdict, expected.disparity.verdict);
}

double relative(double found, double expected) {
  return expected == 0 ? std::abs(found) : std::abs(found / expected - 1);
}

std::vector<double> log_softmax(std::span<const float> logits) {
  const auto most = static_cast<double>(*std::ranges::max_element(logits));
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - most);
  std::vector<double> logs;
  for (const float logit : logits) {
    logs.push_back(static_cast<double>(logit) - most - std::log(sum));
  }
  return logs;
}

// Sums of one language.
struct Sums {
  double tokens = 0, bytes = 0, nll_reference = 0, nll = 0, kl = 0, kl_max = 0, flips = 0;
};

void add_sequence(LoadedModel& ours, const Variant& variant, const Sequence& sequence, Sums& sums) {
  const HiddenStates base = ours.logits(ours.stored(), sequence.tokens);
  const HiddenStates logits = ours.logits(variant, sequence.tokens);
  sums.bytes += static_cast<double>(sequence.bytes);
  for (size_t t = 1; t < sequence.tokens.size(); ++t) {
    const auto log_p = log_softmax(base.row(t - 1));
    const auto log_q = log_softmax(logits.row(t - 1));
    const auto target = static_cast<size_t>(sequence.tokens[t]);
    double kl = 0;
    for (size_t i = 0; i < log_p.size(); ++i) kl += std::exp(log_p[i]) * (log_p[i] - log_q[i]);
    const auto most_likely = [](const std::vector<double>& logs) {
      return std::ranges::max_element(logs) - logs.begin();
    };
    sums.tokens += 1;
    sums.nll_reference -= log_p[target];
    sums.nll -= log_q[target];
    sums.kl += kl;
    sums.kl_max = std::max(sums.kl_max, kl);
    sums.flips += most_likely(log_p) != most_likely(log_q) ? 1 : 0;
  }
}

void expect_value(const Measured& measured, double expected) {
  ASSERT_TRUE(measured.estimate) << measured.status;
  EXPECT_LT(relative(measured.estimate->value, expected), kPackingTolerance);
}

void expect_sums(const LanguageResult& found, const Sums& sums, double units) {
  SCOPED_TRACE(found.code);
  EXPECT_EQ(static_cast<double>(found.units), units);
  EXPECT_EQ(static_cast<double>(found.tokens), sums.tokens);
  EXPECT_EQ(static_cast<double>(found.bytes), sums.bytes);
  EXPECT_LT(relative(found.ppl_reference, std::exp(sums.nll_reference / sums.tokens)),
            kPackingTolerance);
  EXPECT_LT(relative(found.ppl, std::exp(sums.nll / sums.tokens)), kPackingTolerance);
  const double excess = sums.nll - sums.nll_reference;
  expect_value(found.excess_nats_per_unit, excess / units);
  expect_value(found.excess_bits_per_byte, excess / std::numbers::ln2 / sums.bytes);
  EXPECT_LT(relative(found.kl_per_token.mean.value, sums.kl / sums.tokens), kPackingTolerance);
  EXPECT_LT(relative(found.kl_per_token.max, sums.kl_max), kPackingTolerance);
  expect_value(found.kl_per_unit, sums.kl / units);
  expect_value(found.kl_per_byte, sums.kl / sums.bytes);
  expect_value(found.flip_rate, sums.flips / sums.tokens);
}

TEST(Audit, EqualsAPlainRecomputationOfEachSequenceAlone) {
  Polyglot ours;
  const AuditRun run = ours.run("seed-int4");
  const TokenizedCorpus corpus = ours.corpus();
  const AuditResult result = ours.audit_of({run}, corpus);
  ASSERT_EQ(result.runs.size(), 1U);
  ASSERT_EQ(result.runs[0].languages.size(), kLanguages.size());
  for (size_t l = 0; l < kLanguages.size(); ++l) {
    Sums sums;
    for (const Sequence& sequence : corpus.languages[l].sequences) {
      add_sequence(ours, run.variant, sequence, sums);
    }
    expect_sums(result.runs[0].languages[l], sums, kUnitsEach);
  }
}

std::vector<CorpusScores> scores_of(Polyglot& ours, const std::vector<AuditRun>& runs,
                                    const AuditOptions& options) {
  Meter meter(1, {});
  std::vector<Configuration> configurations;
  for (const AuditRun& run : runs) configurations.push_back({run.name, run.variant});
  return score_corpus(ours.engine, ours.stored(), configurations, ours.corpus(), options, meter);
}

void expect_scores_near(const CorpusScores& found, const CorpusScores& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t l = 0; l < expected.size(); ++l) {
    ASSERT_EQ(found[l].units.size(), expected[l].units.size());
    for (size_t u = 0; u < expected[l].units.size(); ++u) {
      ASSERT_EQ(found[l].units[u].size(), expected[l].units[u].size());
      for (size_t t = 0; t < expected[l].units[u].size(); ++t) {
        const TokenScore& a = found[l].units[u][t];
        const TokenScore& b = expected[l].units[u][t];
        EXPECT_LT(std::abs(a.nll - b.nll), kTokenTolerance);
        EXPECT_LT(std::abs(a.nll_reference - b.nll_reference), kTokenTolerance);
        EXPECT_LT(std::abs(static_cast<double>(a.kl) - static_cast<double>(b.kl)), kTokenTolerance);
      }
    }
  }
}

TEST(Audit, DoesNotDependOnBatchesSlicesAndChunks) {
  Polyglot ours;
  const std::vector<AuditRun> runs = {ours.run("seed-int4"), ours.run("q8_0")};
  const auto expected = scores_of(ours, runs, {});
  std::vector<AuditOptions> shapes(7);
  shapes[0].batch_tokens = 1;         // each sequence alone
  shapes[1].hidden_memory = 200'000;  // a slice of 65 tokens
  shapes[2].hidden_memory = 1;        // a slice for each sequence
  shapes[3].head_rows = 1;            // each position alone
  shapes[4].batch_tokens = 100;
  shapes[4].hidden_memory = 2'000'000;
  shapes[4].head_rows = 100;
  shapes[5].logits_at_once = 1;  // the narrowest slices of the vocabulary
  shapes[6].runs_at_once = 1;
  for (size_t i = 0; i < shapes.size(); ++i) {
    SCOPED_TRACE("shape " + std::to_string(i));
    const auto found = scores_of(ours, runs, shapes[i]);
    ASSERT_EQ(found.size(), runs.size());
    for (size_t run = 0; run < runs.size(); ++run) expect_scores_near(found[run], expected[run]);
  }
}

TEST(Audit, GivesTheSameNumbersAgain) {
  Polyglot ours;
  const std::vector<AuditRun> runs = {ours.run("q4_k")};
  const AuditResult first = ours.audit_of(runs, ours.corpus());
  const AuditResult again = ours.audit_of(runs, ours.corpus());
  expect_same(again.runs[0], first.runs[0]);
  EXPECT_EQ(again.noise_floor.kl_per_token_mean, first.noise_floor.kl_per_token_mean);
  Polyglot other;
  expect_same(other.audit_of({other.run("q4_k")}, other.corpus()).runs[0], first.runs[0]);
}

TEST(Audit, MeasuresEachRunAsIfItWereAlone) {
  Polyglot ours;
  const std::vector<AuditRun> runs = {ours.run("rtn-int4-g64"), ours.run("seed-int8")};
  const AuditResult together = ours.audit_of(runs, ours.corpus());
  ASSERT_EQ(together.runs.size(), 2U);
  for (size_t r = 0; r < runs.size(); ++r) {
    expect_same(ours.audit_of({runs[r]}, ours.corpus()).runs[0], together.runs[r]);
  }
}

TEST(Audit, ReportsProgressFromStartToEnd) {
  Polyglot ours;
  std::vector<double> done;
  AuditOptions options = few_draws();
  options.hidden_memory = 200'000;
  audit(ours.engine, ours.stored(), {ours.run("seed-int4"), ours.run("q8_0")}, ours.corpus(2),
        options, [&](std::string_view, double share) { done.push_back(share); });
  ASSERT_FALSE(done.empty());
  EXPECT_TRUE(std::ranges::is_sorted(done));
  EXPECT_GE(done.front(), 0);
  EXPECT_LE(done.back(), 1);
  EXPECT_NEAR(done.back(), 1, kRounding);
}

TEST(Audit, FindsNothingInTheReferenceItself) {
  Polyglot ours;
  const RunResult run = ours.audit_of({ours.run("none")}, ours.corpus()).runs.at(0);
  EXPECT_EQ(run.regime, Regime::kNormal);
  EXPECT_EQ(run.worst_language, "");
  EXPECT_EQ(run.worst_language_frequency, 0);
  EXPECT_FALSE(run.disparity.measurable);
  EXPECT_EQ(run.disparity.p_value, 1);
  EXPECT_TRUE(run.disparity.verdict.starts_with("no measurable disparity"));
  const auto expect_zero = [](const Measured& measured) {
    ASSERT_TRUE(measured.estimate) << measured.status;
    EXPECT_EQ(measured.estimate->value, 0);
    EXPECT_EQ(measured.estimate->lo, 0);
    EXPECT_EQ(measured.estimate->hi, 0);
  };
  expect_zero(run.disparity.gap);
  expect_zero(run.disparity.gini);
  EXPECT_TRUE(run.disparity.seed_disparity_mean.status.starts_with("DEGENERATE"));
  for (const LanguageResult& language : run.languages) {
    for (const Measured* measured :
         {&language.excess_nats_per_unit, &language.excess_bits_per_byte, &language.kl_per_unit,
          &language.kl_per_byte, &language.flip_rate}) {
      expect_zero(*measured);
    }
    EXPECT_EQ(language.kl_per_token.max, 0);
    EXPECT_EQ(language.ppl, language.ppl_reference);
    for (const Measured* ratio : {&language.rho, &language.ln_rho, &language.seed_disparity}) {
      EXPECT_FALSE(ratio->estimate);
      EXPECT_TRUE(ratio->status.starts_with("DEGENERATE")) << ratio->status;
    }
  }
}

void expect_in_order(const Measured& measured) {
  ASSERT_TRUE(measured.estimate) << measured.status;
  EXPECT_LE(measured.estimate->lo, measured.estimate->value);
  EXPECT_LE(measured.estimate->value, measured.estimate->hi);
}

TEST(Audit, KeepsTheOrderOfLanguagesAndItsValuesWithinTheirIntervals) {
  Polyglot ours;
  const AuditResult result = ours.audit_of({ours.run("seed-int4")}, ours.corpus(16));
  const RunResult& run = result.runs.at(0);
  ASSERT_EQ(run.languages.size(), kLanguages.size());
  expect_in_order(run.disparity.gap);
  expect_in_order(run.disparity.gini);
  expect_in_order(run.disparity.seed_disparity_mean);
  for (size_t l = 0; l < kLanguages.size(); ++l) {
    const LanguageResult& language = run.languages[l];
    SCOPED_TRACE(language.code);
    EXPECT_EQ(language.code, kLanguages[l]);
    for (const Measured* measured :
         {&language.excess_nats_per_unit, &language.excess_bits_per_byte, &language.kl_per_unit,
          &language.kl_per_byte, &language.flip_rate, &language.rho, &language.ln_rho,
          &language.seed_disparity}) {
      expect_in_order(*measured);
    }
    const KlPerToken& kl = language.kl_per_token;
    expect_in_order({kl.mean, ""});
    EXPECT_TRUE(0 <= kl.median && kl.median <= kl.p99 && kl.p99 <= kl.p999 && kl.p999 <= kl.max);
    EXPECT_LE(run.disparity.deviation_lo[l], run.disparity.deviation[l]);
    EXPECT_GE(run.disparity.deviation_hi[l], run.disparity.deviation[l]);
  }
  EXPECT_NEAR(run.languages[1].rho.estimate->value, 1, kRounding);  // English
  EXPECT_NE(std::ranges::find(kLanguages, run.worst_language), kLanguages.end());
  EXPECT_GE(run.worst_language_frequency, 0);
  EXPECT_LE(run.worst_language_frequency, 1);
}

TEST(Audit, NamesItsRunsAndWhatTheyWeigh) {
  Polyglot ours;
  const AuditRun run = ours.run("q4_k");
  const AuditResult result = ours.audit_of({run}, ours.corpus(2));
  EXPECT_EQ(result.reference_language, "en");
  EXPECT_TRUE(result.parallel);
  EXPECT_EQ(result.draws, kDraws);
  EXPECT_EQ(result.runs[0].name, "q4_k run");
  EXPECT_EQ(result.runs[0].scheme, "q4_k");
  const ModelSize size = assigned_size(ours.model, *run.variant.assignment);
  EXPECT_EQ(result.runs[0].size_bytes, size.size_bytes);
  EXPECT_EQ(result.runs[0].bits_per_weight, size.bits_per_weight);
  EXPECT_EQ(result.runs[0].fallbacks.size(), run.variant.assignment->fallbacks.size());
}

TEST(Audit, SeesAModelThatCollapsed) {
  Polyglot ours;
  const AuditResult result =
      ours.audit_of({ours.run("seed-int2", SeedFamily::kA), ours.run("q8_0")}, ours.corpus(2));
  EXPECT_EQ(result.runs[0].regime, Regime::kCollapsed);
  EXPECT_EQ(result.runs[1].regime, Regime::kNormal);
}

TEST(Audit, MeasuresANoiseFloorOfRoundingOnly) {
  Polyglot ours;
  const TokenizedCorpus corpus = ours.corpus(9);
  size_t tokens = 0;  // of units 0 and 8
  for (const auto& language : corpus.languages) {
    tokens += language.sequences[0].scored() + language.sequences[8].scored();
  }
  AuditOptions few_rows = few_draws();
  few_rows.head_rows = 16;  // more chunks than one, cut in two ways
  for (const AuditOptions& options : {few_draws(), few_rows}) {
    const NoiseFloor floor = ours.audit_of({}, corpus, options).noise_floor;
    EXPECT_EQ(floor.tokens, tokens);
    EXPECT_EQ(floor.flip_rate, 0);
    EXPECT_LE(0, floor.kl_per_token_mean);
    EXPECT_LE(floor.kl_per_token_mean, floor.kl_per_token_max);
    EXPECT_LT(floor.kl_per_token_max, kTokenTolerance);
    EXPECT_LT(floor.nll_per_token_max, kTokenTolerance);
  }
}

TEST(Audit, ComparesWindowsByByte) {
  constexpr size_t kWindow = 32;
  Polyglot ours;
  const TokenizedCorpus corpus =
      tokenize_windows(builtin_corpus(kLanguages, 6), ours.tokenizer(), kWindow);
  const AuditResult result = ours.audit_of({ours.run("seed-int4")}, corpus);
  EXPECT_FALSE(result.parallel);
  const RunResult& run = result.runs.at(0);
  double most = 0;
  for (size_t l = 0; l < kLanguages.size(); ++l) {
    const LanguageResult& language = run.languages.at(l);
    EXPECT_EQ(language.units, corpus.languages[l].sequences.size());
    EXPECT_EQ(language.tokens, language.units * (kWindow / 2 - 1));
    EXPECT_TRUE(language.rho.status.starts_with("UNDEFINED")) << language.rho.status;
    EXPECT_TRUE(language.ln_rho.status.starts_with("UNDEFINED")) << language.ln_rho.status;
    most = std::max(most, language.kl_per_byte.estimate->value);
  }
  const auto worst = std::ranges::find(run.languages, run.worst_language, &LanguageResult::code);
  ASSERT_NE(worst, run.languages.end());
  EXPECT_EQ(worst->kl_per_byte.estimate->value, most);
}

TEST(Audit, ScoresOnlyTheSecondHalvesOfWindows) {
  constexpr size_t kWindow = 16;
  Polyglot ours;
  const TokenizedCorpus corpus =
      tokenize_windows(builtin_corpus({"de"}, 2), ours.tokenizer(), kWindow);
  AuditOptions options = few_draws();
  options.reference_language = "de";
  const AuditResult result = ours.audit_of({ours.run("none")}, corpus, options);
  double nll = 0;
  for (const Sequence& sequence : corpus.languages[0].sequences) {
    const HiddenStates logits = ours.logits(ours.stored(), sequence.tokens);
    for (size_t t = kWindow / 2 + 1; t < kWindow; ++t) {
      nll -= log_softmax(logits.row(t - 1))[static_cast<size_t>(sequence.tokens[t])];
    }
  }
  const LanguageResult& language = result.runs.at(0).languages.at(0);
  EXPECT_LT(relative(language.nll_per_token, nll / static_cast<double>(language.tokens)),
            kPackingTolerance);
}

TEST(Audit, RejectsAReferenceLanguageThatTheCorpusLacks) {
  Polyglot ours;
  AuditOptions options = few_draws();
  const auto audit_against = [&](const std::string& language) {
    options.reference_language = language;
    return failure_of([&] { ours.audit_of({ours.run("q8_0")}, ours.corpus(1), options); });
  };
  EXPECT_TRUE(says(audit_against("de"), ErrorCode::kBadArgument, {"'de'", "zh, en, he"}));
  EXPECT_TRUE(says(audit_against(""), ErrorCode::kBadArgument, {"''", "zh, en, he"}));
  for (const char* good : {"zh", "en", "he", "geomean"}) {
    EXPECT_EQ(audit_against(good).code, std::nullopt) << good;
  }
}

// A tiny model, the scales of its last norm multiplied: finite numbers whose products are not.
std::unique_ptr<LoadedModel> tiny_model(float factor) {
  HfDirectory files = tiny_hf();
  std::string& scales = files.tensor("ln_f.weight").data;
  scales.clear();
  for (size_t i = 0; i < kTinyGpt2.width; ++i) scales += bytes_of(factor);
  const TemporaryDirectory directory;
  files.write(directory);
  return std::make_unique<LoadedModel>(directory.path());
}

TEST(Audit, RejectsOutputsThatAreNotFinite) {
  const auto good = tiny_model(1);
  const auto bad = tiny_model(3e38F);
  const TokenizedCorpus corpus{"made up", true, {{"en", {"seven"}, {{{1, 5, 9, 6}, 1, 3}}}}};
  const auto audit_of = [&](const LoadedModel& reference, const LoadedModel& candidate) {
    return failure_of([&] {
      audit(good->engine, reference.stored(), {{"the run", "none", "", candidate.stored()}}, corpus,
            few_draws(), {});
    });
  };
  EXPECT_TRUE(says(audit_of(*good, *bad), ErrorCode::kNotFinite,
                   {"the run: ", "quantized model", "en", "'seven'", "token 1"}));
  EXPECT_TRUE(says(audit_of(*bad, *good), ErrorCode::kNotFinite, {"the reference", "'seven'"}));
  EXPECT_EQ(audit_of(*good, *good).code, std::nullopt);
}

}  // namespace
}  // namespace isogloss
