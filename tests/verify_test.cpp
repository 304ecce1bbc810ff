// Contract of isogloss/verify/verify.h, with files that libllama runs.
#include "isogloss/verify/verify.h"

#include "isogloss/calibrate/calibrate.h"
#include "isogloss/verify/verify_impl.h"
#include "isogloss/write/write.h"
#include "tests/failure.h"
#include "tests/families.h"
#include "tests/temporary_directory.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;

const Progress kSilent = [](std::string_view, double) {};

// Relative. Audits pack sequences otherwise, and by that sum in another order.
constexpr double kPackingTolerance = 1e-3;

const std::vector<std::string> kLanguages = {"en", "zh"};
constexpr size_t kUnitsEach = 3;

// A fixture, and files of it.
class Verifying {
 public:
  explicit Verifying(const std::string& family)
      : source(family_path(family)),
        tokenizer_(source.model.vocabulary(), family),
        corpus(tokenize(builtin_corpus(kLanguages, kUnitsEach), tokenizer_,
                        source.model.config().context_length)) {}

  // Writes the fixture in a scheme.
  fs::path write(const std::string& scheme, const std::string& name = "out.gguf",
                 FileFormat format = FileFormat::kGguf) {
    AssignmentRequest wanted;
    wanted.scheme = parse_scheme(scheme);
    const Assignment assignment = assign(source.model, wanted);
    fs::path target = directory_.path() / name;
    const auto writer = open_writer({&source.model, &assignment, format}, target);
    quantize_model(
        nullptr, {&source.model, &assignment, nullptr, nullptr},
        [&](FinishedTensor&& tensor) { writer->write(tensor); }, kSilent);
    writer->commit();
    return target;
  }

  VerifyOptions options() const {
    VerifyOptions options;
    options.draws = 100;
    options.scratch = directory_.path();
    return options;
  }

  VerifyResult verified(const Model& written, const VerifyOptions& options,
                        const TokenizedCorpus* written_corpus = nullptr) {
    return verify(source.engine, {&source.model, &written, &corpus, written_corpus}, options,
                  kSilent);
  }

 private:
  TemporaryDirectory directory_;

 public:
  LoadedModel source;

 private:
  Tokenizer tokenizer_;

 public:
  TokenizedCorpus corpus;
};

double value_of(const Measured& measured) {
  return measured.estimate->value;
}

class SoundFile : public testing::TestWithParam<std::string> {};

// GPT-2 has the GELU that llama.cpp rounds where it rounds nothing else.
TEST_P(SoundFile, DoesInLlamaCppWhatAnAuditPredicts) {
  Verifying ours("gpt2");
  const Model written = read_model(ours.write(GetParam()));
  const VerifyResult result = ours.verified(written, ours.options());
  EXPECT_TRUE(result.agrees());
  EXPECT_NE(result.runtime.find("llama.cpp"), std::string::npos);
  const Assignment as_written = unchanged(written);
  AuditOptions options;
  options.draws = 100;
  const AuditResult audited =
      audit(ours.source.engine, ours.source.stored(),
            {{"file", "candidate", "", {&written, &as_written}}}, ours.corpus, options, kSilent);
  ASSERT_EQ(result.languages.size(), kLanguages.size());
  for (size_t l = 0; l < kLanguages.size(); ++l) {
    const LanguageVerification& found = result.languages[l];
    const LanguageResult& expected = audited.runs[0].languages[l];
    EXPECT_EQ(found.code, kLanguages[l]);
    EXPECT_EQ(found.units, kUnitsEach);
    EXPECT_EQ(found.tokens, expected.tokens);
    const double kl = value_of(expected.kl_per_unit);
    EXPECT_NEAR(value_of(found.predicted.metric(RatioMetric::kKlPerUnit)), kl,
                kPackingTolerance * kl);
    EXPECT_NEAR(found.predicted.ppl, expected.ppl, kPackingTolerance * expected.ppl);
    ASSERT_TRUE(found.exact);
    EXPECT_LT(value_of(found.exact->kl_of_runtime), result.limits.order_kl);
    // What runs rounds more than what is exact.
    EXPECT_GT(value_of(found.runtime.kl_of_runtime), value_of(found.exact->kl_of_runtime));
    EXPECT_GT(value_of(found.runtime.kl_of_rounding), value_of(found.exact->kl_of_rounding));
    EXPECT_GT(value_of(found.exact->kl_of_rounding), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(, SoundFile, testing::Values("q8_0", "q4_0", "rtn-int4-g32"), test_name);

TEST(Verify, ExpectsNoRoundingWhereTheRuntimeHasNone) {
  Verifying ours("llama");
  const Model written = read_model(ours.write("q8_0"));
  const VerifyResult result = ours.verified(written, ours.options());
  EXPECT_TRUE(result.agrees());
  for (const LanguageVerification& language : result.languages) {
    EXPECT_EQ(value_of(language.exact->kl_of_rounding), 0);
    EXPECT_GT(value_of(language.runtime.kl_of_rounding), 0);
  }
}

// The file that runs is not the one that was read.
TEST(Verify, FindsThatTheRuntimeComputesAnotherModel) {
  Verifying ours("llama");
  const fs::path path = ours.write("q8_0");
  const Model written = read_model(path);
  fs::rename(ours.write("q4_0", "other.gguf"), path);
  const VerifyResult result = ours.verified(written, ours.options());
  EXPECT_FALSE(result.agrees());
  for (const LanguageVerification& language : result.languages) {
    EXPECT_NE(language.disagreement.find("another model"), std::string::npos)
        << language.disagreement;
  }
}

TEST(Verify, LeavesTheCopyOutWhereItIsNotAskedFor) {
  Verifying ours("llama");
  VerifyOptions options = ours.options();
  options.exact = false;
  options.scratch = "/nowhere";
  const Model written = read_model(ours.write("q8_0"));
  EXPECT_FALSE(ours.verified(written, options).languages[0].exact);
  options.exact = true;
  const Failure failure = failure_of([&] { ours.verified(written, options); });
  EXPECT_EQ(failure.code, ErrorCode::kIo);
  EXPECT_TRUE(says(failure.message, {"/nowhere"}));
}

TEST(Verify, DecodesDirectoriesByItself) {
  Verifying ours("gpt2");
  const Model written = read_model(ours.write("rtn-int4-g32", "out", FileFormat::kGptq));
  const VerifyResult result = ours.verified(written, ours.options());
  EXPECT_TRUE(result.agrees());
  EXPECT_FALSE(result.languages[0].exact);
  EXPECT_EQ(result.runtime.find("llama.cpp"), std::string::npos);
}

TEST(Verify, ComparesTheTokensOfTheFile) {
  Verifying ours("llama");
  const Model written = read_model(ours.write("q8_0"));
  TokenizedCorpus other = ours.corpus;
  other.languages[1].sequences[0].tokens.back() += 1;
  const VerifyResult result = ours.verified(written, ours.options(), &other);
  EXPECT_TRUE(result.languages[0].agrees());
  EXPECT_NE(result.languages[1].disagreement.find("1 of 3 units"), std::string::npos);
  EXPECT_TRUE(ours.verified(written, ours.options(), &ours.corpus).agrees());
}

TEST(Verify, RefusesAFileOfAnotherModel) {
  Verifying ours("llama");
  Verifying others("qwen2");
  const Model written = read_model(others.write("q8_0"));
  EXPECT_EQ(failure_of([&] { ours.verified(written, ours.options()); }).code, ErrorCode::kMismatch);
}

struct Divergence {
  double of_runtime = 0, of_rounding = 0;
};

// A language with these losses a token, and these divergences of the runtime.
LanguageVerification language_of(double loss, Divergence exact, Divergence runtime) {
  const auto measured = [](double value) { return Measured{Estimate{value, value, value}, ""}; };
  LanguageVerification language;
  language.predicted.metrics.fill(measured(loss));
  language.runtime.kl_of_runtime = measured(runtime.of_runtime);
  language.runtime.kl_of_rounding = measured(runtime.of_rounding);
  language.exact.emplace();
  language.exact->metrics.fill(measured(loss));
  language.exact->differences.fill(measured(0));
  language.exact->kl_of_runtime = measured(exact.of_runtime);
  language.exact->kl_of_rounding = measured(exact.of_rounding);
  return language;
}

TEST(FindDisagreement, HoldsTheRuntimeToWhatItsRoundingDoesWhateverTheLoss) {
  const VerifyResult result;
  const auto agrees = [&](double loss, Divergence exact, Divergence runtime) {
    return find_disagreement(language_of(loss, exact, runtime), result, false).empty();
  };
  for (const double of_rounding : {0.0, 1e-5, 0.01, 0.3}) {
    const double most =
        std::max(result.limits.rounding_margin * of_rounding, result.limits.order_kl);
    for (const double loss : {0.2, 1.0, 7.0}) {
      const Divergence within{0.9 * most, of_rounding}, beyond{1.1 * most, of_rounding};
      EXPECT_TRUE(agrees(loss, within, within)) << of_rounding << ", " << loss;
      EXPECT_FALSE(agrees(loss, beyond, within)) << of_rounding << ", " << loss;
      EXPECT_FALSE(agrees(loss, within, beyond)) << of_rounding << ", " << loss;
    }
  }
}

}  // namespace
}  // namespace isogloss
