// The corpus that ships with the program: every line is in its own language and means its English
// line, as far as scripts, lengths and common words can tell.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <span>

#include "isogloss/base/error.h"
#include "isogloss/text/text.h"

namespace isogloss {
namespace {

constexpr size_t kFewestLanguages = 14;
constexpr size_t kFewestUnits = 40;
// Long enough to give tokens to measure, short enough to stay one or two sentences.
constexpr size_t kShortestEnglish = 80;
constexpr size_t kLongestEnglish = 200;
// A foreign name in a line is fine, a foreign clause is not.
constexpr double kLeastOwnScript = 0.9;
// One English word may be a word of another language too; every English line has more than that.
constexpr double kMostEnglishWords = 0.08;

enum class Script { kNone, kLatin, kCyrillic, kHebrew, kArabic, kDevanagari, kHan, kKana, kHangul };

struct CodePointRange {
  char32_t first;
  char32_t last;
};

struct ScriptRange {
  CodePointRange range;
  Script script;
};

// Letters; no digits and no punctuation.
constexpr ScriptRange kScripts[] = {
    {{0x41, 0x5A}, Script::kLatin},        {{0x61, 0x7A}, Script::kLatin},
    {{0xC0, 0xD6}, Script::kLatin},        {{0xD8, 0xF6}, Script::kLatin},
    {{0xF8, 0x24F}, Script::kLatin},       {{0x1E00, 0x1EFF}, Script::kLatin},
    {{0x400, 0x52F}, Script::kCyrillic},   {{0x5D0, 0x5EA}, Script::kHebrew},
    {{0x620, 0x65F}, Script::kArabic},     {{0x66E, 0x6D3}, Script::kArabic},
    {{0x900, 0x963}, Script::kDevanagari}, {{0x971, 0x97F}, Script::kDevanagari},
    {{0x3005, 0x3005}, Script::kHan},      {{0x3400, 0x4DBF}, Script::kHan},
    {{0x4E00, 0x9FFF}, Script::kHan},      {{0x20000, 0x3FFFF}, Script::kHan},
    {{0x3041, 0x309F}, Script::kKana},     {{0x30A1, 0x30FA}, Script::kKana},
    {{0x30FC, 0x30FF}, Script::kKana},     {{0xAC00, 0xD7A3}, Script::kHangul},
};

// `shortest` and `longest`: characters per character of the English line. The bands are wider than
// the spread of ordinary translations, and narrow enough to show a clause lost or a line doubled.
struct ScriptRule {
  std::string_view flores;  // the script in a FLORES code
  std::vector<Script> own;
  double shortest;
  double longest;
  std::u32string_view sentence_ends;
};

const std::vector<ScriptRule>& script_rules() {
  static const std::vector<ScriptRule> rules = {
      {"Latn", {Script::kLatin}, 0.55, 1.6, U".!?"},
      {"Cyrl", {Script::kCyrillic}, 0.65, 1.5, U".!?"},
      {"Hebr", {Script::kHebrew}, 0.5, 1.15, U".!?"},
      {"Arab", {Script::kArabic}, 0.5, 1.25, U".!؟"},
      {"Deva", {Script::kDevanagari}, 0.6, 1.4, U"।!?"},
      {"Hans", {Script::kHan}, 0.18, 0.48, U"。！？"},
      {"Jpan", {Script::kHan, Script::kKana}, 0.25, 0.75, U"。！？"},
      {"Hang", {Script::kHangul}, 0.28, 0.75, U".!?"}};
  return rules;
}

// Letters that betray a neighbouring language or the other Chinese.
const std::map<std::string_view, std::u32string_view> kForeignLetters = {
    {"ru", U"іїєґўІЇЄҐЎ"},
    {"uk", U"ыэъёЫЭЪЁ"},
    {"ar", U"پچژگکیےہ"},
    {"zh", U"們這國學時會說對過來還為開關長門問間東車馬魚鳥語話讀書電頭點樣"}};

// Words that are frequent in one language of this table and rare in the others.
const std::map<std::string_view, std::set<std::string_view>> kCommonWords = {
    {"en", {"the", "and", "of"}},
    {"de", {"der", "die", "und", "nicht", "den"}},
    {"fr", {"les", "des", "une", "dans", "est"}},
    {"es", {"el", "los", "las", "y", "una"}},
    {"it", {"il", "di", "che", "per", "è"}},
    {"pt", {"os", "do", "da", "em", "não", "uma"}},
    {"nl", {"het", "een", "van", "zijn", "niet"}},
    {"pl", {"się", "nie", "że", "jest", "w", "i"}},
    {"cs", {"se", "že", "je", "v", "který", "jsou"}},
    {"tr", {"ve", "bir", "için", "bu", "ile"}},
    {"vi", {"và", "của", "những", "không", "một"}}};

// Without words that other languages write too: "in", "is", "of", "to", "was", "but", "her", "can".
const std::set<std::string_view> kEnglishWords = {
    "the",    "and",   "with",    "that",    "from", "they",  "which", "this",   "because", "their",
    "there",  "when",  "where",   "while",   "have", "would", "could", "should", "every",   "each",
    "before", "into",  "your",    "you",     "our",  "his",   "she",   "for",    "not",     "are",
    "people", "until", "through", "against", "who",  "how",   "why"};

// Not composed, or compatibility forms: none is left by normalization form C of ordinary text,
// fullwidth Latin apart, which is a form of another alphabet's letters.
constexpr CodePointRange kNotComposed[] = {
    {0x300, 0x36F},   {0x653, 0x655},   {0x958, 0x95F},   {0x1100, 0x11FF}, {0x3099, 0x309A},
    {0xF900, 0xFDFF}, {0xFE70, 0xFEFE}, {0xFF10, 0xFF19}, {0xFF21, 0xFF3A}, {0xFF41, 0xFF5A}};

// Control characters, no-break and typographic spaces, soft hyphen, marks of direction, U+FFFD.
constexpr CodePointRange kInvisible[] = {{0x00, 0x1F},     {0x7F, 0xA0},     {0xAD, 0xAD},
                                         {0x61C, 0x61C},   {0x2000, 0x200B}, {0x200E, 0x200F},
                                         {0x2028, 0x202F}, {0x205F, 0x206F}, {0x3000, 0x3000},
                                         {0xFEFF, 0xFEFF}, {0xFFFD, 0xFFFD}};

// `text` is valid UTF-8: read_corpus has checked it.
std::u32string decode(std::string_view text) {
  std::u32string decoded;
  for (const char character : text) {
    const auto byte = static_cast<unsigned char>(character);
    if ((byte & 0xC0) == 0x80) {
      decoded.back() = (decoded.back() << 6) | (byte & 0x3Fu);
    } else {
      decoded += byte < 0x80   ? byte
                 : byte < 0xE0 ? byte & 0x1Fu
                 : byte < 0xF0 ? byte & 0x0Fu
                               : byte & 0x07u;
    }
  }
  return decoded;
}

bool contains(CodePointRange range, char32_t letter) {
  return letter >= range.first && letter <= range.last;
}

Script script_of(char32_t letter) {
  for (const ScriptRange& row : kScripts) {
    if (contains(row.range, letter)) return row.script;
  }
  return Script::kNone;
}

size_t count_script(std::u32string_view text, Script script) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [&](char32_t letter) { return script_of(letter) == script; }));
}

// Runs of letters in lower case, as far as they are ASCII.
std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words(1);
  for (const char letter : text) {
    const bool upper = letter >= 'A' && letter <= 'Z';
    const bool part = upper || (letter >= 'a' && letter <= 'z') || (letter & 0x80) != 0;
    if (part) words.back() += upper ? static_cast<char>(letter - 'A' + 'a') : letter;
    if (!part && !words.back().empty()) words.emplace_back();
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

size_t count_words(const std::vector<std::string>& words, const std::set<std::string_view>& of) {
  return static_cast<size_t>(
      std::ranges::count_if(words, [&](const std::string& word) { return of.contains(word); }));
}

double share_of_english_words(std::string_view text) {
  const std::vector<std::string> words = words_of(text);
  return static_cast<double>(count_words(words, kEnglishWords)) /
         static_cast<double>(std::max<size_t>(words.size(), 1));
}

std::filesystem::path corpus_path() {
  return builtin_corpus_directory(std::filesystem::path(ISOGLOSS_SOURCE_DIR) / "data");
}

// Not parallel, so that a missing line fails one test and not all.
const std::vector<LanguageText>& texts() {
  static const Corpus corpus = read_corpus(corpus_path(), {.parallel = false});
  return corpus.languages;
}

const LanguageText& english() {
  return texts().front();
}

struct Line {
  std::string_view code;
  const ScriptRule& rule;
  std::string_view text;
  std::u32string characters;
  std::string place;
};

const ScriptRule& get_rule(const LanguageText& language) {
  const std::string_view script = get_language(language.code).flores.substr(4);
  const auto rule = std::ranges::find(script_rules(), script, &ScriptRule::flores);
  if (rule != script_rules().end()) return *rule;
  fail(ErrorCode::kUnsupported, "this test has no rule for the script {} of {}", script,
       language.code);
}

std::vector<Line> lines_of(const LanguageText& language) {
  std::vector<Line> lines;
  for (size_t i = 0; i < language.units.size(); ++i) {
    const std::string& text = language.units[i];
    lines.push_back({language.code, get_rule(language), text, decode(text),
                     fmt::format("{}.txt:{}: {}", language.code, i + 1, text)});
  }
  return lines;
}

std::vector<Line> all_lines() {
  std::vector<Line> lines;
  for (const LanguageText& language : texts())
    std::ranges::move(lines_of(language), std::back_inserter(lines));
  return lines;
}

void expect_none_of(std::span<const CodePointRange> ranges, const Line& line) {
  const auto found = std::ranges::find_if(line.characters, [&](char32_t character) {
    return std::ranges::any_of(ranges, [&](auto range) { return contains(range, character); });
  });
  if (found == line.characters.end()) return;
  ADD_FAILURE() << fmt::format("U+{:04X} in {}", static_cast<unsigned>(*found), line.place);
}

TEST(ParallelCorpus, HasTheSameUnitsInManyLanguages) {
  EXPECT_GE(texts().size(), kFewestLanguages);
  ASSERT_EQ(english().code, "en");
  EXPECT_GE(english().units.size(), kFewestUnits);
  for (const LanguageText& language : texts()) {
    EXPECT_EQ(language.units.size(), english().units.size()) << language.code;
  }
  EXPECT_NO_THROW(read_corpus(corpus_path(), {}));
}

TEST(ParallelCorpus, IsWrittenInTheScriptOfEachLanguage) {
  for (const Line& line : all_lines()) {
    size_t letters = 0;
    for (const char32_t character : line.characters)
      letters += script_of(character) != Script::kNone;
    size_t own = 0;
    for (const Script script : line.rule.own) own += count_script(line.characters, script);
    EXPECT_GE(static_cast<double>(own), kLeastOwnScript * static_cast<double>(letters))
        << line.place;
    EXPECT_GT(own, 0u) << line.place;
  }
}

TEST(ParallelCorpus, HasKanaInEveryJapaneseLineAndInNoOther) {
  for (const Line& line : all_lines()) {
    const size_t kana = count_script(line.characters, Script::kKana);
    if (line.code == "ja") {
      EXPECT_GT(kana, 0u) << line.place;
    } else {
      EXPECT_EQ(kana, 0u) << line.place;
    }
  }
}

TEST(ParallelCorpus, HasNoLettersOfANeighbouringLanguage) {
  for (const Line& line : all_lines()) {
    const auto foreign = kForeignLetters.find(line.code);
    if (foreign == kForeignLetters.end()) continue;
    EXPECT_EQ(line.characters.find_first_of(foreign->second), std::u32string::npos) << line.place;
  }
}

TEST(ParallelCorpus, UsesTheCommonWordsOfEachLanguageMostOften) {
  for (const LanguageText& language : texts()) {
    if (get_rule(language).flores != "Latn") continue;
    ASSERT_TRUE(kCommonWords.contains(language.code)) << "add common words of " << language.code;
    std::map<size_t, std::string_view> language_by_count;
    for (const auto& [code, common] : kCommonWords) {
      size_t count = 0;
      for (const std::string& unit : language.units) count += count_words(words_of(unit), common);
      language_by_count[count] = code;
    }
    EXPECT_EQ(language_by_count.rbegin()->second, language.code);
  }
}

TEST(ParallelCorpus, IsTranslatedInEveryLine) {
  for (const Line& line : all_lines()) {
    const double share = share_of_english_words(line.text);
    if (line.code == "en") {
      EXPECT_GT(share, kMostEnglishWords) << "not recognised as English: " << line.place;
    } else {
      EXPECT_LE(share, kMostEnglishWords) << line.place;
    }
  }
}

TEST(ParallelCorpus, RepeatsNoLine) {
  const std::set<std::string> english_lines(english().units.begin(), english().units.end());
  for (const LanguageText& language : texts()) {
    std::set<std::string_view> seen;
    for (const Line& line : lines_of(language)) {
      EXPECT_TRUE(seen.insert(line.text).second) << line.place;
      if (language.code == "en") continue;
      EXPECT_FALSE(english_lines.contains(std::string(line.text))) << line.place;
    }
  }
}

TEST(ParallelCorpus, IsComposed) {
  for (const Line& line : all_lines()) expect_none_of(kNotComposed, line);
}

TEST(ParallelCorpus, HasNoInvisibleCharactersAndOnlySingleSpacesBetweenWords) {
  for (const Line& line : all_lines()) {
    expect_none_of(kInvisible, line);
    EXPECT_EQ(line.text.find("  "), std::string_view::npos) << line.place;
    EXPECT_FALSE(line.text.starts_with(' ') || line.text.ends_with(' ')) << line.place;
  }
}

TEST(ParallelCorpus, EndsEveryLineWithTheSentenceMarkOfItsScript) {
  for (const Line& line : all_lines()) {
    EXPECT_NE(line.rule.sentence_ends.find(line.characters.back()), std::u32string_view::npos)
        << line.place;
  }
}

TEST(ParallelCorpus, HasEnglishLinesOfMediumLength) {
  for (const Line& line : lines_of(english())) {
    EXPECT_GE(line.characters.size(), kShortestEnglish) << line.place;
    EXPECT_LE(line.characters.size(), kLongestEnglish) << line.place;
  }
}

TEST(ParallelCorpus, HasLinesAsLongAsTheirEnglishOnesForTheScript) {
  for (const LanguageText& language : texts()) {
    const std::vector<Line> lines = lines_of(language);
    ASSERT_LE(lines.size(), english().units.size());
    for (size_t i = 0; i < lines.size(); ++i) {
      const double ratio = static_cast<double>(lines[i].characters.size()) /
                           static_cast<double>(decode(english().units[i]).size());
      EXPECT_GE(ratio, lines[i].rule.shortest) << lines[i].place;
      EXPECT_LE(ratio, lines[i].rule.longest) << lines[i].place;
    }
  }
}

}  // namespace
}  // namespace isogloss
