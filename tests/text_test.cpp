// Contract of isogloss/text/text.h, and of the errors and suggestions its messages are made of.
#include "isogloss/text/text.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <set>

#include "isogloss/base/error.h"
#include "isogloss/base/suggest.h"
#include "tests/patterns.h"
#include "tests/temporary_directory.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

struct Failure {
  std::optional<ErrorCode> code;  // nothing: did not throw Error
  std::string message;
};

template <typename Action>
Failure failure_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {std::nullopt, "(no error)"};
}

Failure failure_of_reading(const fs::path& path, const CorpusOptions& options = {}) {
  return failure_of([&] { read_corpus(path, options); });
}

Strings codes_of(const Corpus& corpus) {
  Strings codes;
  for (const LanguageText& language : corpus.languages) codes.push_back(language.code);
  return codes;
}

testing::AssertionResult says(const std::string& message, const Strings& parts) {
  for (const std::string& part : parts) {
    if (message.find(part) != std::string::npos) continue;
    return testing::AssertionFailure() << "'" << part << "' is not in: " << message;
  }
  return testing::AssertionSuccess() << "said: " << message;
}

// The one fault of a file or a line, and what the message must say.
struct Fault {
  std::string content;
  std::string message;
};

TEST(Error, CarriesItsCodeAndTheFormattedMessage) {
  const Failure failure = failure_of([] { fail(ErrorCode::kMismatch, "{} of {}", 3, "x.txt"); });
  EXPECT_EQ(failure.code, ErrorCode::kMismatch);
  EXPECT_EQ(failure.message, "3 of x.txt");
}

TEST(AssertionDeathTest, NamesConditionFileAndLineOnOneLine) {
  const int two = 2;
  EXPECT_DEATH(ISOGLOSS_ASSERT(two == 3), "^[^\n]*two == 3[^\n]*text_test\\.cpp:[0-9]+[^\n]*\n$");
  ISOGLOSS_ASSERT(two == 2);
}

TEST(Suggest, NamesTheNearestTwoNearestFirst) {
  EXPECT_EQ(did_you_mean("quantise", {"quantum", "quantized", "quantize"}),
            " (did you mean 'quantize' or 'quantized'?)");
  EXPECT_EQ(did_you_mean("inspec", {"report", "inspect"}), " (did you mean 'inspect'?)");
}

TEST(Suggest, KeepsTheGivenOrderOfEquallyNearNames) {
  EXPECT_EQ(did_you_mean("cat", {"car", "can", "cap"}), " (did you mean 'car' or 'can'?)");
}

TEST(Suggest, AllowsAThirdOfTheLengthAndNoMore) {
  EXPECT_EQ(did_you_mean("abcdef", {"abcdxx"}), " (did you mean 'abcdxx'?)");
  EXPECT_EQ(did_you_mean("abcdef", {"abcxxx"}), "");
  EXPECT_EQ(did_you_mean("abcdef", {"abcdefxx"}), " (did you mean 'abcdefxx'?)");
  EXPECT_EQ(did_you_mean("abcdef", {"abcdefxxx"}), "");
  EXPECT_EQ(did_you_mean("ab", {"ac"}), "");
}

TEST(Suggest, IgnoresCaseAndRepeatedCandidates) {
  EXPECT_EQ(did_you_mean("q4_k", {"Q4_K", "Q4_K"}), " (did you mean 'Q4_K'?)");
}

TEST(Suggest, IsEmptyWhenNothingIsNear) {
  EXPECT_EQ(did_you_mean("", {"a", ""}), "");
  EXPECT_EQ(did_you_mean("anything", {}), "");
}

TEST(Languages, AreSortedByCodeWithoutRepeats) {
  const auto languages = known_languages();
  const auto unsorted =
      std::ranges::adjacent_find(languages, std::ranges::greater_equal{}, &LanguageInfo::code);
  EXPECT_EQ(unsorted, languages.end()) << unsorted->code;
  std::set<std::string_view> flores;
  for (const LanguageInfo& language : languages) flores.insert(language.flores);
  EXPECT_EQ(flores.size(), languages.size());
  EXPECT_GE(languages.size(), 120u);
}

TEST(Languages, HaveWellFormedCodes) {
  for (const LanguageInfo& language : known_languages()) {
    EXPECT_TRUE(matches(std::string(language.flores), "[a-z]{3}_[A-Z][a-z]{3}")) << language.flores;
    EXPECT_TRUE(matches(std::string(language.code), "[a-z]{2,3}(-[A-Z][a-z]{3})?"))
        << language.code;
    EXPECT_FALSE(language.name.empty()) << language.code;
  }
}

TEST(Languages, AreFoundByEveryCodeOfTheirs) {
  for (const LanguageInfo& language : known_languages()) {
    EXPECT_EQ(find_language(language.code), &language) << language.code;
    EXPECT_EQ(find_language(language.flores), &language) << language.flores;
    const LanguageInfo* by_iso = find_language(language.flores.substr(0, 3));
    ASSERT_NE(by_iso, nullptr) << language.flores;
    EXPECT_EQ(by_iso->flores.substr(0, 3), language.flores.substr(0, 3));
  }
}

TEST(Languages, FollowTheCustomOfUsers) {
  const std::vector<std::pair<std::string_view, std::string_view>> expected = {
      {"de", "deu_Latn"},  {"zh", "zho_Hans"},  {"zh-Hant", "zho_Hant"}, {"pt", "por_Latn"},
      {"sr", "srp_Cyrl"},  {"ar", "arb_Arab"},  {"fa", "pes_Arab"},      {"no", "nob_Latn"},
      {"nb", "nob_Latn"},  {"sw", "swh_Latn"},  {"lv", "lvs_Latn"},      {"ms", "zsm_Latn"},
      {"zho", "zho_Hans"}, {"swa", "swh_Latn"}, {"zh-TW", "zho_Hant"},   {"kas", "kas_Arab"}};
  for (const auto& [code, flores] : expected) EXPECT_EQ(get_language(code).flores, flores) << code;
}

TEST(Languages, IgnoreCaseAndTheKindOfDash) {
  EXPECT_EQ(get_language("DE").code, "de");
  EXPECT_EQ(get_language("DEU_latn").code, "de");
  EXPECT_EQ(get_language("zh_hant").code, "zh-Hant");
}

TEST(Languages, AnUnknownCodeIsAbsentOrNamedWithNearMatches) {
  for (const char* code : {"", "xq", "d", "deu_", "german", "pt-BR", "deutsch"}) {
    EXPECT_EQ(find_language(code), nullptr) << code;
  }
  const Failure failure = failure_of([] { get_language("deu_Lam"); });
  EXPECT_EQ(failure.code, ErrorCode::kNotFound);
  EXPECT_TRUE(says(failure.message,
                   {"unknown language 'deu_Lam' (did you mean", "'deu_Latn'", "give BCP-47 (de)"}));
  EXPECT_FALSE(says(failure_of([] { get_language("xq"); }).message, {"did you mean"}));
}

TEST(Corpus, BuiltInOneLiesInTheDataDirectory) {
  EXPECT_EQ(builtin_corpus_directory("share/isogloss"), fs::path("share/isogloss/parallel"));
}

TEST(Corpus, ReadsADirectoryOfLanguageFiles) {
  const TemporaryDirectory directory;
  directory.write("de.txt", "Ja.\nNein.\n");
  directory.write("en.txt", "Yes.\nNo.\n");
  const Corpus corpus = read_corpus(directory.path(), {});
  EXPECT_EQ(corpus.name, directory.path().string());
  EXPECT_TRUE(corpus.parallel);
  EXPECT_EQ(codes_of(corpus), (Strings{"en", "de"}));
  EXPECT_EQ(corpus.languages[1].units, (Strings{"Ja.", "Nein."}));
  EXPECT_EQ(corpus.languages[1].unit_ids, (Strings{"0", "1"}));
}

TEST(Corpus, PutsEnglishFirstAndTheRestByCode) {
  const TemporaryDirectory directory;
  for (const char* name : {"zh.txt", "cs.txt", "en.txt", "ar.txt"}) directory.write(name, "a\n");
  EXPECT_EQ(codes_of(read_corpus(directory.path(), {})), (Strings{"en", "ar", "cs", "zh"}));
}

TEST(Corpus, ReadsTheLanguagesAskedForInThatOrderAndNoOther) {
  const TemporaryDirectory directory;
  for (const char* name : {"cs.txt", "en.txt", "ar.txt"}) directory.write(name, "a\n");
  directory.write("zh.txt", "not\nread\n\n");
  const Corpus corpus = read_corpus(directory.path(), {.languages = {"ces_Latn", "en", "ARB"}});
  EXPECT_EQ(codes_of(corpus), (Strings{"cs", "en", "ar"}));
}

TEST(Corpus, ReadsFloresNames) {
  const TemporaryDirectory directory;
  directory.write("deu_Latn.devtest", "a\n");
  directory.write("zho_Hant.dev", "b\n");
  directory.write("pes_Arab.txt", "c\n");
  EXPECT_EQ(codes_of(read_corpus(directory.path(), {})), (Strings{"de", "fa", "zh-Hant"}));
}

TEST(Corpus, ReadsNtrexNames) {
  const TemporaryDirectory directory;
  for (const char* name : {"src.eng", "ref.eng-US", "ref.deu", "ref.zho-CN", "ref.zho-TW",
                           "ref.srp-Cyrl", "ref.srp-Latn", "ref.swa", "ref.spa", "ref-2.spa"}) {
    directory.write(fmt::format("newstest2019-{}.txt", name), "a\n");
  }
  const Corpus corpus = read_corpus(directory.path(), {});
  EXPECT_EQ(codes_of(corpus), (Strings{"en", "de", "es", "sr", "sw", "zh", "zh-Hant"}));
}

TEST(Corpus, IgnoresWhatIsNoLanguageFile) {
  const TemporaryDirectory directory;
  directory.write("de.txt", "Ja.\n");
  for (const char* name : {"README.txt", "README.fr.txt", "fr.md", "fr.dev", "fr", ".txt"}) {
    directory.write(name, "one\ntwo\n");
  }
  fs::create_directory(directory.path() / "it.txt");
  EXPECT_EQ(codes_of(read_corpus(directory.path(), {})), (Strings{"de"}));
}

TEST(Corpus, DropsByteOrderMarkAndCarriageReturnsAndNeedsNoLastNewline) {
  const TemporaryDirectory directory;
  directory.write("de.txt",
                  "\xEF\xBB\xBF"
                  "Ja.\r\nNein.\r\n");
  directory.write("en.txt", "Yes.\nNo.");
  const Corpus corpus = read_corpus(directory.path(), {});
  EXPECT_EQ(corpus.languages[0].units, (Strings{"Yes.", "No."}));
  EXPECT_EQ(corpus.languages[1].units, (Strings{"Ja.", "Nein."}));
}

TEST(Corpus, KeepsTheFirstUnitsOfEachLanguage) {
  const TemporaryDirectory directory;
  directory.write("de.txt", "a\nb\nc\n");
  directory.write("en.txt", "x\n");
  const Corpus corpus = read_corpus(directory.path(), {.parallel = false, .max_units = 2});
  EXPECT_EQ(corpus.languages[0].units, (Strings{"x"}));
  EXPECT_EQ(corpus.languages[1].units, (Strings{"a", "b"}));
  EXPECT_EQ(corpus.languages[1].unit_ids, (Strings{"0", "1"}));
}

TEST(Corpus, RejectsALanguageFileWithFewerLines) {
  const TemporaryDirectory directory;
  directory.write("de.txt", "a\nb\n");
  directory.write("en.txt", "a\nb\n");
  const fs::path short_file = directory.write("he.txt", "a\n");
  const Failure failure = failure_of_reading(directory.path(), {.max_units = 1});
  EXPECT_EQ(failure.code, ErrorCode::kMismatch);
  EXPECT_TRUE(says(failure.message,
                   {short_file.string() + ": 1 lines, but de.txt has 2", "--not-parallel"}));

  const Corpus apart = read_corpus(directory.path(), {.parallel = false});
  EXPECT_FALSE(apart.parallel);
  EXPECT_EQ(apart.languages.size(), 3u);
  directory.write("he.txt", "a\nb\n");
  EXPECT_EQ(read_corpus(directory.path(), {}).languages.size(), 3u);
}

TEST(Corpus, RejectsTwoFilesOfALanguageThatIsRead) {
  const TemporaryDirectory directory;
  directory.write("de.txt", "a\n");
  directory.write("deu_Latn.txt", "a\n");
  directory.write("en.txt", "a\n");
  const Failure failure = failure_of_reading(directory.path());
  EXPECT_EQ(failure.code, ErrorCode::kMismatch);
  EXPECT_TRUE(says(failure.message, {"de.txt and deu_Latn.txt are both German (de)"}));
  EXPECT_EQ(codes_of(read_corpus(directory.path(), {.languages = {"en"}})), (Strings{"en"}));
}

TEST(Corpus, NamesLanguagesThatAreUnknownMissingOrRepeated) {
  const TemporaryDirectory directory;
  directory.write("de.txt", "a\n");
  directory.write("en.txt", "a\n");
  const fs::path unknown = directory.write("xq.txt", "a\n");
  const Failure named = failure_of_reading(directory.path(), {.languages = {"en", "xq"}});
  EXPECT_EQ(named.code, ErrorCode::kNotFound);
  EXPECT_TRUE(says(named.message, {unknown.string() + ": 'xq' is no language code known"}));

  const Failure nowhere = failure_of_reading(directory.path(), {.languages = {"xz"}});
  EXPECT_EQ(nowhere.code, ErrorCode::kNotFound);
  EXPECT_TRUE(says(nowhere.message, {"unknown language 'xz'"}));

  const Failure missing = failure_of_reading(directory.path(), {.languages = {"en", "heb"}});
  EXPECT_EQ(missing.code, ErrorCode::kNotFound);
  EXPECT_TRUE(says(missing.message, {"Hebrew (he)", "there are: de, en"}));

  const Failure twice = failure_of_reading(directory.path(), {.languages = {"de", "deu"}});
  EXPECT_EQ(twice.code, ErrorCode::kBadArgument);
  EXPECT_TRUE(says(twice.message, {"'deu'", "German (de)"}));
  EXPECT_EQ(read_corpus(directory.path(), {.languages = {"de", "en"}}).languages.size(), 2u);
}

TEST(Corpus, RejectsPathsThatHoldNoCorpus) {
  const TemporaryDirectory directory;
  EXPECT_EQ(failure_of_reading(directory.path() / "nowhere").code, ErrorCode::kNotFound);
  EXPECT_EQ(failure_of_reading(directory.write("de.txt", "a\n")).code, ErrorCode::kUnsupported);

  const TemporaryDirectory flores;
  EXPECT_FALSE(says(failure_of_reading(flores.path()).message, {"folder dev"}));
  fs::create_directory(flores.path() / "devtest");
  const Failure failure = failure_of_reading(flores.path());
  EXPECT_EQ(failure.code, ErrorCode::kNotFound);
  EXPECT_TRUE(says(failure.message, {"give its folder dev or devtest"}));
  EXPECT_EQ(read_corpus(directory.path(), {}).languages.size(), 1u);
}

TEST(Corpus, RejectsFilesThatAreEmptyOrHaveBlankLines) {
  const TemporaryDirectory directory;
  const std::vector<Fault> faults = {{"", "is empty"},
                                     {"\xEF\xBB\xBF", "is empty"},
                                     {"\n", "line 1 is blank"},
                                     {"a\n \t\r\nb\n", "line 2 is blank"},
                                     {"a\nb\n\n", "line 3 is blank"}};
  for (const auto& [content, message] : faults) {
    const fs::path file = directory.write("de.txt", content);
    const Failure failure = failure_of_reading(directory.path());
    EXPECT_EQ(failure.code, ErrorCode::kCorrupt) << testing::PrintToString(content);
    EXPECT_TRUE(says(failure.message, {file.string(), message}));
  }
  directory.write("de.txt", "a\nb\n");
  EXPECT_EQ(read_corpus(directory.path(), {}).languages[0].units.size(), 2u);
}

TEST(Corpus, RejectsTextThatIsNotUtf8NamingLineAndByte) {
  const TemporaryDirectory directory;
  const std::vector<Fault> faults = {{"\xE4", "0xE4"},               // Latin-1
                                     {"\x80", "0x80"},               // continuation without a lead
                                     {"\xC0\xAF", "0xC0"},           // overlong, two bytes
                                     {"\xC3", "0xC3"},               // cut short
                                     {"\xC3(", "0xC3"},              // no continuation
                                     {"\xE0\x9F\xBF", "0xE0"},       // overlong, three bytes
                                     {"\xED\xA0\x80", "0xED"},       // surrogate
                                     {"\xE2\x82(", "0xE2"},          // third byte no continuation
                                     {"\xF0\x8F\xBF\xBF", "0xF0"},   // overlong, four bytes
                                     {"\xF4\x90\x80\x80", "0xF4"},   // past U+10FFFF
                                     {"\xF0\x9F\x98\xC0", "0xF0"},   // fourth byte no continuation
                                     {"\xF5\x80\x80\x80", "0xF5"}};  // no such lead
  for (const auto& [bytes, byte] : faults) {
    const fs::path file = directory.write("de.txt", "gut\nü " + bytes + "\n");
    const Failure failure = failure_of_reading(directory.path());
    EXPECT_EQ(failure.code, ErrorCode::kCorrupt) << testing::PrintToString(bytes);
    EXPECT_TRUE(says(failure.message, {file.string() + ": line 2, byte 4: found " + byte}));
  }
  const std::string borders =
      "\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF\xF0\x90\x80\x80"
      "\xF4\x8F\xBF\xBF";
  directory.write("de.txt", "gut\nü " + borders + "\n");
  EXPECT_EQ(read_corpus(directory.path(), {}).languages[0].units[1], "ü " + borders);
}

TEST(JsonLines, AreReadWithTheirUnitNames) {
  const TemporaryDirectory directory;
  const fs::path file = directory.write("x.jsonl",
                                        "{\"unit\": 7, \"lang\": \"de\", \"text\": \"Ja.\"}\r\n"
                                        R"({"lang": "eng_Latn", "text": "Yes.", "unit": "7"}
{"unit": "b", "lang": "de", "text": "N\u00e4in.\nDoch.", "more": [1]}
{"unit": "b", "lang": "en", "text": "No."})");
  const Corpus corpus = read_corpus(file, {});
  EXPECT_EQ(corpus.name, file.string());
  EXPECT_EQ(codes_of(corpus), (Strings{"en", "de"}));
  EXPECT_EQ(corpus.languages[0].units, (Strings{"Yes.", "No."}));
  EXPECT_EQ(corpus.languages[0].unit_ids, (Strings{"7", "b"}));
  EXPECT_EQ(corpus.languages[1].units, (Strings{"Ja.", "Näin.\nDoch."}));
  EXPECT_EQ(corpus.languages[1].unit_ids, (Strings{"7", "b"}));
  EXPECT_EQ(read_corpus(file, {.max_units = 1}).languages[1].units.size(), 1u);
}

TEST(JsonLines, RejectLinesOfAnotherShapeNamingFileAndLine) {
  const TemporaryDirectory directory;
  const std::string good = R"({"unit": "a", "lang": "de", "text": "Ja."})"
                           "\n";
  const std::vector<Fault> faults = {
      {R"({"unit": "b", )", "line 2: is not valid JSON at byte 15; expected {\"unit\": "},
      {R"(["b", "de", "Ja."])", "line 2: is not a JSON object, but array; expected {\"unit\": "},
      {R"({"unit": "b", "unit": "c", "lang": "de", "text": "Ja."})",
       "line 2: \"unit\" is there twice; expected {\"unit\": "},
      {R"({"lang": "de", "text": "Ja."})", "line 2: no \"unit\""},
      {R"({"unit": "b", "text": "Ja."})", "line 2: no \"lang\""},
      {R"({"unit": "b", "lang": "de"})", "line 2: no \"text\""},
      {R"({"unit": true, "lang": "de", "text": "Ja."})", "line 2: \"unit\" is boolean"},
      {R"({"unit": "", "lang": "de", "text": "Ja."})", "line 2: \"unit\" is blank"},
      {R"({"unit": 1e999, "lang": "de", "text": "Ja."})", "line 2: is not valid JSON: "},
      {R"({"unit": "b", "lang": 5, "text": "Ja."})", "line 2: \"lang\" is number"},
      {R"({"unit": "b", "lang": "de", "text": null})", "line 2: \"text\" is null"},
      {R"({"unit": "b", "lang": "de", "text": "  "})", "line 2: \"text\" is blank"},
      {R"({"unit": "a", "lang": "deu", "text": "Ja."})",
       "line 2: unit 'a' of German (de) is in line 1"},
      {"", "line 2 is blank"},
      {R"({"unit": "b", "lang": "de", "text": ")"
       "\xFF\"}",
       "line 2, byte 38: found 0xFF"},
      {R"({"unit": "b", "lang": "de", "text": "\ud800"})", "line 2: is not valid JSON at byte 44"}};
  for (const auto& [line, message] : faults) {
    const fs::path file = directory.write("x.jsonl", good + line + "\n");
    const Failure failure = failure_of_reading(file);
    EXPECT_EQ(failure.code, ErrorCode::kCorrupt) << line;
    EXPECT_TRUE(says(failure.message, {file.string() + ": " + message}));
  }
  EXPECT_EQ(failure_of_reading(directory.write("x.jsonl", "")).code, ErrorCode::kCorrupt);
  EXPECT_EQ(read_corpus(directory.write("x.jsonl", good), {}).languages.size(), 1u);
}

TEST(JsonLines, OfLanguagesNotAskedForAreNotRead) {
  const TemporaryDirectory directory;
  const fs::path file = directory.write("x.jsonl",
                                        R"({"unit": "a", "lang": "de", "text": "Ja."}
{"unit": "a", "lang": "xq", "text": "?"}
{"unit": "a", "lang": "it", "text": "Si."}
{"unit": "a", "lang": "it", "text": "Si."}
{"unit": "a", "lang": "fr", "text": "Oui."})");
  const Failure failure = failure_of_reading(file);
  EXPECT_EQ(failure.code, ErrorCode::kNotFound);
  EXPECT_TRUE(says(failure.message, {file.string() + ": line 2: unknown language 'xq'"}));
  EXPECT_EQ(codes_of(read_corpus(file, {.languages = {"fr", "de"}})), (Strings{"fr", "de"}));
  const Failure missing = failure_of_reading(file, {.languages = {"nl"}});
  EXPECT_EQ(missing.code, ErrorCode::kNotFound);
  EXPECT_TRUE(says(missing.message, {"Dutch (nl)", "there are: de, fr, it"}));
}

TEST(JsonLines, OfAParallelCorpusHaveTheSameUnitsInTheSameOrder) {
  const TemporaryDirectory directory;
  const auto line = [](const char* unit, const char* language) {
    return fmt::format(R"({{"unit": "{}", "lang": "{}", "text": "t"}})"
                       "\n",
                       unit, language);
  };
  const std::string german = line("a", "de") + line("b", "de");
  const fs::path file = directory.write("x.jsonl", german + line("b", "he"));
  const Failure fewer = failure_of_reading(file);
  EXPECT_EQ(fewer.code, ErrorCode::kMismatch);
  EXPECT_TRUE(says(fewer.message, {"Hebrew (he) has 1 units, but German (de) has 2, of which "
                                   "the first it lacks is 'a'"}));

  directory.write("x.jsonl", german + line("a", "he") + line("c", "he"));
  const Failure other = failure_of_reading(file);
  EXPECT_EQ(other.code, ErrorCode::kMismatch);
  EXPECT_TRUE(says(other.message, {"unit 2 of Hebrew (he) is 'c', but of German (de) it is"}));

  directory.write("x.jsonl", german + line("b", "he") + line("a", "he"));
  EXPECT_EQ(failure_of_reading(file).code, ErrorCode::kMismatch);
  EXPECT_FALSE(read_corpus(file, {.parallel = false}).parallel);
  directory.write("x.jsonl", german + line("a", "he") + line("b", "he"));
  EXPECT_EQ(read_corpus(file, {}).languages.size(), 2u);
}

}  // namespace
}  // namespace isogloss
