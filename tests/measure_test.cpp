// Contract of isogloss/measure/measure_impl.h: logits to token scores, token scores to numbers that
// compare languages. What needs a model is in audit_test.cpp.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <numeric>

#include "isogloss/base/random.h"
#include "isogloss/measure/measure_impl.h"

namespace isogloss {
namespace {

using Numbers = std::vector<float>;
using Codes = std::vector<std::string>;

// Nats. vector_exp is off by 2e-7 of each term at most, and less of a sum; measured 1.4e-8.
constexpr double kLogSumTolerance = 1e-7;

// Of a KL of 1 or more, absolute below it: as above, weighted by the difference of the logits, and
// the rounding of a float; measured 1.6e-7.
constexpr double kKlTolerance = 5e-7;

// A few roundings of a double, for what is equal in exact arithmetic.
constexpr double kRounding = 1e-12;

// A KL passes through a float.
constexpr double kFloatRounding = 1e-7;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

double normal(Random& random) {
  const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
  return radius * std::cos(2 * std::numbers::pi * random.uniform());
}

Numbers random_row(Random& random, size_t size, double scale) {
  Numbers row(size);
  for (float& logit : row) logit = static_cast<float>(scale * normal(random));
  return row;
}

long double plain_log_sum(const Numbers& row) {
  const auto most = static_cast<long double>(*std::ranges::max_element(row));
  long double sum = 0;
  for (const float logit : row) sum += std::exp(static_cast<long double>(logit) - most);
  return most + std::log(sum);
}

long double plain_kl(const Numbers& reference, const Numbers& row) {
  const long double reference_sum = plain_log_sum(reference);
  const long double sum = plain_log_sum(row);
  long double kl = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    const long double log_p = static_cast<long double>(reference[i]) - reference_sum;
    const long double log_q = static_cast<long double>(row[i]) - sum;
    kl += std::exp(log_p) * (log_p - log_q);
  }
  return kl;
}

long double plain_entropy(const Numbers& row) {
  const long double sum = plain_log_sum(row);
  long double entropy = 0;
  for (const float logit : row) {
    const long double log_p = static_cast<long double>(logit) - sum;
    entropy -= std::exp(log_p) * log_p;
  }
  return entropy;
}

size_t place_of_most(const Numbers& row) {
  return static_cast<size_t>(std::ranges::max_element(row) - row.begin());
}

// Rows compared in slices of `slice` tokens; 0: all at once.
TokenScore compare_logits(const Numbers& reference, const Numbers& row, size_t target,
                          size_t slice = 0) {
  if (slice == 0) slice = row.size();
  ReferenceSums reference_sums;
  LogitSums sums;
  for (size_t first = 0; first < row.size(); first += slice) {
    const size_t count = std::min(slice, row.size() - first);
    Numbers weights(count);
    Numbers logits(row.data() + first, row.data() + first + count);
    add_reference_logits(reference_sums, std::span(reference).subspan(first, count), first, target,
                         weights);
    add_logits(sums, reference_sums, weights, logits, first, target);
  }
  return compare(reference_sums, sums);
}

void expect_plain_scores(const Numbers& reference, const Numbers& row, size_t target,
                         size_t slice) {
  const auto reference_sum = static_cast<double>(plain_log_sum(reference));
  const TokenScore score = compare_logits(reference, row, target, slice);
  EXPECT_NEAR(score.nll_reference, reference_sum - static_cast<double>(reference[target]),
              kLogSumTolerance);
  EXPECT_NEAR(score.nll, static_cast<double>(plain_log_sum(row)) - static_cast<double>(row[target]),
              kLogSumTolerance);
  const auto kl = static_cast<double>(plain_kl(reference, row));
  EXPECT_LE(std::abs(static_cast<double>(score.kl) - kl) / std::max(1.0, kl), kKlTolerance);
  EXPECT_EQ(score.flipped, place_of_most(reference) != place_of_most(row));
  const auto entropy = static_cast<double>(plain_entropy(reference));
  EXPECT_LE(
      std::abs(static_cast<double>(score.entropy_reference) - entropy) / std::max(1.0, entropy),
      kKlTolerance);
}

TEST(CompareLogits, EqualsASoftmaxInLongDouble) {
  Random random(1);
  for (const size_t size : {7U, 1000U, 16384U}) {
    for (const double scale : {1.0, 10.0, 60.0}) {
      for (const double noise : {1e-3, 0.1, 3.0}) {
        SCOPED_TRACE(std::to_string(size) + " logits of scale " + std::to_string(scale) +
                     ", noise " + std::to_string(noise));
        const Numbers reference = random_row(random, size, scale);
        Numbers row = random_row(random, size, noise * scale);
        for (size_t i = 0; i < size; ++i) row[i] += reference[i];
        for (const size_t slice : {size, size_t{1}, size_t{64}, size / 3 + 1}) {
          expect_plain_scores(reference, row, random.below(size), slice);
          expect_plain_scores(reference, random_row(random, size, scale), place_of_most(reference),
                              slice);
        }
      }
    }
  }
}

TEST(CompareLogits, GivesExactlyNoLossToIdenticalRows) {
  Random random(2);
  for (const size_t size : {1U, 7U, 1000U, 16384U, 50257U}) {
    for (const double scale : {1.0, 10.0, 60.0}) {
      const Numbers row = random_row(random, size, scale);
      const Numbers copy = row;
      for (const size_t slice : {size, size_t{1}, size_t{64}, size / 3 + 1}) {
        const TokenScore score = compare_logits(row, copy, 0, slice);
        EXPECT_EQ(score.kl, 0) << size << " logits of scale " << scale;
        EXPECT_EQ(score.nll, score.nll_reference) << size << " logits of scale " << scale;
        EXPECT_FALSE(score.flipped);
      }
    }
  }
}

TEST(CompareLogits, DoesNotSeeAConstantAddedToARow) {
  const Numbers reference = {1, 2, 4, 3};
  const Numbers row = {-31, -30, -28, -29};
  const TokenScore score = compare_logits(reference, row, 1);
  EXPECT_NEAR(static_cast<double>(score.kl), 0, kRounding);
  EXPECT_NEAR(score.nll, score.nll_reference, kRounding);
  EXPECT_FALSE(score.flipped);
}

TEST(CompareLogits, TakesTheFirstOfEquallyLikelyTokens) {
  const Numbers reference = {0, 2, 2, 1};
  for (const size_t slice : {1U, 2U, 3U, 4U}) {
    EXPECT_FALSE(compare_logits(reference, {0, 3, 3, 1}, 0, slice).flipped);
    EXPECT_TRUE(compare_logits(reference, {3, 3, 3, 1}, 0, slice).flipped);
    EXPECT_TRUE(compare_logits(reference, {0, 2, 2.5F, 1}, 0, slice).flipped);
  }
}

// Of each place of a row, what a bad logit there does to the scores of another place.
TEST(CompareLogits, LetsNoLogitThatIsNotFinitePassUnseen) {
  Random random(3);
  const Numbers good = random_row(random, 100, 2);
  const auto is_finite = [](const TokenScore& score) {
    return std::isfinite(score.nll) && std::isfinite(score.nll_reference) &&
           std::isfinite(score.kl);
  };
  ASSERT_TRUE(is_finite(compare_logits(good, good, 50)));
  for (const float value : {kNaN, kInfinity, -kInfinity}) {
    for (const size_t place : {0U, 1U, 33U, 98U, 99U}) {
      Numbers bad = good;
      bad[place] = value;
      for (const size_t slice : {100U, 33U, 1U}) {
        EXPECT_FALSE(is_finite(compare_logits(bad, good, 50, slice)))
            << value << " at " << place << " of the reference";
        EXPECT_FALSE(is_finite(compare_logits(good, bad, 50, slice))) << value << " at " << place;
      }
    }
  }
}

TEST(CompareLogits, PassesOnNaN) {
  Numbers bad(20, 1);
  const Numbers good = bad;
  bad[7] = kNaN;
  const TokenScore of_run = compare_logits(good, bad, 3);
  EXPECT_TRUE(std::isnan(of_run.nll));
  EXPECT_TRUE(std::isnan(of_run.kl));
  EXPECT_FALSE(std::isnan(of_run.nll_reference));
  const TokenScore of_reference = compare_logits(bad, good, 3);
  EXPECT_TRUE(std::isnan(of_reference.nll_reference));
  EXPECT_TRUE(std::isnan(of_reference.kl));
  EXPECT_FALSE(std::isnan(of_reference.nll));
}

// A corpus of made-up scores.
struct Scores {
  TokenizedCorpus corpus{"synthetic", true, {}};
  CorpusScores scores;
};

constexpr size_t kUnitTokens = 5;  // scored of each unit
constexpr size_t kUnitBytes = 20;
constexpr size_t kVocabulary = 1000;

using MakeScore = std::function<TokenScore(size_t language, size_t unit)>;

Scores make_scores(const Codes& codes, size_t units, const MakeScore& make) {
  Scores result;
  for (size_t l = 0; l < codes.size(); ++l) {
    TokenizedLanguage language{codes[l], {}, {}};
    LanguageScores scores;
    for (size_t u = 0; u < units; ++u) {
      language.unit_ids.push_back(std::to_string(u));
      language.sequences.push_back({std::vector<int32_t>(kUnitTokens + 1), 1, kUnitBytes});
      scores.units.emplace_back();
      for (size_t t = 0; t < kUnitTokens; ++t) scores.units.back().push_back(make(l, u));
    }
    result.corpus.languages.push_back(std::move(language));
    result.scores.push_back(std::move(scores));
  }
  return result;
}

AuditOptions few_draws() {
  AuditOptions options;
  options.draws = 1000;
  return options;
}

RunResult summarize(const Scores& scores, const AuditOptions& options = few_draws()) {
  return summarize_run(scores.corpus, scores.scores, options, kVocabulary);
}

void expect_constant(const Measured& measured, double value, double tolerance) {
  ASSERT_TRUE(measured.estimate) << measured.status;
  EXPECT_EQ(measured.status, "");
  const double slack = tolerance * std::max(1.0, std::abs(value));
  EXPECT_NEAR(measured.estimate->value, value, slack);
  EXPECT_NEAR(measured.estimate->lo, value, slack);
  EXPECT_NEAR(measured.estimate->hi, value, slack);
}

void expect_around(const Measured& measured, double value, double tolerance) {
  ASSERT_TRUE(measured.estimate) << measured.status;
  EXPECT_NEAR(measured.estimate->value, value, tolerance * std::max(1.0, std::abs(value)));
  EXPECT_LE(measured.estimate->lo, measured.estimate->value);
  EXPECT_GE(measured.estimate->hi, measured.estimate->value);
}

// Losses in the ratio 1 : 3 : 6 in every unit, of a size that differs from unit to unit.
Scores proportional_scores() {
  constexpr double kFactors[] = {1, 3, 6};
  return make_scores({"en", "de", "zh"}, 40, [&](size_t l, size_t u) {
    const double loss = 0.01 * static_cast<double>(1 + u % 7) * kFactors[l];
    return TokenScore{2, 2 + loss, static_cast<float>(loss / 2), u % 4 == 0};
  });
}

// Mean over units of 1 + u % 7.
double mean_size() {
  double sum = 0;
  for (size_t u = 0; u < 40; ++u) sum += static_cast<double>(1 + u % 7);
  return sum / 40;
}

TEST(SummarizeRun, GivesTheSumsOfItsScores) {
  const RunResult result = summarize(proportional_scores());
  ASSERT_EQ(result.languages.size(), 3U);
  const LanguageResult& german = result.languages[1];
  const double loss = 0.01 * mean_size() * 3;  // nats a token
  EXPECT_EQ(german.code, "de");
  EXPECT_EQ(german.units, 40U);
  EXPECT_EQ(german.tokens, 40 * kUnitTokens);
  EXPECT_EQ(german.bytes, 40 * kUnitBytes);
  EXPECT_NEAR(german.nll_reference_per_token, 2, kRounding);
  EXPECT_NEAR(german.nll_per_token, 2 + loss, kRounding);
  EXPECT_NEAR(german.ppl_reference, std::exp(2), kRounding * 10);
  EXPECT_NEAR(german.ppl, std::exp(2 + loss), kRounding * 10);
  const double unit_loss = loss * kUnitTokens;
  expect_around(german.excess_nats_per_unit, unit_loss, kRounding);
  expect_around(german.excess_bits_per_byte, unit_loss / std::numbers::ln2 / kUnitBytes, kRounding);
  expect_around(german.kl_per_unit, unit_loss / 2, kFloatRounding);
  expect_around(german.kl_per_byte, unit_loss / 2 / kUnitBytes, kFloatRounding);
  expect_around({german.kl_per_token.mean, ""}, loss / 2, kFloatRounding);
  expect_around(german.flip_rate, 0.25, kRounding);
}

TEST(SummarizeRun, GivesTheDistributionOfKlOverTokens) {
  // Every token of unit u has KL u: the ranks are those of the units.
  const RunResult result = summarize(make_scores({"en"}, 1001, [](size_t, size_t u) {
    return TokenScore{2, 2, static_cast<float>(u), false};
  }));
  const KlPerToken& kl = result.languages[0].kl_per_token;
  EXPECT_EQ(kl.median, 500);
  EXPECT_NEAR(kl.p99, 990, 1);
  EXPECT_NEAR(kl.p999, 999, 1);
  EXPECT_EQ(kl.max, 1000);
  EXPECT_NEAR(kl.mean.value, 500, kRounding * 500);
}

TEST(SummarizeRun, ComparesLossesWithTheReferenceLanguage) {
  AuditOptions options = few_draws();
  for (const auto& [reference, base] : {std::pair{"en", 1.0}, {"de", 3.0}, {"zh", 6.0}}) {
    SCOPED_TRACE(reference);
    options.reference_language = reference;
    const RunResult result = summarize(proportional_scores(), options);
    for (const auto& [l, factor] : {std::pair{0U, 1.0}, {1U, 3.0}, {2U, 6.0}}) {
      // Units are drawn together, so that what is proportional in every unit has no interval.
      expect_constant(result.languages[l].rho, factor / base, kRounding * 10);
      expect_constant(result.languages[l].ln_rho, std::log(factor / base), kRounding * 10);
    }
  }
}

TEST(SummarizeRun, ComparesLossesWithTheirGeometricMean) {
  AuditOptions options = few_draws();
  options.reference_language = "geomean";
  const RunResult result = summarize(proportional_scores(), options);
  const double mean = std::cbrt(1.0 * 3 * 6);
  for (const auto& [l, factor] : {std::pair{0U, 1.0}, {1U, 3.0}, {2U, 6.0}}) {
    expect_constant(result.languages[l].rho, factor / mean, kRounding * 10);
    expect_constant(result.languages[l].ln_rho, std::log(factor / mean), kRounding * 10);
    EXPECT_TRUE(result.languages[l].seed_disparity.status.starts_with("UNDEFINED"));
  }
  EXPECT_TRUE(result.disparity.seed_disparity_mean.status.starts_with("UNDEFINED"));
}

TEST(SummarizeRun, GivesGapAndGiniOfKlPerUnit) {
  const RunResult result = summarize(proportional_scores());
  const double unit = 0.01 * mean_size() * kUnitTokens / 2;  // of the language of factor 1
  expect_around(result.disparity.gap, 5 * unit, kFloatRounding);
  // Of {1, 3, 6}: differences 2, 3 and 5 in both orders, over 2 n^2 times the mean.
  expect_constant(result.disparity.gini, 20.0 / (2 * 9 * (10.0 / 3)), kFloatRounding);
}

// Of the same nats a token in every unit.
Scores constant_scores(const std::vector<double>& losses) {
  Codes codes = {"en", "de", "zh", "ko"};
  codes.resize(losses.size());
  return make_scores(codes, 10, [&](size_t l, size_t) {
    return TokenScore{2, 2 + losses[l], static_cast<float>(std::abs(losses[l])), false};
  });
}

TEST(SummarizeRun, GivesThePublishedStudysDisparity) {
  const RunResult result = summarize(constant_scores({0.1, 0.3, 0.05, -0.2}));
  // Percent growth of perplexity, over English's; negative for a language that gains.
  const auto disparity = [](double loss) {
    return (std::exp(loss) - 1) * 100 / ((std::exp(0.1) - 1) * 100);
  };
  expect_constant(result.languages[0].seed_disparity, 1, kRounding * 10);
  expect_constant(result.languages[1].seed_disparity, disparity(0.3), kRounding * 10);
  expect_constant(result.languages[2].seed_disparity, disparity(0.05), kRounding * 10);
  expect_constant(result.languages[3].seed_disparity, disparity(-0.2), kRounding * 10);
  expect_constant(result.disparity.seed_disparity_mean,
                  (disparity(0.3) + disparity(0.05) + disparity(-0.2)) / 3, kRounding * 10);
}

void expect_status(const Measured& measured, const std::string& start) {
  EXPECT_FALSE(measured.estimate);
  EXPECT_TRUE(measured.status.starts_with(start)) << measured.status;
}

TEST(SummarizeRun, MakesNoRatioOverALanguageThatDidNotLose) {
  for (const double english : {0.0, -0.1}) {
    const RunResult result = summarize(constant_scores({english, 0.3}));
    for (const LanguageResult& language : result.languages) {
      expect_status(language.rho, "DEGENERATE");
      expect_status(language.ln_rho, "DEGENERATE");
      expect_status(language.seed_disparity, "DEGENERATE");
    }
    expect_status(result.disparity.seed_disparity_mean, "DEGENERATE");
  }
}

TEST(SummarizeRun, MakesNoLogarithmOfALanguageThatGained) {
  const RunResult result = summarize(constant_scores({0.1, -0.2}));
  expect_constant(result.languages[1].rho, -2, kRounding * 10);
  expect_status(result.languages[1].ln_rho, "DEGENERATE");
}

TEST(SummarizeRun, ComparesNoUnitsOfACorpusThatIsNotParallel) {
  Scores scores = proportional_scores();
  scores.corpus.parallel = false;
  // Twice the KL per byte on a quarter of the units.
  auto& english = scores.corpus.languages[0];
  english.sequences.resize(10);
  english.unit_ids.resize(10);
  scores.scores[0].units.resize(10);
  for (auto& unit : scores.scores[0].units) {
    for (TokenScore& token : unit) token.kl = 1;
  }
  const RunResult result = summarize(scores);
  for (const LanguageResult& language : result.languages) {
    expect_status(language.rho, "UNDEFINED");
    expect_status(language.ln_rho, "UNDEFINED");
    EXPECT_TRUE(language.seed_disparity.estimate);
  }
  EXPECT_EQ(result.languages[0].units, 10U);
  EXPECT_EQ(result.worst_language, "en");
  const double most = static_cast<double>(kUnitTokens) / kUnitBytes;
  const double least = 0.01 * mean_size() * 3 / 2 * kUnitTokens / kUnitBytes;
  expect_around(result.disparity.gap, most - least, kFloatRounding);
}

// KL of a unit is lognormal, and in part the same in every language.
Scores noisy_scores(const Codes& codes, size_t units, const std::vector<double>& factors,
                    uint64_t seed) {
  Random random(seed);
  std::vector<double> shared(units);
  for (double& value : shared) value = 0.7 * normal(random);
  return make_scores(codes, units, [&](size_t l, size_t u) {
    const double kl = 0.1 * factors[l] * std::exp(shared[u] + 0.3 * normal(random));
    return TokenScore{3, 3 + kl * (1 + 0.2 * normal(random)), static_cast<float>(kl), false};
  });
}

TEST(SummarizeRun, FindsNoDisparityWhereAllLanguagesLoseTheSame) {
  const Codes codes = {"en", "de", "zh", "ko", "ar"};
  const RunResult noisy = summarize(noisy_scores(codes, 100, {1, 1, 1, 1, 1}, 4));
  EXPECT_GT(noisy.disparity.p_value, 0.05);
  EXPECT_FALSE(noisy.disparity.measurable);
  EXPECT_TRUE(noisy.disparity.verdict.starts_with("no measurable disparity"));
  EXPECT_LT(noisy.worst_language_frequency, 0.95);
  for (size_t l = 0; l < codes.size(); ++l) {
    EXPECT_LT(noisy.disparity.deviation_lo[l], 0) << codes[l];
    EXPECT_GT(noisy.disparity.deviation_hi[l], 0) << codes[l];
  }
}

TEST(SummarizeRun, IsCertainOfNoDisparityBetweenCopiesOfALanguage) {
  Scores scores = noisy_scores({"en", "de", "zh"}, 50, {1, 1, 1}, 5);
  for (auto& language : scores.scores) language = scores.scores[0];
  const RunResult result = summarize(scores);
  EXPECT_EQ(result.disparity.p_value, 1);
  EXPECT_FALSE(result.disparity.measurable);
  EXPECT_NEAR(result.disparity.gap.estimate->value, 0, kRounding);
  for (const LanguageResult& language : result.languages) {
    expect_constant(language.rho, 1, kRounding);
    expect_constant(language.seed_disparity, 1, kRounding);
  }
}

TEST(SummarizeRun, FindsALanguageThatLosesThreeTimesAsMuch) {
  const Codes codes = {"en", "de", "zh", "ko", "ar"};
  const RunResult result = summarize(noisy_scores(codes, 100, {1, 1, 3, 1, 1}, 6));
  const Disparity& disparity = result.disparity;
  EXPECT_LT(disparity.p_value, 0.01);
  EXPECT_TRUE(disparity.measurable);
  EXPECT_EQ(result.worst_language, "zh");
  EXPECT_EQ(result.worst_language_frequency, 1);
  // ln 3 from the others, less a fifth of it from the mean that it moves.
  EXPECT_NEAR(disparity.deviation[2], 0.8 * std::log(3), 0.15);
  for (size_t l = 0; l < codes.size(); ++l) {
    EXPECT_EQ(disparity.deviation_lo[l] > 0, l == 2) << codes[l];
    EXPECT_EQ(disparity.deviation_hi[l] < 0, l != 2) << codes[l];
    EXPECT_LE(disparity.deviation_lo[l], disparity.deviation[l]);
    EXPECT_GE(disparity.deviation_hi[l], disparity.deviation[l]);
  }
  EXPECT_NE(disparity.verdict.find("more than the mean: zh; less: en de ko ar"), std::string::npos)
      << disparity.verdict;
  EXPECT_NEAR(result.languages[2].rho.estimate->value, 3, 0.5);
  EXPECT_GT(result.languages[2].rho.estimate->lo, 2);
  EXPECT_LT(result.languages[2].rho.estimate->hi, 4);
}

TEST(SummarizeRun, SaysHowOftenALanguageIsTheWorst) {
  // Two languages of equal loss, none of them always the larger.
  const RunResult result = summarize(noisy_scores({"en", "de", "zh"}, 60, {1, 2, 2}, 7));
  EXPECT_TRUE(result.worst_language == "de" || result.worst_language == "zh");
  EXPECT_GT(result.worst_language_frequency, 0.5);
  EXPECT_LT(result.worst_language_frequency, 1);
}

TEST(SummarizeRun, BearsALanguageThatLosesNothing) {
  const RunResult result = summarize(constant_scores({0.1, 0, 0.2}));
  EXPECT_FALSE(result.disparity.measurable);
  EXPECT_EQ(result.disparity.p_value, 1);
  EXPECT_EQ(result.worst_language, "zh");
  EXPECT_EQ(result.disparity.verdict.find("no language loses"), std::string::npos)
      << result.disparity.verdict;
  EXPECT_NE(result.disparity.verdict.find("no loss in de"), std::string::npos)
      << result.disparity.verdict;
}

TEST(SummarizeRun, BearsALossInOneUnitOnly) {
  // Some draws do not have that unit: their loss has no logarithm.
  const Scores scores = make_scores({"en", "de"}, 6, [](size_t l, size_t u) {
    const double loss = l == 0 || u == 3 ? 0.1 : 0.0;
    return TokenScore{2, 2 + loss, static_cast<float>(loss), false};
  });
  const RunResult result = summarize(scores);
  EXPECT_FALSE(result.disparity.measurable);
  EXPECT_EQ(result.worst_language, "en");
  ASSERT_TRUE(result.languages[1].rho.estimate);
  expect_status(result.languages[1].ln_rho, "DEGENERATE");
}

TEST(SummarizeRun, BearsAReferenceThatLosesInFewDraws) {
  // English gains in most draws, however few are made.
  const Scores scores = make_scores({"en", "de"}, 6, [](size_t l, size_t u) {
    const double loss = l == 1 ? 0.1 : u == 0 ? 1 : -0.199;
    return TokenScore{2, 2 + loss, 0.1F, false};
  });
  AuditOptions options;
  for (size_t seed = 0; seed < 30; ++seed) {
    options.draws = 2;
    options.seed = seed;
    for (const LanguageResult& language : summarize(scores, options).languages) {
      EXPECT_NE(language.seed_disparity.estimate.has_value(),
                language.seed_disparity.status.starts_with("DEGENERATE"));
    }
  }
}

TEST(SummarizeRun, SaysThatOneLanguageCannotBeCompared) {
  const RunResult result = summarize(constant_scores({0.1}));
  EXPECT_FALSE(result.disparity.measurable);
  EXPECT_EQ(result.disparity.verdict, "one language: nothing to compare");
  expect_status(result.disparity.seed_disparity_mean, "UNDEFINED");
  expect_constant(result.disparity.gap, 0, kRounding);
}

TEST(SummarizeRun, NamesTheRegimeOfTheWorstLanguage) {
  const auto regime = [](double nll, size_t flipped_of_ten) {
    return summarize(
               make_scores(
                   {"en", "de"}, 10,
                   [&](size_t l, size_t u) {
                     return TokenScore{2, l == 1 ? nll : 2, 0.1F, l == 1 && u < flipped_of_ten};
                   }))
        .regime;
  };
  const double uniform = std::log(static_cast<double>(kVocabulary));
  EXPECT_EQ(regime(3, 0), Regime::kNormal);
  EXPECT_EQ(regime(3, 5), Regime::kNormal);
  EXPECT_EQ(regime(3, 6), Regime::kDegraded);
  EXPECT_EQ(regime(0.899 * uniform, 6), Regime::kDegraded);
  EXPECT_EQ(regime(0.901 * uniform, 6), Regime::kCollapsed);
  EXPECT_EQ(regime(0.901 * uniform, 0), Regime::kCollapsed);
}

TEST(SummarizeRun, DependsOnTheSeedInItsIntervalsOnly) {
  const Scores scores = noisy_scores({"en", "de"}, 30, {1, 2}, 8);
  AuditOptions options = few_draws();
  const Estimate first = *summarize(scores, options).languages[1].kl_per_unit.estimate;
  const Estimate again = *summarize(scores, options).languages[1].kl_per_unit.estimate;
  options.seed = 2;
  const Estimate other = *summarize(scores, options).languages[1].kl_per_unit.estimate;
  EXPECT_EQ(first.value, again.value);
  EXPECT_EQ(first.lo, again.lo);
  EXPECT_EQ(first.hi, again.hi);
  EXPECT_EQ(first.value, other.value);
  EXPECT_NE(first.lo, other.lo);
}

}  // namespace
}  // namespace isogloss
