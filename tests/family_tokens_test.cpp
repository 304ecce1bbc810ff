// Token ids of the small tokenizers in tests/data/families against those of Hugging Face's
// tokenizers, as tests/reference/make_family_tokens.py wrote them.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "isogloss/tokens/tokens.h"
#include "tests/model_files.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<int32_t>;

const fs::path kRoot = ISOGLOSS_SOURCE_DIR;

nlohmann::json read_reference(const std::string& name) {
  std::ifstream file(kRoot / "tests/reference" / name);
  return nlohmann::json::parse(file);
}

std::string hash_of(const Ids& ids) {
  return fmt::format("{:016x}", fnv1a64(bytes_of(ids)));
}

Strings lines_of(const std::string& language) {
  std::ifstream file(kRoot / "data/parallel" / (language + ".txt"), std::ios::binary);
  Strings lines;
  for (std::string line; std::getline(file, line);) {
    if (lines.empty() && line.starts_with("\xef\xbb\xbf")) line.erase(0, 3);
    if (line.ends_with('\r')) line.pop_back();
    lines.push_back(line);
  }
  return lines;
}

Tokenizer read_tokenizer(const fs::path& path) {
  return {read_tokenizer_json(path), path.string()};
}

// Calls check(fixture, tokenizer, what the reference says) for every fixture.
template <typename Check>
void for_each_fixture(const nlohmann::json& reference, Check check) {
  size_t count = 0;
  for (const auto& described : reference.at("tokenizers")) {
    for (const auto& fixture : described.at("fixtures").get<Strings>()) {
      const auto path = kRoot / "tests/data/families" / fixture / "tokenizer.json";
      check(fixture, read_tokenizer(path), described);
      ++count;
    }
  }
  EXPECT_GE(count, 24U);
}

TEST(FamilyTokens, AreTheSameForEveryLineOfTheParallelText) {
  for_each_fixture(read_reference("tokens_families.json"), [](const std::string& fixture,
                                                              const Tokenizer& tokenizer,
                                                              const nlohmann::json& described) {
    EXPECT_GE(described.at("languages").size(), 19U);
    for (const auto& [language, expected] : described.at("languages").items()) {
      Ids all;
      std::vector<size_t> counts;
      for (const std::string& line : lines_of(language)) {
        const Ids ids = tokenizer.encode(line);
        counts.push_back(ids.size());
        all.insert(all.end(), ids.begin(), ids.end());
      }
      EXPECT_EQ(counts, expected.at("tokens").get<std::vector<size_t>>()) << fixture << language;
      EXPECT_EQ(hash_of(all), expected.at("fnv1a64")) << fixture << ' ' << language;
    }
  });
}

TEST(FamilyTokens, AreTheSameForOddStrings) {
  const auto reference = read_reference("tokens_families.json");
  const auto& texts = reference.at("texts");
  EXPECT_GT(texts.size(), 60U);
  for_each_fixture(reference, [&](const std::string& fixture, const Tokenizer& tokenizer,
                                  const nlohmann::json& described) {
    const auto& results = described.at("texts");
    ASSERT_EQ(results.size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      const Ids ids = tokenizer.encode(texts[i].at("text").get<std::string>());
      const std::string name = fixture + ": " + texts[i].at("name").get<std::string>();
      if (results[i].is_array()) {
        EXPECT_EQ(ids, results[i].get<Ids>()) << name;
        continue;
      }
      EXPECT_EQ(ids.size(), results[i].at("tokens")) << name;
      EXPECT_EQ(hash_of(ids), results[i].at("fnv1a64")) << name;
    }
  });
}

TEST(FamilyTokens, AreTheSameForPolyglot12) {
  const auto reference = read_reference("tokens_polyglot-12.json");
  const Tokenizer tokenizer = read_tokenizer(kRoot / "models/polyglot-12/tokenizer.json");
  for (const auto& [language, expected] : reference.at("languages").items()) {
    const Strings lines = lines_of(language);
    ASSERT_EQ(lines.size(), expected.at("fnv1a64").size()) << language;
    for (size_t i = 0; i < lines.size(); ++i) {
      EXPECT_EQ(hash_of(tokenizer.encode(lines[i])), expected.at("fnv1a64")[i])
          << language << " line " << i + 1;
    }
  }
  for (const char* list : {"nasty", "nasty_differs"}) {
    for (const auto& odd : reference.at(list)) {
      EXPECT_EQ(tokenizer.encode(odd.at("text").get<std::string>()), odd.at("ids").get<Ids>())
          << odd.at("name");
    }
  }
}

// What the fields for a GGUF file say, llama.cpp reads as the tokenizer.json is meant: scores merge
// in the order of the list, and the pre-tokenizer's name stands for the same cuts.
TEST(FamilyTokens, AreTheSameByLlamaCppFromTheFieldsOfAGgufFile) {
  for_each_fixture(
      read_reference("tokens_families.json"),
      [](const std::string& fixture, const Tokenizer& tokenizer, const nlohmann::json& described) {
        const auto path = kRoot / "tests/data/families" / fixture / "tokenizer.json";
        Vocabulary vocabulary = read_tokenizer_json(path);
        EXPECT_NE(vocabulary.pre, "") << fixture;
        vocabulary.pipeline.reset();
        if (vocabulary.model == "t5") return;  // only llama.cpp's encoders have it
        const Tokenizer by_llama_cpp(vocabulary, fixture);
        EXPECT_EQ(by_llama_cpp.bos(), tokenizer.bos()) << fixture;
        for (const auto& [language, expected] : described.at("languages").items()) {
          for (const std::string& line : lines_of(language)) {
            EXPECT_EQ(by_llama_cpp.encode(line), tokenizer.encode(line)) << fixture << ": " << line;
          }
        }
      });
}

// Normalization and cutting lose nothing where tokens spell bytes: NFC aside, every byte is in one.
TEST(FamilyTokens, OfByteLevelFamiliesSpellEveryByte) {
  for (const std::string fixture : {"gpt2", "llama", "bloom", "granite", "opt"}) {
    const auto path = kRoot / "tests/data/families" / fixture / "tokenizer.json";
    const Tokenizer tokenizer = read_tokenizer(path);
    for (const std::string language : {"de", "hi", "ja"}) {
      for (const std::string& line : lines_of(language)) {
        size_t bytes = 0;
        for (const int32_t id : tokenizer.encode(line)) bytes += tokenizer.piece_bytes(id);
        EXPECT_EQ(bytes, line.size()) << fixture << ": " << line;
      }
    }
  }
}

}  // namespace
}  // namespace isogloss
