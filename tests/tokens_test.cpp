// Contract of isogloss/tokens/tokens.h: vocabularies that are refused, token ids, and sequences.
#include "isogloss/tokens/tokens.h"

#include <gtest/gtest.h>

#include <thread>

#include "model_files.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<int32_t>;

constexpr const char* kOrigin = "some/model.gguf";

void add_token(Vocabulary& vocabulary, const std::string& token, TokenType type) {
  vocabulary.tokens.push_back(token);
  vocabulary.types.push_back(type);
  if (vocabulary.model == "llama") {
    vocabulary.scores.push_back(-static_cast<float>(vocabulary.tokens.size()));
  }
}

// Ids of the vocabularies below.
enum Id : int32_t { kUnk, kBos, kEos, kSpace, kNewline, kA, kB, kC, kAb, kAbc, kSpaceA };

// Byte-level BPE over the letters a, b and c, with a bos token.
Vocabulary byte_level() {
  Vocabulary vocabulary;
  vocabulary.model = "gpt2";
  vocabulary.pre = "gpt-2";
  add_token(vocabulary, "<unk>", TokenType::kUnknown);
  add_token(vocabulary, "<s>", TokenType::kControl);
  add_token(vocabulary, "</s>", TokenType::kControl);
  for (const char* token : {"\u0120", "\u010a", "a", "b", "c", "ab", "abc", "\u0120a"}) {
    add_token(vocabulary, token, TokenType::kNormal);
  }
  vocabulary.merges = {"a b", "ab c", "\u0120 a"};
  vocabulary.bos = kBos;
  vocabulary.eos = kEos;
  vocabulary.add_bos = true;
  return vocabulary;
}

// SentencePiece with the same tokens; a newline is a byte token.
Vocabulary sentencepiece() {
  Vocabulary vocabulary;
  vocabulary.model = "llama";
  add_token(vocabulary, "<unk>", TokenType::kUnknown);
  add_token(vocabulary, "<s>", TokenType::kControl);
  add_token(vocabulary, "</s>", TokenType::kControl);
  add_token(vocabulary, "\u2581", TokenType::kNormal);
  add_token(vocabulary, "<0x0A>", TokenType::kByte);
  for (const char* token : {"a", "b", "c", "ab", "abc", "\u2581a"}) {
    add_token(vocabulary, token, TokenType::kNormal);
  }
  vocabulary.bos = kBos;
  vocabulary.eos = kEos;
  vocabulary.unknown = kUnk;
  vocabulary.add_space_prefix = false;
  return vocabulary;
}

Vocabulary without_bos() {
  Vocabulary vocabulary = byte_level();
  vocabulary.add_bos = false;
  return vocabulary;
}

Tokenizer make(const Vocabulary& vocabulary) {
  return {vocabulary, kOrigin};
}

// Damages both vocabularies; the valid twins load after every test.
class VocabularyFaults : public testing::Test {
 protected:
  void TearDown() override {
    EXPECT_EQ(make(byte_level()).encode("abc"), (Ids{kBos, kAbc}));
    EXPECT_EQ(make(sentencepiece()).encode("abc"), (Ids{kBos, kAbc}));
  }
  template <typename Damage>
  static testing::AssertionResult refuses(Vocabulary vocabulary, Damage damage, ErrorCode code,
                                          Strings parts) {
    damage(vocabulary);
    parts.emplace_back(kOrigin);
    return says(failure_of([&] { make(vocabulary); }), code, parts);
  }
  template <typename Damage>
  static testing::AssertionResult both_refuse(Damage damage, const Strings& parts) {
    const auto first = refuses(byte_level(), damage, ErrorCode::kCorrupt, parts);
    return first ? refuses(sentencepiece(), damage, ErrorCode::kCorrupt, parts) : first;
  }
};

TEST_F(VocabularyFaults, ListsOfDifferentLengths) {
  EXPECT_TRUE(both_refuse([](auto& v) { v.types.pop_back(); }, {"10 token types for 11 tokens"}));
  EXPECT_TRUE(both_refuse(
      [](auto& v) {
        v.tokens.clear();
        v.types.clear();
        v.scores.clear();
      },
      {"has no tokens"}));
  EXPECT_TRUE(refuses(sentencepiece(), [](auto& v) { v.scores.pop_back(); }, ErrorCode::kCorrupt,
                      {"10 token scores, expected 11"}));
  EXPECT_TRUE(refuses(byte_level(), [](auto& v) { v.scores.resize(11); }, ErrorCode::kCorrupt,
                      {"11 token scores, expected 0"}));
}

TEST_F(VocabularyFaults, ATokenThatIsThereTwice) {
  EXPECT_TRUE(both_refuse([](auto& v) { v.tokens[kC] = "a"; }, {"token 7 'a'", "twice"}));
}

TEST_F(VocabularyFaults, TokensThatLlamaCppWouldTakeForTheSame) {
  const auto cut = [](auto& v) { v.tokens[kC] = std::string("a\0c", 3); };
  EXPECT_TRUE(both_refuse(cut, {"token 7 holds a NUL byte"}));
  const auto renamed = [](auto& v) {
    v.tokens[kB] = "[EMPTY_7]";
    v.tokens[kC] = "";
  };
  EXPECT_TRUE(both_refuse(renamed, {"token 7 ''", "twice"}));
  Vocabulary two_empty = byte_level();
  two_empty.tokens[kB] = two_empty.tokens[kC] = "";
  EXPECT_EQ(make(two_empty).encode("a"), (Ids{kBos, kA}));
}

TEST_F(VocabularyFaults, TokensOfALengthThatTakesAllMemory) {
  std::string odd;
  while (odd.size() < 20'000) odd += "\u4e00";
  EXPECT_TRUE(refuses(byte_level(), [&](auto& v) { v.tokens[kC] = odd; }, ErrorCode::kUnsupported,
                      {"token 7 has 20001 bytes"}));
  Vocabulary shorter = byte_level();
  shorter.tokens[kC] = odd.substr(0, 3000);
  EXPECT_NO_THROW(make(shorter));
}

TEST_F(VocabularyFaults, SpecialIdsThatAreNoTokens) {
  for (const int32_t id : {-1, 11, 1 << 30}) {
    const std::string text = fmt::format("token id {} is outside the 11 tokens", id);
    EXPECT_TRUE(both_refuse([=](auto& v) { v.bos = id; }, {"bos " + text}));
    EXPECT_TRUE(both_refuse([=](auto& v) { v.eos = id; }, {"eos " + text}));
    EXPECT_TRUE(both_refuse([=](auto& v) { v.unknown = id; }, {"unknown " + text}));
  }
}

TEST_F(VocabularyFaults, SpecialTokensThatAreAddedAndNotNamed) {
  EXPECT_TRUE(both_refuse(
      [](auto& v) {
        v.add_bos = true;
        v.bos.reset();
      },
      {"adds a bos token and names none"}));
  EXPECT_TRUE(both_refuse(
      [](auto& v) {
        v.add_eos = true;
        v.eos.reset();
      },
      {"adds an eos token and names none"}));
}

TEST_F(VocabularyFaults, APreTokenizerThatAddsABosTokenUnasked) {
  const auto forced = [](auto& v) {
    v.pre = "gemma4";
    v.add_bos = false;
    v.bos.reset();
  };
  EXPECT_TRUE(refuses(byte_level(), forced, ErrorCode::kCorrupt,
                      {"pre-tokenizer 'gemma4' adds a bos token", "names none"}));
}

TEST_F(VocabularyFaults, ByteTokensOfAnotherForm) {
  for (const std::string token :
       {"<0xZZ>", "<0x0a>", "<0x0>", "<0x000>", "0x41", "<0x41", "A", ""}) {
    const auto damage = [&](auto& v) {
      v.tokens[kNewline] = token;
      v.types[kNewline] = TokenType::kByte;
    };
    EXPECT_TRUE(both_refuse(damage, {"token 4 '" + token + "' has the type of a byte"}));
  }
  const auto well_formed = [](auto& v) {
    v.tokens[kNewline] = "<0x0A>";
    v.types[kNewline] = TokenType::kByte;
  };
  EXPECT_TRUE(refuses(byte_level(), well_formed, ErrorCode::kCorrupt, {"only in kind 'llama'"}));
}

TEST_F(VocabularyFaults, MergesThatAreNotTwoTokens) {
  for (const std::string merge : {"ab", "a ", "", " ", " a", "  "}) {
    EXPECT_TRUE(refuses(byte_level(), [&](auto& v) { v.merges[1] = merge; }, ErrorCode::kCorrupt,
                        {"merge 1 '" + merge + "' is not two tokens"}));
  }
  const std::string with_nul("a\0b c", 5);
  EXPECT_TRUE(refuses(byte_level(), [&](auto& v) { v.merges[1] = with_nul; }, ErrorCode::kCorrupt,
                      {"merge 1"}));
}

TEST_F(VocabularyFaults, KindsThatAreNotKnown) {
  for (const std::string kind : {"bert", "t5", "rwkv", "none", ""}) {
    EXPECT_TRUE(refuses(byte_level(), [&](auto& v) { v.model = kind; }, ErrorCode::kUnsupported,
                        {"tokenizer kind '" + kind + "'", "'gpt2'", "'llama'"}));
  }
  EXPECT_TRUE(refuses(byte_level(), [](auto& v) { v.pre = "no-such"; }, ErrorCode::kUnsupported,
                      {"'no-such'", "unknown pre-tokenizer type"}));
  EXPECT_TRUE(refuses(byte_level(), [](auto& v) { v.pre = "whitespace"; }, ErrorCode::kUnsupported,
                      {"pre-tokenizer 'whitespace'"}));
}

TEST(Tokenizer, SaysWhichTokenizerCannotEncodeAText) {
  const Tokenizer tokenizer = make(sentencepiece());
  EXPECT_TRUE(says(failure_of([&] { tokenizer.encode("abcz"); }), ErrorCode::kCorrupt,
                   {kOrigin, "cannot encode", "lacks tokens"}));
  EXPECT_EQ(tokenizer.encode("abc"), (Ids{kBos, kAbc}));
}

TEST(Tokenizer, MergesAndAddsSpecialTokens) {
  Vocabulary vocabulary = byte_level();
  EXPECT_EQ(make(vocabulary).encode("abc a\nb"), (Ids{kBos, kAbc, kSpaceA, kNewline, kB}));
  EXPECT_EQ(make(vocabulary).encode(""), Ids{kBos});
  vocabulary.add_eos = true;
  EXPECT_EQ(make(vocabulary).encode("ab"), (Ids{kBos, kAb, kEos}));
  EXPECT_EQ(make(without_bos()).encode("cab"), (Ids{kC, kAb}));
  EXPECT_EQ(make(sentencepiece()).encode("ab a\nc"), (Ids{kBos, kAb, kSpaceA, kNewline, kC}));
}

TEST(Tokenizer, WorksWithoutMergesAndWithoutSpecialTokens) {
  Vocabulary vocabulary = without_bos();
  vocabulary.merges.clear();
  vocabulary.bos.reset();
  vocabulary.eos.reset();
  vocabulary.add_bos.reset();
  EXPECT_EQ(make(vocabulary).encode("abc"), (Ids{kA, kB, kC}));
}

TEST(Tokenizer, ReadsSpecialTokensInTextAsText) {
  const Ids ids = make(sentencepiece()).encode("a");
  EXPECT_EQ(ids, (Ids{kBos, kA}));
  Vocabulary vocabulary = without_bos();
  for (const char* letter : {"<", ">", "/", "s"}) add_token(vocabulary, letter, TokenType::kNormal);
  EXPECT_EQ(make(vocabulary).encode("</s>"), (Ids{11, 13, 14, 12}));
}

TEST(Tokenizer, FindsUserDefinedTokensInText) {
  Vocabulary vocabulary = without_bos();
  add_token(vocabulary, "b c", TokenType::kUserDefined);
  EXPECT_EQ(make(vocabulary).encode("ab ca"), (Ids{kA, 11, kA}));
}

TEST(Tokenizer, KnowsItsBosToken) {
  EXPECT_EQ(make(byte_level()).bos(), kBos);
  EXPECT_EQ(make(sentencepiece()).bos(), kBos);
  EXPECT_EQ(make(without_bos()).bos(), std::nullopt);
}

TEST(Tokenizer, KnowsTheBytesOfItsTokens) {
  for (const Tokenizer& tokenizer : {make(byte_level()), make(sentencepiece())}) {
    for (const int32_t special : {kUnk, kBos, kEos}) EXPECT_EQ(tokenizer.piece_bytes(special), 0U);
    for (const int32_t one : {kSpace, kNewline, kA}) EXPECT_EQ(tokenizer.piece_bytes(one), 1U);
    EXPECT_EQ(tokenizer.piece_bytes(kAbc), 3U);
    EXPECT_EQ(tokenizer.piece_bytes(kSpaceA), 2U);
  }
}

TEST(Tokenizer, TakesTextThatIsNotUtf8) {
  const Tokenizer tokenizer = make(byte_level());
  for (const std::string text : {"a\xff", "\xc3", "\xed\xa0\x80", "a\xe2\x82"}) {
    EXPECT_EQ(tokenizer.encode(text).front(), kBos);
  }
}

TEST(Tokenizer, EncodesFromManyThreads) {
  const Tokenizer tokenizer = make(byte_level());
  const Ids expected = tokenizer.encode("abc a\nb");
  constexpr int kThreads = 4;
  std::vector<int> wrong(kThreads, 0);
  std::vector<std::thread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) count += tokenizer.encode("abc a\nb") == expected ? 0 : 1;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(kThreads, 0));
}

Corpus corpus_of(const Strings& units) {
  Corpus corpus{"some/corpus", true, {{"de", units, {}}}};
  for (size_t i = 0; i < units.size(); ++i) {
    corpus.languages[0].unit_ids.push_back("u" + std::to_string(i));
  }
  return corpus;
}

TEST(Tokenize, MakesASequenceOfEveryUnit) {
  const Corpus corpus = corpus_of({"abc a", "a\u00e9 b"});
  const TokenizedCorpus tokenized = tokenize(corpus, make(byte_level()), 20);
  EXPECT_EQ(tokenized.name, "some/corpus");
  EXPECT_TRUE(tokenized.parallel);
  ASSERT_EQ(tokenized.languages.size(), 1U);
  EXPECT_EQ(tokenized.languages[0].code, "de");
  EXPECT_EQ(tokenized.languages[0].unit_ids, (Strings{"u0", "u1"}));
  ASSERT_EQ(tokenized.languages[0].sequences.size(), 2U);
  const Sequence& sequence = tokenized.languages[0].sequences[0];
  EXPECT_EQ(sequence.tokens, (Ids{kBos, kAbc, kSpaceA}));
  EXPECT_EQ(sequence.first_scored, 1U);
  EXPECT_EQ(sequence.scored(), 2U);
  EXPECT_EQ(sequence.bytes, 5U);
  EXPECT_EQ(tokenized.languages[0].sequences[1].bytes, 5U);
}

TEST(Tokenize, CountsTheBytesAfterTheFirstTokenWhereThereIsNoBos) {
  const TokenizedCorpus tokenized = tokenize(corpus_of({"abc a"}), make(without_bos()), 20);
  const Sequence& sequence = tokenized.languages[0].sequences[0];
  EXPECT_EQ(sequence.tokens, (Ids{kAbc, kSpaceA}));
  EXPECT_EQ(sequence.first_scored, 1U);
  EXPECT_EQ(sequence.bytes, 2U);
}

TEST(Tokenize, RefusesAUnitLongerThanTheContext) {
  const Corpus corpus = corpus_of({"ab", "abcabca"});
  EXPECT_TRUE(
      says(failure_of([&] { tokenize(corpus, make(byte_level()), 3); }), ErrorCode::kBadArgument,
           {"some/corpus", "unit 'u1' of 'de' has 4 tokens", "context holds 3", "--window"}));
  EXPECT_EQ(tokenize(corpus, make(byte_level()), 4).languages[0].sequences[1].tokens.size(), 4U);
}

TEST(Tokenize, RefusesAUnitWithNothingToScore) {
  EXPECT_TRUE(says(failure_of([] {
                     tokenize(corpus_of({"bc", "c"}), make(without_bos()), 20);
                   }),
                   ErrorCode::kBadArgument,
                   {"some/corpus", "unit 'u1' of 'de' has 1 token", "at least 2"}));
  EXPECT_TRUE(says(failure_of([] { tokenize(corpus_of({""}), make(byte_level()), 20); }),
                   ErrorCode::kBadArgument, {"unit 'u0' of 'de' has 1 token"}));
  EXPECT_NO_THROW(tokenize(corpus_of({"ab", "c"}), make(byte_level()), 20));
}

TEST(TokenizeWindows, CutsTheJoinedTextAndPutsBosFirst) {
  // <s> b \n _a | c \n abc c | b  (the last one is dropped)
  const Corpus corpus = corpus_of({"b", " ac", "abccb"});
  const TokenizedCorpus tokenized = tokenize_windows(corpus, make(byte_level()), 4);
  EXPECT_EQ(tokenized.name, "some/corpus");
  EXPECT_FALSE(tokenized.parallel);
  const TokenizedLanguage& language = tokenized.languages.at(0);
  EXPECT_EQ(language.code, "de");
  EXPECT_EQ(language.unit_ids, (Strings{"0", "1"}));
  ASSERT_EQ(language.sequences.size(), 2U);
  EXPECT_EQ(language.sequences[0].tokens, (Ids{kBos, kB, kNewline, kSpaceA}));
  EXPECT_EQ(language.sequences[0].bytes, 2U);
  EXPECT_EQ(language.sequences[1].tokens, (Ids{kBos, kNewline, kAbc, kC}));
  EXPECT_EQ(language.sequences[1].bytes, 1U);
}

TEST(TokenizeWindows, KeepTheirFirstTokenWhereThereIsNoBos) {
  const auto windows = tokenize_windows(corpus_of({"bcbcbcbc"}), make(without_bos()), 4);
  ASSERT_EQ(windows.languages[0].sequences.size(), 2U);
  EXPECT_EQ(windows.languages[0].sequences[1].tokens, (Ids{kB, kC, kB, kC}));
}

TEST(TokenizeWindows, ScoreHalfAWindowLessOne) {
  const std::string text(100, 'b');
  for (size_t window = 4; window <= 17; ++window) {
    const auto tokenized = tokenize_windows(corpus_of({text}), make(byte_level()), window);
    const auto& sequences = tokenized.languages[0].sequences;
    EXPECT_EQ(sequences.size(), 101 / window);
    for (const Sequence& sequence : sequences) {
      EXPECT_EQ(sequence.tokens.size(), window);
      EXPECT_EQ(sequence.first_scored, window / 2 + 1);
      EXPECT_EQ(sequence.bytes, sequence.scored());
      if (window % 2 == 0) {
        EXPECT_EQ(sequence.scored(), window / 2 - 1);
      }
    }
  }
}

TEST(TokenizeWindows, JoinEveryLineWithANewline) {
  const auto windows = tokenize_windows(corpus_of({"", "b", "", "b"}), make(byte_level()), 5);
  EXPECT_EQ(windows.languages[0].sequences.at(0).tokens,
            (Ids{kBos, kNewline, kB, kNewline, kNewline}));
}

TEST(TokenizeWindows, RefuseWindowsThatAreTooSmallOrTooLarge) {
  for (const size_t window : {0U, 1U, 3U}) {
    EXPECT_TRUE(
        says(failure_of([&] { tokenize_windows(corpus_of({"bcbc"}), make(byte_level()), window); }),
             ErrorCode::kBadArgument, {fmt::format("a window of {} tokens", window), "4"}));
  }
  EXPECT_TRUE(says(failure_of([] { tokenize_windows(corpus_of({"bcbc"}), make(byte_level()), 6); }),
                   ErrorCode::kBadArgument,
                   {"some/corpus", "'de' has 5 tokens", "fewer than one window of 6"}));
  EXPECT_NO_THROW(tokenize_windows(corpus_of({"bcbc"}), make(byte_level()), 5));
}

// Token ids of Hugging Face's tokenizers, as tests/reference/make_tokens.py wrote them.
struct ReferenceModel {
  std::string name, path, fetched_by;  // fetched_by: "" when it is in the repository
};

void PrintTo(const ReferenceModel& model, std::ostream* out) {
  *out << model.name;
}

class ReferenceTokens : public testing::TestWithParam<ReferenceModel> {
 protected:
  void SetUp() override {
    const fs::path root = ISOGLOSS_SOURCE_DIR;
    const ReferenceModel& wanted = GetParam();
    if (!fs::exists(root / wanted.path)) {
      ASSERT_NE(wanted.fetched_by, "") << wanted.path << " is not there";
      GTEST_SKIP() << wanted.path << " is not there; " << wanted.fetched_by << " gets it";
    }
    const Model model = read_model(root / wanted.path);
    tokenizer_.emplace(model.vocabulary(), wanted.path);
    std::ifstream file(root / "tests/reference" / ("tokens_" + wanted.name + ".json"));
    reference_ = nlohmann::json::parse(file);
  }

  static fs::path text_directory() { return fs::path(ISOGLOSS_SOURCE_DIR) / "data/parallel"; }

  static Strings languages_of_the_text() {
    Strings languages;
    for (const auto& entry : fs::directory_iterator(text_directory())) {
      if (entry.path().extension() == ".txt") languages.push_back(entry.path().stem());
    }
    std::ranges::sort(languages);
    return languages;
  }

  static Strings lines_of(const std::string& language) {
    const fs::path path = text_directory() / (language + ".txt");
    std::ifstream file(path, std::ios::binary);
    Strings lines;
    for (std::string line; std::getline(file, line);) {
      if (lines.empty() && line.starts_with("\xef\xbb\xbf")) line.erase(0, 3);
      if (line.ends_with('\r')) line.pop_back();
      lines.push_back(line);
    }
    return lines;
  }

  std::optional<Tokenizer> tokenizer_;
  nlohmann::json reference_;
};

INSTANTIATE_TEST_SUITE_P(All, ReferenceTokens,
                         testing::Values(ReferenceModel{"polyglot-12", "models/polyglot-12", ""},
                                         ReferenceModel{"gemma-3-270m", "models/gemma-3-270m.gguf",
                                                        "scripts/fetch-gemma"},
                                         ReferenceModel{"smollm2-135m", "models/smollm2-135m.gguf",
                                                        "scripts/fetch-smollm2"}),
                         [](const auto& source) {
                           std::string name = source.param.name;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST_P(ReferenceTokens, AreTheSameForEveryLineOfTheParallelText) {
  Strings languages;
  for (const auto& [language, expected] : reference_.at("languages").items()) {
    languages.push_back(language);
  }
  EXPECT_EQ(languages, languages_of_the_text());
  for (const auto& [language, expected] : reference_.at("languages").items()) {
    const Strings lines = lines_of(language);
    ASSERT_EQ(lines.size(), expected.at("fnv1a64").size()) << language;
    for (size_t i = 0; i < lines.size(); ++i) {
      const Ids ids = tokenizer_->encode(lines[i]);
      const std::string hash = fmt::format("{:016x}", fnv1a64(bytes_of(ids)));
      EXPECT_EQ(hash, expected.at("fnv1a64")[i]) << language << " line " << i + 1;
      EXPECT_EQ(ids.size(), expected.at("tokens")[i]) << language << " line " << i + 1;
      if (i < expected.at("first").size()) {
        EXPECT_EQ(ids, expected.at("first")[i].get<Ids>()) << language;
      }
    }
  }
}

TEST_P(ReferenceTokens, AreTheSameForOddStrings) {
  EXPECT_GT(reference_.at("nasty").size(), 15U);
  for (const auto& odd : reference_.at("nasty")) {
    const Ids ids = tokenizer_->encode(odd.at("text").get<std::string>());
    EXPECT_EQ(ids, odd.at("ids").get<Ids>()) << odd.at("name");
  }
}

TEST_P(ReferenceTokens, DifferWhereTheReferenceSaysThatLlamaCppDoes) {
  for (const auto& odd : reference_.at("nasty_differs")) {
    const Ids ids = tokenizer_->encode(odd.at("text").get<std::string>());
    EXPECT_NE(ids, odd.at("ids").get<Ids>()) << odd.at("name") << " no longer differs";
  }
}

}  // namespace
}  // namespace isogloss
