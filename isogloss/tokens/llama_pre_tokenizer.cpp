// llama.cpp knows pre-tokenizers by name, and each has the regular expressions of one published
// tokenizer.json, or others that cut alike. Here those tokenizers are described by their structure.
#include <algorithm>

#include "isogloss/tokens/vocabulary_impl.h"

namespace isogloss {
namespace {

using Steps = std::vector<std::string>;

// Steps that are no regular expression.
constexpr const char* kByteLevelWords = "words of GPT-2";
constexpr const char* kDigits = "digits one by one";
constexpr const char* kNumbers = "numbers";
constexpr const char* kPunctuation = "runs of punctuation";

constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+)"
    R"([\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kBloom = R"( ?[^(\s|[.,!?…。，、।۔،])]+)";
constexpr const char* kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kDeepseek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
    R"(| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kSeedCoder =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct Known {
  const char* name;
  bool nfc;  // before everything; llama.cpp leaves it out, and text is nearly always NFC
  bool ignore_merges;
  Steps steps;
};

const std::vector<Known>& known_pre_tokenizers() {
  static const std::vector<Known> known = {
      {"gpt-2", false, false, {kByteLevelWords}},
      {"olmo", true, false, {kByteLevelWords}},
      {"smollm", false, false, {kDigits, kByteLevelWords}},
      {"command-r", true, false, {kDigits, kByteLevelWords}},
      {"falcon", false, false, {kPunctuation, kByteLevelWords, kNumbers, "[0-9][0-9][0-9]"}},
      {"llama-bpe", false, true, {kLlama3}},
      {"dbrx", false, false, {kLlama3}},
      {"stablelm2", false, false, {kQwen2}},
      {"qwen2", true, false, {kQwen2}},
      {"qwen35", true, false, {kQwen35}},
      {"bloom", false, false, {kBloom}},
      {"viking", false, false, {kBloom, kDigits}},
      {"tekken", false, true, {kTekken}},
      {"gpt-4o", false, false, {kGpt4o}},
      {"deepseek-coder",
       false,
       false,
       {"[\r\n]", R"(\s?\p{L}+)", R"(\s?\p{P}+)", "[一-龥ࠀ-一가-퟿]+", kDigits}},
      {"deepseek-v3", false, false, {R"(\p{N}{1,3})", "[一-龥぀-ゟ゠-ヿ]+", kDeepseek3}},
      {"seed-coder", false, false, {kSeedCoder}}};
  return known;
}

// A step as in the table; "" for one that only spells bytes; nothing for any other.
std::optional<std::string> describe(const PreTokenizer& step) {
  if (const auto* byte_level = std::get_if<ByteLevel>(&step)) {
    if (byte_level->add_prefix_space) return std::nullopt;
    return byte_level->use_regex ? kByteLevelWords : "";
  }
  if (const auto* split = std::get_if<Split>(&step)) {
    const auto* regex = std::get_if<Regex>(&split->pattern);
    const bool isolates = split->behavior == SplitBehavior::kIsolated && !split->invert;
    if (regex == nullptr || !isolates) return std::nullopt;
    return regex->pattern();
  }
  if (const auto* digits = std::get_if<Digits>(&step)) {
    return digits->individual ? kDigits : kNumbers;
  }
  if (const auto* punctuation = std::get_if<Punctuation>(&step)) {
    if (punctuation->behavior == SplitBehavior::kContiguous) return kPunctuation;
  }
  return std::nullopt;
}

std::string find_byte_level(const Pipeline& pipeline, const Bpe& bpe) {
  Known wanted{"", false, bpe.ignore_merges, {}};
  for (const Normalizer& normalizer : pipeline.normalizers) {
    const auto* form = std::get_if<UnicodeForm>(&normalizer);
    if (form == nullptr || form->compatible || !form->composed) return "";
    wanted.nfc = true;
  }
  for (const PreTokenizer& step : pipeline.pre_tokenizers) {
    const auto described = describe(step);
    if (!described) return "";
    if (!described->empty()) wanted.steps.push_back(*described);
  }
  const auto found = std::ranges::find_if(known_pre_tokenizers(), [&](const Known& known) {
    return known.nfc == wanted.nfc && known.ignore_merges == wanted.ignore_merges &&
           known.steps == wanted.steps;
  });
  return found == known_pre_tokenizers().end() ? "" : found->name;
}

// SentencePiece as llama.cpp has it: a space becomes U+2581, and nothing is cut that merges could
// have joined.
bool is_sentencepiece(const Pipeline& pipeline) {
  constexpr std::string_view kSpace = "\u2581";
  const auto normalizes = [&](const Normalizer& normalizer) {
    if (const auto* prepend = std::get_if<Prepend>(&normalizer)) return prepend->text == kSpace;
    const auto* replace = std::get_if<Replace>(&normalizer);
    const auto* literal = replace ? std::get_if<std::string>(&replace->pattern) : nullptr;
    return literal != nullptr && *literal == " " && replace->content == kSpace;
  };
  const auto cuts = [&](const PreTokenizer& step) {
    if (const auto* metaspace = std::get_if<Metaspace>(&step)) {
      return metaspace->replacement == kSpace;
    }
    const auto* split = std::get_if<Split>(&step);  // Gemma's, which finds no space any more
    const auto* literal = split ? std::get_if<std::string>(&split->pattern) : nullptr;
    return literal != nullptr && *literal == " " && !pipeline.normalizers.empty();
  };
  return std::ranges::all_of(pipeline.normalizers, normalizes) &&
         std::ranges::all_of(pipeline.pre_tokenizers, cuts) &&
         !(pipeline.normalizers.empty() && pipeline.pre_tokenizers.empty());
}

}  // namespace

std::string find_llama_pre_tokenizer(const Pipeline& pipeline) {
  const auto* bpe = std::get_if<Bpe>(&pipeline.model);
  if (bpe == nullptr) return "default";
  const auto is_byte_level = [](const PreTokenizer& step) {
    return std::holds_alternative<ByteLevel>(step);
  };
  if (std::ranges::any_of(pipeline.pre_tokenizers, is_byte_level)) {
    return find_byte_level(pipeline, *bpe);
  }
  return bpe->byte_fallback && is_sentencepiece(pipeline) ? "default" : "";
}

}  // namespace isogloss
