// Contract of read_tokenizer_json in isogloss/tokens/tokens.h: what each step makes of text, as
// Hugging Face's tokenizers do it, what is refused, and what a GGUF file would say.
#include <gtest/gtest.h>

#include <thread>

#include "isogloss/tokens/tokens.h"
#include "model_files.h"

namespace isogloss {
namespace {

using Json = nlohmann::ordered_json;
using Ids = std::vector<int32_t>;

Json operator""_ordered(const char* text, size_t size) {
  return Json::parse(text, text + size);
}

// Byte-pair encoding with these tokens, numbered from 0.
Json bpe(const Strings& tokens, const Json& merges = Json::array()) {
  Json vocabulary = Json::object();
  for (const auto& token : tokens) vocabulary.emplace(token, vocabulary.size());
  return {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", merges}};
}

Json with_model(const Json& model) {
  Json tokenizer = R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
                       "normalizer": null, "pre_tokenizer": null, "post_processor": null,
                       "decoder": null})"_ordered;
  tokenizer["model"] = model;
  return tokenizer;
}

const Strings kLetters = {"<unk>", "<s>", "</s>", "a", "b", "c", "\u2581", "ab", "abc"};
const Json kMerges = R"([["a", "b"], ["ab", "c"]])"_ordered;

// A valid one with each part.
Json usual() {
  Json tokenizer = with_model(bpe(kLetters, kMerges));
  tokenizer.update(R"({
    "added_tokens": [{"id": 1, "content": "<s>", "single_word": false, "lstrip": false,
                      "rstrip": false, "normalized": false, "special": true}],
    "normalizer": {"type": "Sequence", "normalizers": [
      {"type": "NFC"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "x+"}, "behavior": "Isolated", "invert": false},
      {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never", "split": true}]},
    "post_processor": {
      "type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                 {"Sequence": {"id": "A", "type_id": 0}}],
      "pair": [],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}})"_ordered);
  return tokenizer;
}

class TokenizerJson : public testing::Test {
 protected:
  Vocabulary read(const Json& tokenizer) const {
    return read_tokenizer_json(directory_.write("tokenizer.json", tokenizer.dump()));
  }
  Tokenizer make(const Json& tokenizer) const { return {read(tokenizer), "tokenizer.json"}; }
  Ids encode(const Json& tokenizer, std::string_view text) const {
    return make(tokenizer).encode(text);
  }

  // Every test ends with the valid twin of what it damaged.
  void TearDown() override { EXPECT_EQ(encode(usual(), "abc a"), (Ids{1, 8, 6, 3})); }

  testing::AssertionResult refuses_file(const Json& tokenizer, ErrorCode code,
                                        Strings parts) const {
    parts.emplace_back("tokenizer.json");
    return says(failure_of([&] { read(tokenizer); }), code, parts);
  }
  // With `value` at a place of the usual file.
  testing::AssertionResult refuses(const std::string& place, const Json& value, ErrorCode code,
                                   const Strings& parts) const {
    Json tokenizer = usual();
    tokenizer[Json::json_pointer(place)] = value;
    return refuses_file(tokenizer, code, parts);
  }
  testing::AssertionResult unsupported(const std::string& place, const Json& value,
                                       const Strings& parts) const {
    return refuses(place, value, ErrorCode::kUnsupported, parts);
  }
  testing::AssertionResult corrupt(const std::string& place, const Json& value,
                                   const Strings& parts) const {
    return refuses(place, value, ErrorCode::kCorrupt, parts);
  }

  TemporaryDirectory directory_;
};

// --- against Hugging Face's tokenizers (tests/reference/make_tokenizer_steps.py)

nlohmann::json read_reference() {
  std::ifstream file(std::string(ISOGLOSS_SOURCE_DIR) + "/tests/reference/tokenizer_steps.json");
  return nlohmann::json::parse(file);
}

// A tokenizer whose only tokens are these words.
Json with_words(Strings words) {
  std::ranges::sort(words);
  words.erase(std::unique(words.begin(), words.end()), words.end());
  Json model = bpe(words);
  model["vocab"].emplace("<unk>", words.size());
  model["unk_token"] = "<unk>";
  model["ignore_merges"] = true;
  return with_model(model);
}

Strings words_of(const Tokenizer& tokenizer, const Vocabulary& vocabulary, std::string_view text) {
  Strings words;
  for (const int32_t id : tokenizer.encode(text)) {
    words.push_back(vocabulary.tokens.at(static_cast<size_t>(id)));
  }
  return words;
}

TEST_F(TokenizerJson, NormalizesAsTheReferenceDoes) {
  const auto reference = read_reference();
  const auto texts = reference.at("texts").get<Strings>();
  EXPECT_GT(reference.at("normalizers").size(), 15U);
  for (const auto& normalizer : reference.at("normalizers")) {
    const auto expected = normalizer.at("results").get<Strings>();
    for (size_t i = 0; i < texts.size(); ++i) {
      Json tokenizer = with_words({expected[i]});
      tokenizer["normalizer"] = normalizer.at("step");
      const Vocabulary vocabulary = read(tokenizer);
      const Strings words = words_of({vocabulary, "words"}, vocabulary, texts[i]);
      EXPECT_EQ(words, expected[i].empty() ? Strings() : Strings{expected[i]})
          << normalizer.at("step") << " of '" << texts[i] << "'";
    }
  }
}

TEST_F(TokenizerJson, CutsWordsAsTheReferenceDoes) {
  const auto reference = read_reference();
  const auto texts = reference.at("texts").get<Strings>();
  EXPECT_GT(reference.at("pre_tokenizers").size(), 35U);
  for (const auto& pre_tokenizer : reference.at("pre_tokenizers")) {
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto expected = pre_tokenizer.at("results")[i].get<Strings>();
      Json tokenizer = with_words(expected);
      tokenizer["pre_tokenizer"] = pre_tokenizer.at("step");
      const Vocabulary vocabulary = read(tokenizer);
      EXPECT_EQ(words_of({vocabulary, "words"}, vocabulary, texts[i]), expected)
          << pre_tokenizer.at("step") << " of '" << texts[i] << "'";
    }
  }
}

TEST_F(TokenizerJson, GivesTheIdsOfTheReference) {
  const auto reference = read_reference();
  EXPECT_GT(reference.at("tokenizers").size(), 15U);
  for (const auto& described : reference.at("tokenizers")) {
    const Tokenizer tokenizer = make(described.at("tokenizer"));
    const auto texts = described.at("texts").get<Strings>();
    for (size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(tokenizer.encode(texts[i]), described.at("ids")[i].get<Ids>())
          << described.at("name") << ": '" << texts[i] << "'";
    }
  }
}

// --- forms of the file

TEST_F(TokenizerJson, MergesAreStringsOrPairs) {
  const Ids expected = {1, 8};
  Json tokenizer = usual();
  for (const Json& merges :
       {kMerges, R"(["a b", "ab c"])"_ordered, R"(["#version: 0.2", "a b", "ab c"])"_ordered}) {
    tokenizer["model"]["merges"] = merges;
    EXPECT_EQ(encode(tokenizer, "abc"), expected);
  }
  tokenizer["model"].erase("type");  // as old files have it
  EXPECT_EQ(encode(tokenizer, "abc"), expected);
}

TEST_F(TokenizerJson, MetaspaceHasOldForms) {
  Json tokenizer = with_model(bpe({"\u2581", "a"}));
  const auto prefix_of = [&](const Json& step) {
    tokenizer["pre_tokenizer"] = step;
    return encode(tokenizer, "a").size() - 1;
  };
  Json step = {{"type", "Metaspace"}, {"replacement", "\u2581"}};
  EXPECT_EQ(prefix_of(step), 1U);
  step["str_rep"] = "\u2581";
  step["add_prefix_space"] = true;
  EXPECT_EQ(prefix_of(step), 1U);
  step["add_prefix_space"] = false;
  EXPECT_EQ(prefix_of(step), 0U);
  step["prepend_scheme"] = "never";
  EXPECT_EQ(prefix_of(step), 0U);
  step["add_prefix_space"] = true;
  EXPECT_EQ(prefix_of(step), 0U);
}

TEST_F(TokenizerJson, WhatIsNotAboutIdsIsNotRead) {
  Json tokenizer = usual();
  tokenizer["truncation"] = {{"max_length", 2}, {"strategy", "LongestFirst"}};
  tokenizer["padding"] = {{"strategy", {{"Fixed", 100}}}};
  tokenizer["decoder"] = {{"type", "Whatever"}};
  tokenizer["model"]["dropout"] = 0.0;
  tokenizer["model"]["end_of_word_suffix"] = "";
  EXPECT_EQ(encode(tokenizer, "abc a"), (Ids{1, 8, 6, 3}));
}

TEST_F(TokenizerJson, NamesOfSpecialTokensComeFromTheFileBeside) {
  Json tokenizer = usual();
  tokenizer["post_processor"] = nullptr;
  directory_.write("tokenizer_config.json",
                   R"({"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false},
                       "pad_token": "<none>", "chat_template": "{{ x }}"})");
  const Vocabulary vocabulary = read(tokenizer);
  EXPECT_EQ(vocabulary.bos, 1);
  EXPECT_EQ(vocabulary.eos, 2);
  EXPECT_EQ(vocabulary.padding, std::nullopt);
  EXPECT_EQ(vocabulary.chat_template, "{{ x }}");
  EXPECT_EQ(vocabulary.add_bos, false);
  EXPECT_EQ(Tokenizer(vocabulary, "tokenizer.json").bos(), std::nullopt);
  EXPECT_EQ(read(usual()).add_bos, true);
  directory_.write("tokenizer_config.json", R"({"bos_token": 3})");
  EXPECT_TRUE(says(failure_of([&] { read(tokenizer); }), ErrorCode::kCorrupt,
                   {"tokenizer_config.json", "bos_token"}));
  directory_.write("tokenizer_config.json", "{}");
}

// --- what is refused

TEST_F(TokenizerJson, RefusesStepsItDoesNotKnow) {
  for (const std::string type : {"BertNormalizer", "Nmt", "StripAccents", "ByteLevel", "No"}) {
    EXPECT_TRUE(unsupported("/normalizer/normalizers/0/type", type,
                            {"normalizer.normalizers[0].type is \"" + type + "\"", "NFKC"}));
  }
  for (const std::string type : {"BertPreTokenizer", "UnicodeScripts", "Delimiter", "NFC"}) {
    EXPECT_TRUE(unsupported("/pre_tokenizer/pretokenizers/1/type", type,
                            {"pre_tokenizer.pretokenizers[1].type is \"" + type + "\"", "Split"}));
  }
  for (const std::string type : {"WordPiece", "WordLevel", ""}) {
    EXPECT_TRUE(unsupported("/model/type", type, {"model.type is \"" + type + "\"", "Unigram"}));
  }
  EXPECT_TRUE(unsupported("/post_processor/type", "Other", {"post_processor.type is \"Other\""}));
}

TEST_F(TokenizerJson, RefusesKeysItDoesNotKnow) {
  const Strings places = {"/normalizer/normalizers/1",
                          "/pre_tokenizer/pretokenizers/0",
                          "/pre_tokenizer",
                          "/model",
                          "/post_processor",
                          "/added_tokens/0"};
  for (const std::string& place : places) {
    EXPECT_TRUE(unsupported(place + "/other", 1, {".other is not understood"})) << place;
  }
  EXPECT_TRUE(unsupported("/other", 1, {"tokenizer.json: other is not understood"}));
  EXPECT_TRUE(unsupported("/version", "2.0", {"version is \"2.0\""}));
}

TEST_F(TokenizerJson, RefusesSettingsThatChangeIds) {
  EXPECT_TRUE(unsupported("/model/dropout", 0.1, {"model.dropout is 0.1"}));
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    EXPECT_TRUE(
        unsupported(std::string("/model/") + key, "##", {fmt::format("model.{} is \"##\"", key)}));
  }
  const std::string split = "/pre_tokenizer/pretokenizers/0";
  EXPECT_TRUE(unsupported(split + "/behavior", "Merged",
                          {"pre_tokenizer.pretokenizers[0].behavior is \"Merged\"", "Isolated"}));
  EXPECT_TRUE(unsupported(split + "/pattern", {{"String", ""}},
                          {"pre_tokenizer.pretokenizers[0].pattern", "empty"}));
  EXPECT_TRUE(unsupported(split + "/pattern", {{"Glob", "*"}}, {"String and Regex"}));
  const std::string metaspace = "/pre_tokenizer/pretokenizers/1";
  EXPECT_TRUE(unsupported(metaspace + "/prepend_scheme", "sometimes", {"is \"sometimes\""}));
  EXPECT_TRUE(unsupported(metaspace + "/replacement", "ab", {"one character"}));
  EXPECT_TRUE(unsupported(metaspace + "/str_rep", "_", {"str_rep is \"_\""}));
  Json contradiction = usual();
  contradiction["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = false;
  contradiction["pre_tokenizer"]["pretokenizers"][1]["prepend_scheme"] = "always";
  EXPECT_TRUE(refuses_file(contradiction, ErrorCode::kUnsupported, {"contradicts"}));
}

TEST_F(TokenizerJson, RefusesTemplatesWithMoreThanOneTokenOnASide) {
  const Json special = usual()["post_processor"]["single"][0];
  const Json text = usual()["post_processor"]["single"][1];
  const Json second = {{"Sequence", {{"id", "B"}, {"type_id", 1}}}};
  for (const Json& single :
       {Json::array({special, special, text}), Json::array({text, special, special}),
        Json::array({text, text}), Json::array({special}), Json::array({text, second})}) {
    EXPECT_TRUE(unsupported("/post_processor/single", single, {"post_processor.single"})) << single;
  }
  EXPECT_TRUE(unsupported("/post_processor/special_tokens/<s>/ids", {1, 2}, {"at most one"}));
  EXPECT_TRUE(corrupt("/post_processor/special_tokens", Json::object(), {"'<s>' is missing"}));
  EXPECT_TRUE(corrupt("/post_processor/special_tokens/<s>/ids", {9}, {"is 9", "9 tokens"}));
  EXPECT_TRUE(corrupt("/post_processor",
                      R"({"type": "BertProcessing", "sep": ["</s>", 2], "cls": "<s>"})"_ordered,
                      {"post_processor.cls"}));
}

TEST_F(TokenizerJson, RefusesRegularExpressionsThatDoNotCompile) {
  const std::string place = "/pre_tokenizer/pretokenizers/0/pattern/Regex";
  for (const std::string pattern : {"(", "[a", "\\p{Nothing}", "*"}) {
    Json tokenizer = usual();
    tokenizer[Json::json_pointer(place)] = pattern;
    const Failure failure = failure_of([&] { read(tokenizer); });
    EXPECT_TRUE(says(failure, ErrorCode::kCorrupt,
                     {"pre_tokenizer.pretokenizers[0].pattern '" + pattern + "'",
                      "is no regular expression: "}));
  }
}

TEST_F(TokenizerJson, StopsARegularExpressionThatNeverEnds) {
  Json tokenizer = usual();
  auto& regex = tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"];
  for (const char* pattern : {"(a+)+$", "(a|aa)+$", "(x+x+)+y|(a*)*b$"}) {
    regex = pattern;
    const Tokenizer hostile = make(tokenizer);
    EXPECT_TRUE(says(failure_of([&] { hostile.encode(std::string(40, 'a') + "bc"); }),
                     ErrorCode::kUnsupported, {"tokenizer.json", "regular expression", "limit"}))
        << pattern;
  }
}

TEST_F(TokenizerJson, RefusesToInsertBeforeEverything) {
  Json tokenizer = usual();
  tokenizer["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Regex", "x*"}}}, {"content", "a"}};
  EXPECT_TRUE(says(failure_of([&] { encode(tokenizer, "abc"); }), ErrorCode::kUnsupported,
                   {"tokenizer.json", "nothing at the beginning"}));
  EXPECT_EQ(encode(tokenizer, ""), Ids{1});
}

// --- ids

TEST_F(TokenizerJson, IdsRunFromZeroWithoutGaps) {
  EXPECT_TRUE(corrupt("/model/vocab/abc", 9, {"token id 8 is not there"}));
  EXPECT_TRUE(corrupt("/model/vocab/abc", 7, {"token id 7 is both 'ab' and 'abc'"}));
  for (const Json& id : {Json(-1), Json(1.5), Json("1"), Json(uint64_t{1} << 31), Json(nullptr)}) {
    EXPECT_TRUE(corrupt("/model/vocab/abc", id, {"model.vocab: 'abc' is " + id.dump()}));
    EXPECT_TRUE(corrupt("/added_tokens/0/id", id, {"added_tokens[0].id is " + id.dump()}));
  }
  EXPECT_TRUE(corrupt("/model/vocab", Json::object(), {"is not in the vocabulary"}));
  Json empty = with_model(bpe({}));
  EXPECT_TRUE(refuses_file(empty, ErrorCode::kCorrupt, {"no tokens"}));
}

TEST_F(TokenizerJson, AddedTokensHaveTheIdsThatTokenizersGivesThem) {
  Json tokenizer = usual();
  Json& added = tokenizer["added_tokens"];
  added.push_back({{"id", 9}, {"content", "<x>"}, {"special", false}});
  added.push_back({{"id", 10}, {"content", "<y>"}, {"special", true}});
  EXPECT_EQ(encode(tokenizer, "a<x>"), (Ids{1, 3, 9}));
  const auto with_id = [&](size_t index, int id) {
    Json other = tokenizer;
    other["added_tokens"][index]["id"] = id;
    return other;
  };
  EXPECT_TRUE(refuses_file(with_id(0, 2), ErrorCode::kCorrupt, {"id 2 is both '</s>' and '<s>'"}));
  EXPECT_TRUE(refuses_file(with_id(0, 11), ErrorCode::kCorrupt, {"added_tokens[0].id", "id is 1"}));
  EXPECT_TRUE(refuses_file(with_id(1, 10), ErrorCode::kCorrupt, {"added_tokens[1]", "id is 9"}));
  EXPECT_TRUE(refuses_file(with_id(2, 11), ErrorCode::kCorrupt, {"added_tokens[2]", "id is 10"}));
  EXPECT_TRUE(refuses_file(with_id(2, 3), ErrorCode::kCorrupt, {"3 is both 'a' and '<y>'"}));
  tokenizer["added_tokens"][2]["content"] = "<x>";
  EXPECT_TRUE(refuses_file(tokenizer, ErrorCode::kCorrupt, {"added_tokens[2]", "'<x>'", "twice"}));
}

TEST_F(TokenizerJson, RefusesAddedTokensThatBecomeTheSame) {
  Json tokenizer = usual();
  tokenizer["normalizer"] = {{"type", "Lowercase"}};
  Json& added = tokenizer["added_tokens"];
  added.push_back({{"id", 9}, {"content", "X"}, {"special", false}});
  added.push_back({{"id", 10}, {"content", "x"}, {"special", false}});
  EXPECT_TRUE(
      refuses_file(tokenizer, ErrorCode::kUnsupported, {"added_tokens: 'X' and 'x' are the same"}));
  added[2]["content"] = std::string(1025, 'y');
  EXPECT_TRUE(refuses_file(tokenizer, ErrorCode::kUnsupported, {"token 10 has 1025 bytes"}));
  tokenizer["normalizer"] = {{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}};
  added[2]["content"] = "  ";
  EXPECT_TRUE(refuses_file(tokenizer, ErrorCode::kUnsupported, {"'  ' is empty once normalized"}));
  added[2]["normalized"] = false;
  EXPECT_EQ(encode(tokenizer, "a  b"), (Ids{1, 3, 10, 4}));
}

TEST_F(TokenizerJson, MergesJoinTokensOfTheVocabulary) {
  EXPECT_TRUE(
      corrupt("/model/merges", R"([["a", "z"]])"_ordered, {"model.merges[0]", "'z' is not in"}));
  EXPECT_TRUE(
      corrupt("/model/merges", R"([["b", "a"]])"_ordered, {"model.merges[0]", "'ba' is not in"}));
  for (const Json& merge :
       R"([3, "ab", "a b c", ["a"], ["a", "b", "c"], ["a", 1], null])"_ordered) {
    EXPECT_TRUE(corrupt("/model/merges", Json::array({merge}), {"model.merges", merge.dump()}));
  }
  EXPECT_TRUE(corrupt("/model/merges", "a b", {"model.merges is not a list"}));
}

TEST_F(TokenizerJson, UnigramIsPairsOfTokenAndScore) {
  const Json model =
      R"({"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["a", -1.5]]})"_ordered;
  EXPECT_EQ(encode(with_model(model), "aba"), (Ids{1, 0, 1}));
  for (const Json& entry :
       R"(["a", ["a"], ["a", "b"], [1, 2], ["a", 1, 2], ["a", null]])"_ordered) {
    Json other = model;
    other["vocab"].push_back(entry);
    EXPECT_TRUE(refuses_file(with_model(other), ErrorCode::kCorrupt, {"model.vocab holds"}));
  }
  Json outside = model;
  outside["unk_id"] = 2;
  EXPECT_TRUE(refuses_file(with_model(outside), ErrorCode::kCorrupt, {"model.unk_id is 2"}));
  Json without = model;
  without["unk_id"] = nullptr;
  const Tokenizer tokenizer = make(with_model(without));
  EXPECT_EQ(tokenizer.encode("aa"), (Ids{1, 1}));
  EXPECT_TRUE(says(failure_of([&] { tokenizer.encode("ab"); }), ErrorCode::kCorrupt,
                   {"tokenizer.json", "unk_id"}));
}

TEST_F(TokenizerJson, AnUnknownTokenMustBeAToken) {
  Json tokenizer = usual();
  tokenizer["model"]["unk_token"] = "<none>";
  const Tokenizer made = make(tokenizer);
  EXPECT_EQ(made.encode("a"), (Ids{1, 3}));
  EXPECT_TRUE(says(failure_of([&] { made.encode("z"); }), ErrorCode::kCorrupt, {"'<none>'"}));
}

// --- malformed

TEST_F(TokenizerJson, FieldsOfTheWrongType) {
  for (const Json& value : {Json(3), Json("NFC"), Json::array(), Json(true)}) {
    for (const std::string key : {"normalizer", "pre_tokenizer", "post_processor", "model"}) {
      EXPECT_TRUE(corrupt("/" + key, value, {key})) << value;
    }
    for (const std::string place : {"/normalizer/normalizers", "/pre_tokenizer/pretokenizers",
                                    "/added_tokens", "/post_processor/single"}) {
      if (value.is_array()) continue;
      EXPECT_TRUE(corrupt(place, value, {"expected a list"})) << place << value;
    }
  }
  EXPECT_TRUE(corrupt("/normalizer/normalizers/0", 3, {"normalizer.normalizers[0]: is not"}));
  EXPECT_TRUE(corrupt("/normalizer/normalizers/1/content", 3, {"normalizers[1]: \"content\""}));
  EXPECT_TRUE(corrupt("/normalizer/normalizers/1/pattern", 3, {"normalizers[1].pattern is 3"}));
  EXPECT_TRUE(corrupt("/pre_tokenizer/pretokenizers/0/invert", 1, {"[0]: \"invert\" is 1"}));
  EXPECT_TRUE(corrupt("/added_tokens/0/content", nullptr, {"\"content\" is missing"}));
  EXPECT_TRUE(corrupt("/model/vocab", Json::array(), {"model.vocab is not an object"}));
  EXPECT_TRUE(corrupt("/model", nullptr, {"\"model\" is missing"}));
}

TEST_F(TokenizerJson, CharsmapsThatAreNone) {
  const auto refuses_bytes = [&](const std::string& base64, const Strings& parts) {
    Json tokenizer = usual();
    tokenizer["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", base64}};
    return refuses_file(tokenizer, ErrorCode::kCorrupt, parts);
  };
  EXPECT_TRUE(refuses_bytes("AAA", {"precompiled_charsmap is not base64"}));
  EXPECT_TRUE(refuses_bytes("AA*A", {"is not base64"}));
  EXPECT_TRUE(refuses_bytes("", {"has 0 bytes"}));
  EXPECT_TRUE(refuses_bytes("AAAAAA==", {"has 4 bytes", "trie of 0 bytes"}));
  EXPECT_TRUE(refuses_bytes("BAAAAAAAAA==", {"has 7 bytes", "trie of 4 bytes", "truncated"}));
  EXPECT_TRUE(refuses_bytes("BAAAAAAAAAD/", {"strings are not UTF-8"}));
  Json wild = usual();  // offsets that lead out of the array
  wild["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "BAAAAP////9hAA=="}};
  EXPECT_EQ(encode(wild, "abc"), (Ids{1, 8}));
}

TEST_F(TokenizerJson, FilesCutAnywhere) {
  const std::string whole = usual().dump();
  for (size_t size = 0; size < whole.size(); size += 7) {
    const auto path = directory_.write("tokenizer.json", whole.substr(0, size));
    EXPECT_EQ(failure_of([&] { read_tokenizer_json(path); }).code, ErrorCode::kCorrupt) << size;
  }
}

// --- properties

TEST_F(TokenizerJson, SpecialTokensInTextAreText) {
  Json tokenizer = usual();
  tokenizer["model"] = bpe({"<unk>", "<s>", "<", "s", ">", "a"});
  EXPECT_EQ(encode(tokenizer, "a<s>"), (Ids{1, 5, 2, 3, 4}));
  tokenizer["added_tokens"][0]["special"] = false;
  EXPECT_EQ(encode(tokenizer, "a<s>"), (Ids{1, 5, 1}));
}

TEST_F(TokenizerJson, TextThatIsNotUtf8IsReplaced) {
  Json model = bpe({"a", "\ufffd"});
  const Tokenizer tokenizer = make(with_model(model));
  EXPECT_EQ(tokenizer.encode("a\xff"), (Ids{0, 1}));
  EXPECT_EQ(tokenizer.encode("\xe2\x82"
                             "a"),
            (Ids{1, 0}));
  EXPECT_EQ(tokenizer.encode("\xed\xa0\x80"), (Ids{1, 1, 1}));
  EXPECT_EQ(tokenizer.encode("\xf0\x9f\x98"), (Ids{1}));
  EXPECT_EQ(tokenizer.encode("\xc0\xaf\xf8\x88"), (Ids{1, 1, 1, 1}));
}

// A character below U+0800 as UTF-8.
std::string utf8(int character) {
  if (character < 0x80) return {static_cast<char>(character)};
  return {static_cast<char>(0xc0 | character >> 6), static_cast<char>(0x80 | (character & 63))};
}

// A byte-level tokenizer with all bytes, numbered as they are, and some merges.
Json byte_level() {
  Strings tokens;
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool prints = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte != 0xad);
    tokens.push_back(utf8(prints ? byte : next++));
  }
  tokens.insert(tokens.end(), {"ab", "\u0120a", "the"});
  Json tokenizer = with_model(bpe(tokens, R"([["a", "b"], ["\u0120", "a"]])"_ordered));
  tokenizer["pre_tokenizer"] =
      R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true})"_ordered;
  return tokenizer;
}

std::string random_text(Random& random) {
  constexpr std::string_view kParts[] = {"a",          "b",      " ",   "  ",     "\n",
                                         "\u00e9",     "\u65e5", "1",   "'s",     "e\u0301",
                                         "\U0001f680", "\x01",   "the", "\u2581", "!"};
  std::string text;
  for (uint64_t i = random.below(30); i > 0; --i) {
    text += kParts[random.below(std::size(kParts))];
  }
  return text;
}

size_t bytes_of_tokens(const Tokenizer& tokenizer, const Ids& ids) {
  size_t bytes = 0;
  for (const int32_t id : ids) bytes += tokenizer.piece_bytes(id);
  return bytes;
}

TEST_F(TokenizerJson, PiecesOfByteLevelTokensAreTheBytesOfTheText) {
  const Tokenizer tokenizer = make(byte_level());
  EXPECT_EQ(tokenizer.encode(" ab"), (Ids{' ', 256}));
  Random random(1);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = random_text(random);
    EXPECT_EQ(bytes_of_tokens(tokenizer, tokenizer.encode(text)), text.size()) << text;
  }
}

TEST_F(TokenizerJson, PiecesOfSentencePieceTokensAreTheBytesOfTheText) {
  Strings tokens = {"<unk>", "\u2581", "a", "b", "ab", "\u2581a"};
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(fmt::format("<0x{:02X}>", byte));
  Json model = bpe(tokens, R"([["a", "b"], ["\u2581", "a"]])"_ordered);
  model["byte_fallback"] = true;
  model["unk_token"] = "<unk>";
  Json tokenizer = with_model(model);
  tokenizer["normalizer"] = {
      {"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}};
  const Tokenizer made = make(tokenizer);
  EXPECT_EQ(made.piece_bytes(0), 0U);
  EXPECT_EQ(made.piece_bytes(5), 2U);
  Random random(2);
  for (int i = 0; i < 2000; ++i) {
    std::string text = random_text(random);
    for (size_t at; (at = text.find("\u2581")) != text.npos;) text.erase(at, 3);
    EXPECT_EQ(bytes_of_tokens(made, made.encode(text)), text.size()) << text;
  }
}

TEST_F(TokenizerJson, LongTextWithoutASpaceTakesItsTimeOnce) {
  Json tokenizer = byte_level();
  tokenizer["normalizer"] = {{"type", "NFC"}};
  const Tokenizer made = make(tokenizer);
  for (const std::string unit : {"ab", "a", " ", "\n", "\u65e5", "a\u0301"}) {
    std::string text;
    while (text.size() < 300'000) text += unit;
    EXPECT_GT(made.encode(text).size(), 100'000U);
  }
}

TEST_F(TokenizerJson, EncodesFromManyThreads) {
  const Tokenizer tokenizer = make(byte_level());
  const std::string text = "ab the 12 \u65e5\u672c e\u0301 ab";
  const Ids expected = tokenizer.encode(text);
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&] {
      for (int i = 0; i < 300; ++i) count += tokenizer.encode(text) == expected ? 0 : 1;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST_F(TokenizerJson, IdsAfterThoseOfTheFileStandForNothing) {
  Vocabulary vocabulary = read(usual());
  vocabulary.tokens.emplace_back("[PAD9]");
  vocabulary.types.push_back(TokenType::kUnused);
  const Tokenizer padded(vocabulary, "padded");
  EXPECT_EQ(padded.encode("abc"), (Ids{1, 8}));
  EXPECT_EQ(padded.piece_bytes(9), 0U);
  vocabulary.tokens.resize(8);
  EXPECT_TRUE(says(failure_of([&] { Tokenizer(vocabulary, "cut"); }), ErrorCode::kCorrupt,
                   {"cut", "8 tokens", "up to 8"}));
}

// --- what a GGUF file would say

TEST_F(TokenizerJson, ByteLevelVocabulariesAreGpt2) {
  Json tokenizer = byte_level();
  tokenizer["added_tokens"] = R"([{"id": 259, "content": "<s>", "special": true},
                                 {"id": 260, "content": "<x>\u2581", "special": false}])"_ordered;
  const Vocabulary vocabulary = read(tokenizer);
  EXPECT_EQ(vocabulary.model, "gpt2");
  EXPECT_EQ(vocabulary.pre, "gpt-2");
  EXPECT_EQ(vocabulary.merges, (Strings{"a b", "\u0120 a"}));
  EXPECT_TRUE(vocabulary.scores.empty());
  EXPECT_EQ(vocabulary.types[259], TokenType::kControl);
  EXPECT_EQ(vocabulary.types[260], TokenType::kUserDefined);
  EXPECT_EQ(vocabulary.tokens[260], "<x> ");
  EXPECT_EQ(vocabulary.add_space_prefix, std::nullopt);
}

TEST_F(TokenizerJson, SentencePieceScoresFollowTheMerges) {
  Json model = bpe({"<unk>", "\u2581", "a", "b", "ab", "ba", "<0x41>"},
                   R"([["b", "a"], ["a", "b"], ["\u2581", "a"]])"_ordered);
  model["vocab"]["\u2581a"] = 7;
  model["byte_fallback"] = true;
  model["unk_token"] = "<unk>";
  Json tokenizer = with_model(model);
  tokenizer["pre_tokenizer"] = {{"type", "Metaspace"},
                                {"replacement", "\u2581"},
                                {"prepend_scheme", "first"},
                                {"split", false}};
  const Vocabulary vocabulary = read(tokenizer);
  EXPECT_EQ(vocabulary.model, "llama");
  EXPECT_EQ(vocabulary.pre, "default");
  EXPECT_EQ(vocabulary.scores, (std::vector<float>{-4, -4, -4, -4, -1, 0, -4, -2}));
  EXPECT_EQ(vocabulary.types[0], TokenType::kUnknown);
  EXPECT_EQ(vocabulary.types[6], TokenType::kByte);
  EXPECT_EQ(vocabulary.unknown, 0);
  EXPECT_EQ(vocabulary.add_space_prefix, true);
}

TEST_F(TokenizerJson, UnigramVocabulariesAreT5) {
  Json tokenizer = with_model(
      R"({"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["a", -1.5]]})"_ordered);
  tokenizer["added_tokens"] = R"([{"id": 2, "content": "<x>", "special": true}])"_ordered;
  tokenizer["normalizer"] = {
      {"type", "Replace"}, {"pattern", {{"Regex", " {2,}"}}}, {"content", "\u2581"}};
  const Vocabulary vocabulary = read(tokenizer);
  EXPECT_EQ(vocabulary.model, "t5");
  EXPECT_EQ(vocabulary.scores, (std::vector<float>{0, -1.5, -1000}));
  EXPECT_EQ(vocabulary.remove_extra_whitespaces, true);
  EXPECT_EQ(vocabulary.add_space_prefix, false);
  EXPECT_EQ(vocabulary.types[2], TokenType::kControl);
}

TEST_F(TokenizerJson, NamesTheLlamaCppPreTokenizerOfTheSameStructure) {
  const std::string root = std::string(ISOGLOSS_SOURCE_DIR) + "/tests/data/families/";
  const std::pair<const char*, const char*> known[] = {
      {"gpt2", "gpt-2"},      {"opt", "gpt-2"},      {"gpt-neox", "olmo"},
      {"smollm2", "smollm"},  {"granite", "smollm"}, {"cohere", "command-r"},
      {"llama", "llama-bpe"}, {"qwen2", "qwen2"},    {"qwen3", "qwen2"},
      {"bloom", "bloom"},     {"gemma", "default"},  {"phi3", "default"},
      {"mistral", "default"}, {"xglm", "default"}};
  for (const auto& [family, pre] : known) {
    EXPECT_EQ(read_tokenizer_json(root + family + "/tokenizer.json").pre, pre) << family;
  }
  Json other = byte_level();
  other["pre_tokenizer"]["add_prefix_space"] = true;
  EXPECT_EQ(read(other).pre, "");
  EXPECT_EQ(read(usual()).pre, "");
}

}  // namespace
}  // namespace isogloss
