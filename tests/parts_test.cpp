// select_part of isogloss/text/text.h: parts of a corpus that have no unit in common.
#include <gtest/gtest.h>

#include <set>

#include "isogloss/text/text.h"
#include "tests/failure.h"
#include "tests/loaded_model.h"

namespace isogloss {
namespace {

constexpr CorpusPart kParts[] = {CorpusPart::kCalibration, CorpusPart::kSelect, CorpusPart::kTest};

// `units` units in each of two languages.
Corpus made_corpus(size_t units) {
  Corpus corpus{.name = "made", .parallel = true, .languages = {{.code = "en"}, {.code = "de"}}};
  for (LanguageText& language : corpus.languages) {
    for (size_t i = 0; i < units; ++i) {
      language.units.push_back(language.code + " " + std::to_string(i));
      language.unit_ids.push_back(std::to_string(i));
    }
  }
  return corpus;
}

TEST(Parts, ShareTheUnitsOutWithoutOverlap) {
  const Corpus corpus = builtin_corpus({"en", "de", "zh"}, 0);
  std::set<std::string> seen;
  size_t total = 0;
  for (const CorpusPart part : kParts) {
    const Corpus selected = select_part(corpus, part, 1);
    ASSERT_EQ(selected.languages.size(), 3U);
    EXPECT_TRUE(selected.parallel);
    EXPECT_EQ(selected.name, corpus.name);
    const auto& ids = selected.languages[0].unit_ids;
    for (const LanguageText& language : selected.languages) {
      EXPECT_EQ(language.unit_ids, ids);
      EXPECT_EQ(language.units.size(), ids.size());
    }
    seen.insert(ids.begin(), ids.end());
    total += ids.size();
  }
  EXPECT_EQ(total, corpus.languages[0].units.size());
  EXPECT_EQ(seen.size(), total);
}

TEST(Parts, KeepEachTextWithItsId) {
  const Corpus selected = select_part(made_corpus(40), CorpusPart::kSelect, 3);
  for (const LanguageText& language : selected.languages) {
    for (size_t i = 0; i < language.units.size(); ++i) {
      EXPECT_EQ(language.units[i], language.code + " " + language.unit_ids[i]);
    }
  }
}

// Standard deviations of the shares of 4000 units are below 0.008.
TEST(Parts, AreAHalfAQuarterAndAQuarter) {
  const Corpus corpus = made_corpus(4000);
  const double shares[] = {0.5, 0.25, 0.25};
  for (size_t p = 0; p < std::size(kParts); ++p) {
    const size_t kept = select_part(corpus, kParts[p], 7).languages[0].units.size();
    EXPECT_NEAR(static_cast<double>(kept) / 4000, shares[p], 0.04);
  }
}

TEST(Parts, DependOnSeedAndIdAlone) {
  const Corpus corpus = made_corpus(100);
  const auto ids = [](const Corpus& of) { return of.languages[0].unit_ids; };
  EXPECT_EQ(ids(select_part(corpus, CorpusPart::kTest, 1)),
            ids(select_part(corpus, CorpusPart::kTest, 1)));
  EXPECT_NE(ids(select_part(corpus, CorpusPart::kTest, 1)),
            ids(select_part(corpus, CorpusPart::kTest, 2)));
  // A unit stays where it is when others come or go.
  const auto few = ids(select_part(made_corpus(50), CorpusPart::kTest, 1));
  const auto many = ids(select_part(corpus, CorpusPart::kTest, 1));
  EXPECT_TRUE(std::ranges::equal(few, std::span(many).first(few.size())));
}

TEST(Parts, AreAllOfItWhereAllIsAskedFor) {
  EXPECT_EQ(select_part(made_corpus(5), CorpusPart::kAll, 1).languages[1].units.size(), 5U);
}

TEST(Parts, AreRefusedWhereALanguageIsLeftWithNothing) {
  const Failure failure = failure_of([] { select_part(made_corpus(1), CorpusPart::kTest, 1); });
  const Failure other =
      failure_of([] { select_part(made_corpus(1), CorpusPart::kCalibration, 1); });
  // One unit is in one part.
  EXPECT_NE(failure.code.has_value() + other.code.has_value(), 0);
  const Failure& refused = failure.code ? failure : other;
  EXPECT_EQ(refused.code, ErrorCode::kBadArgument);
  EXPECT_TRUE(says(refused.message, {"made", "en", "1 units"}));
}

}  // namespace
}  // namespace isogloss
