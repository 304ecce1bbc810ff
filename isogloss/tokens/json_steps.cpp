// Reads the normalizer and the pre-tokenizer of a tokenizer.json.
#include <algorithm>

#include "isogloss/base/error.h"
#include "isogloss/tokens/json_impl.h"
#include "isogloss/tokens/unicode_impl.h"

namespace isogloss {
namespace {

using nlohmann::json;

// Steps may be nested in Sequences; in a row they do the same.
template <typename ReadStep>
void read_steps(const JsonObject& step, const char* list_key, ReadStep read_step) {
  if (step.get_string("type") != "Sequence") {
    read_step(step);
    return;
  }
  check_keys(step, {list_key});
  for (const JsonObject& inner : list_of_objects(step, list_key, member(step, list_key))) {
    read_steps(inner, list_key, read_step);
  }
}

// {"String": "..."} or {"Regex": "..."}
Pattern read_pattern(const JsonObject& step) {
  const std::string where = member(step, "pattern");
  const json& pattern = step.value().contains("pattern") ? step.value().at("pattern") : json();
  if (!pattern.is_object() || pattern.size() != 1 || !pattern.front().is_string()) {
    fail(ErrorCode::kCorrupt, "{} is {}; expected a String or a Regex", where, shorten(pattern));
  }
  const auto text = pattern.front().get<std::string>();
  if (pattern.contains("Regex")) return Regex(text, where);
  if (!pattern.contains("String")) refuse(step, "pattern", "understood are String and Regex");
  if (text.empty()) refuse(step, "pattern", "an empty string is not understood");
  return text;
}

SplitBehavior read_behavior(const JsonObject& step) {
  constexpr std::pair<const char*, SplitBehavior> kBehaviors[] = {
      {"Removed", SplitBehavior::kRemoved},
      {"Isolated", SplitBehavior::kIsolated},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous}};
  const auto name = step.get_string("behavior");
  for (const auto& [known, behavior] : kBehaviors) {
    if (name == known) return behavior;
  }
  refuse(step, "behavior",
         "understood are Removed, Isolated, MergedWithPrevious, MergedWithNext and Contiguous");
}

// --- normalizers

std::string decode_base64(const JsonObject& step, const char* key) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text = step.get_string(key);
  const bool whole = text.size() % 4 == 0;
  for (int i = 0; i < 2 && text.ends_with('='); ++i) text.pop_back();
  std::string bytes;
  uint32_t bits = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const size_t digit = kDigits.find(text[i]);
    if (digit == kDigits.npos || !whole) {
      fail(ErrorCode::kCorrupt, "{}.{} is not base64", step.path(), key);
    }
    bits = bits << 6 | static_cast<uint32_t>(digit);
    if (i % 4 != 0) bytes += static_cast<char>(bits >> (6 - 2 * (i % 4)) & 0xff);
  }
  return bytes;
}

std::optional<UnicodeForm> find_unicode_form(std::string_view type) {
  if (type == "NFC") return UnicodeForm{false, true};
  if (type == "NFD") return UnicodeForm{false, false};
  if (type == "NFKC") return UnicodeForm{true, true};
  if (type == "NFKD") return UnicodeForm{true, false};
  return std::nullopt;
}

Normalizer read_normalizer(const JsonObject& step) {
  const auto type = step.get_string("type");
  if (const auto form = find_unicode_form(type)) {
    check_keys(step, {});
    return *form;
  }
  if (type == "Lowercase") {
    check_keys(step, {});
    return Lowercase{};
  }
  if (type == "Prepend") {
    check_keys(step, {"prepend"});
    return Prepend{step.get_string("prepend")};
  }
  if (type == "Replace") {
    check_keys(step, {"pattern", "content"});
    return Replace{read_pattern(step), step.get_string("content")};
  }
  if (type == "Strip") {
    check_keys(step, {"strip_left", "strip_right"});
    return Strip{step.get_bool("strip_left"), step.get_bool("strip_right")};
  }
  if (type == "Precompiled") {
    check_keys(step, {"precompiled_charsmap"});
    return Charsmap(decode_base64(step, "precompiled_charsmap"),
                    member(step, "precompiled_charsmap"));
  }
  refuse(step, "type",
         "understood are NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace, Strip, Precompiled and "
         "Sequence");
}

// --- pre-tokenizers

// Before there was prepend_scheme, add_prefix_space said it: always, or never.
PrependScheme read_prepend_scheme(const JsonObject& step) {
  constexpr std::pair<const char*, PrependScheme> kSchemes[] = {{"always", PrependScheme::kAlways},
                                                                {"first", PrependScheme::kFirst},
                                                                {"never", PrependScheme::kNever}};
  const bool adds = step.get_bool_or("add_prefix_space", true);
  const auto name = step.get_string_or("prepend_scheme", adds ? "always" : "never");
  for (const auto& [known, scheme] : kSchemes) {
    if (name != known) continue;
    if (!adds && scheme != PrependScheme::kNever) {
      refuse(step, "prepend_scheme", "which contradicts \"add_prefix_space\": false");
    }
    return scheme;
  }
  refuse(step, "prepend_scheme", "understood are always, first and never");
}

Metaspace read_metaspace(const JsonObject& step) {
  check_keys(step, {"replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"});
  const auto replacement = step.get_string("replacement");
  if (replacement.empty() || code_point_at(replacement, 0).bytes != replacement.size()) {
    refuse(step, "replacement", "expected one character");
  }
  if (step.get_string_or("str_rep", replacement) != replacement) {
    refuse(step, "str_rep", "only the replacement is understood");
  }
  return {replacement, read_prepend_scheme(step), step.get_bool_or("split", true)};
}

Split read_split(const JsonObject& step) {
  check_keys(step, {"pattern", "behavior", "invert"});
  return {read_pattern(step), read_behavior(step), step.get_bool("invert")};
}

PreTokenizer read_pre_tokenizer(const JsonObject& step) {
  const auto type = step.get_string("type");
  if (type == "ByteLevel") {
    check_keys(step, {"add_prefix_space", "trim_offsets", "use_regex"});
    return ByteLevel{step.get_bool("add_prefix_space"), step.get_bool_or("use_regex", true)};
  }
  if (type == "Split") return read_split(step);
  if (type == "Metaspace") return read_metaspace(step);
  if (type == "Digits") {
    check_keys(step, {"individual_digits"});
    return Digits{step.get_bool("individual_digits")};
  }
  if (type == "Punctuation") {
    check_keys(step, {"behavior"});
    return Punctuation{step.has("behavior") ? read_behavior(step) : SplitBehavior::kIsolated};
  }
  if (type == "Whitespace" || type == "WhitespaceSplit") {
    check_keys(step, {});
    if (type == "Whitespace") return Whitespace{};
    return WhitespaceSplit{};
  }
  refuse(step, "type",
         "understood are ByteLevel, Split, Metaspace, Digits, Punctuation, Whitespace, "
         "WhitespaceSplit and Sequence");
}

}  // namespace

std::string member(const JsonObject& object, const char* key) {
  return fmt::format("{}.{}", object.path(), key);
}

void refuse(const JsonObject& object, const char* key, std::string_view understood) {
  const auto& value = object.value();
  fail(ErrorCode::kUnsupported, "{} is {}; {}", member(object, key),
       shorten(value.contains(key) ? value.at(key) : json()), understood);
}

void check_keys(const JsonObject& object, std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : object.value().items()) {
    if (key == "type" || std::ranges::find(known, key) != known.end()) continue;
    fail(ErrorCode::kUnsupported, "{}.{} is not understood", object.path(), key);
  }
}

std::vector<JsonObject> list_of_objects(const JsonObject& object, const char* key,
                                        const std::string& name) {
  if (!object.has(key)) return {};
  const json& items = object.value().at(key);
  if (!items.is_array()) {
    fail(ErrorCode::kCorrupt, "{} is {}, expected a list", name, shorten(items));
  }
  std::vector<JsonObject> objects;
  for (size_t i = 0; i < items.size(); ++i) {
    objects.push_back(object.part(items[i], fmt::format("{}[{}]", name, i)));
  }
  return objects;
}

std::vector<Normalizer> read_normalizers(const JsonObject& normalizer) {
  std::vector<Normalizer> steps;
  read_steps(normalizer, "normalizers",
             [&](const JsonObject& step) { steps.push_back(read_normalizer(step)); });
  return steps;
}

std::vector<PreTokenizer> read_pre_tokenizers(const JsonObject& pre_tokenizer) {
  std::vector<PreTokenizer> steps;
  read_steps(pre_tokenizer, "pretokenizers",
             [&](const JsonObject& step) { steps.push_back(read_pre_tokenizer(step)); });
  return steps;
}

}  // namespace isogloss
