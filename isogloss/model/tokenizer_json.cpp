#include <nlohmann/json.hpp>

#include <limits>
#include <map>

#include "isogloss/base/error.h"
#include "isogloss/model/model_impl.h"

namespace isogloss {
namespace {

using nlohmann::json;

class TokenizerJson {
 public:
  explicit TokenizerJson(const std::filesystem::path& path)
      : path_(path.string()), root_(parse_json_object(read_text_file(path), path_)) {}

  Vocabulary read() {
    read_part("pre_tokenizer", [&] { check_pipeline(); });
    read_part("added_tokens", [&] { read_tokens(); });
    read_part("model.merges", [&] { read_merges(); });
    read_part("post_processor", [&] { read_post_processor(field(root_, "post_processor")); });
    return std::move(vocabulary_);
  }

 private:
  template <typename Step>
  void read_part(const char* part, Step step) const {
    try {
      step();
    } catch (const json::exception& error) {
      fail(ErrorCode::kCorrupt, "{}: {} has a field that is missing or of the wrong type ({})",
           path_, part, error.what());
    }
  }

  static const json& field(const json& object, const char* key) {
    static const json null;
    const auto found = object.find(key);
    return found == object.end() ? null : *found;
  }

  // The items of a list that may be absent.
  const json& list(const json& object, const char* key) const {
    static const json empty = json::array();
    const json& found = field(object, key);
    if (found.is_null()) return empty;
    if (!found.is_array()) fail(ErrorCode::kCorrupt, "{}: \"{}\" is not a list", path_, key);
    return found;
  }

  void expect(const std::string& name, const json& found, const json& expected) const {
    if (found != expected) {
      fail(ErrorCode::kUnsupported, "{}: {} is {}; only {} is understood", path_, name,
           found.dump(), expected.dump());
    }
  }
  // As expect, for a field that may be absent, null or "".
  void expect_unset(const json& object, const char* key) const {
    const json& found = field(object, key);
    if (found.is_null() || found == "" || found == false) return;
    fail(ErrorCode::kUnsupported, "{}: \"{}\" is {}; only an unset one is understood", path_, key,
         found.dump());
  }

  void check_pipeline() const {
    expect_unset(root_, "normalizer");
    const json& model = field(root_, "model");
    if (!model.is_object()) fail(ErrorCode::kCorrupt, "{}: \"model\" is missing", path_);
    expect("model.type", field(model, "type"), "BPE");
    for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix",
                            "byte_fallback", "ignore_merges"}) {
      expect_unset(model, key);
    }
    const json& pre = field(root_, "pre_tokenizer");
    if (!pre.is_object()) fail(ErrorCode::kUnsupported, "{}: there is no pre_tokenizer", path_);
    expect("pre_tokenizer.type", field(pre, "type"), "ByteLevel");
    expect("pre_tokenizer.add_prefix_space", field(pre, "add_prefix_space"), false);
    expect("pre_tokenizer.use_regex", pre.value("use_regex", true), true);
  }

  void read_tokens() {
    std::map<int32_t, std::pair<std::string, TokenType>> by_id;
    const json& vocab = field(field(root_, "model"), "vocab");
    if (!vocab.is_object()) fail(ErrorCode::kCorrupt, "{}: model.vocab is not an object", path_);
    for (const auto& [token, id] : vocab.items()) {
      add_token(by_id, get_id(id, token), token, TokenType::kNormal);
    }
    for (const json& added : list(root_, "added_tokens")) {
      const auto content = added.at("content").get<std::string>();
      const bool special = added.at("special").get<bool>();
      if (!special) check_added_token(added, content);
      add_token(by_id, get_id(added.at("id"), content), content,
                special ? TokenType::kControl : TokenType::kUserDefined);
    }
    for (auto& [id, token] : by_id) {
      if (static_cast<size_t>(id) != vocabulary_.size()) {
        fail(ErrorCode::kCorrupt, "{}: token id {} is not there; ids must run from 0 without gaps",
             path_, vocabulary_.size());
      }
      vocabulary_.tokens.push_back(std::move(token.first));
      vocabulary_.types.push_back(token.second);
    }
    vocabulary_.model = "gpt2";
    vocabulary_.pre = "gpt-2";
  }

  int32_t get_id(const json& id, const std::string& token) const {
    constexpr uint64_t kMost = std::numeric_limits<int32_t>::max();
    if (!id.is_number_unsigned() || id.get<uint64_t>() > kMost) {
      fail(ErrorCode::kCorrupt, "{}: token '{}' has id {}, expected 0..{}", path_, token, id.dump(),
           kMost);
    }
    return id.get<int32_t>();
  }

  // Special tokens are not looked for in text; what these flags do to others, llama.cpp does not.
  void check_added_token(const json& added, const std::string& content) const {
    for (const char* flag : {"lstrip", "rstrip", "single_word"}) {
      if (!added.value(flag, false)) continue;
      fail(ErrorCode::kUnsupported,
           "{}: \"{}\" is true for added token '{}'; only false is understood", path_, flag,
           content);
    }
  }

  void add_token(std::map<int32_t, std::pair<std::string, TokenType>>& by_id, int32_t id,
                 const std::string& token, TokenType type) const {
    const auto [place, fresh] = by_id.try_emplace(id, token, type);
    if (fresh) return;
    if (place->second.first != token) {
      fail(ErrorCode::kCorrupt, "{}: token id {} is both '{}' and '{}'", path_, id,
           place->second.first, token);
    }
    place->second.second = type;  // an added token may restate one of the vocabulary
  }

  // A merge is "left right" or, since tokenizers 0.20, ["left", "right"].
  void read_merges() {
    for (const json& merge : list(field(root_, "model"), "merges")) {
      if (merge.is_string()) {
        vocabulary_.merges.push_back(merge.get<std::string>());
      } else {
        const auto pair = merge.get<std::vector<std::string>>();
        if (pair.size() != 2) {
          fail(ErrorCode::kCorrupt, "{}: model.merges holds {}, expected pairs", path_,
               merge.dump());
        }
        vocabulary_.merges.push_back(pair[0] + ' ' + pair[1]);
      }
    }
  }

  void read_post_processor(const json& processor) {
    if (processor.is_null()) {
      vocabulary_.add_bos = vocabulary_.add_bos.value_or(false);
      return;
    }
    const auto type = processor.at("type").get<std::string>();
    if (type == "Sequence") {
      for (const json& step : processor.at("processors")) read_post_processor(step);
    } else if (type == "TemplateProcessing") {
      read_template(processor);
    } else if (type != "ByteLevel") {
      fail(ErrorCode::kUnsupported,
           "{}: post_processor.type is \"{}\"; understood are ByteLevel, TemplateProcessing and "
           "Sequence",
           path_, type);
    }
    vocabulary_.add_bos = vocabulary_.add_bos.value_or(false);
  }

  // [BOS] A [EOS], each special token optional.
  void read_template(const json& processor) {
    bool text_seen = false;
    for (const json& piece : processor.at("single")) {
      if (piece.contains("Sequence")) {
        if (text_seen) refuse_template(processor);
        text_seen = true;
        continue;
      }
      const auto name = piece.at("SpecialToken").at("id").get<std::string>();
      const json& ids = processor.at("special_tokens").at(name).at("ids");
      auto& slot = text_seen ? vocabulary_.eos : vocabulary_.bos;
      auto& flag = text_seen ? vocabulary_.add_eos : vocabulary_.add_bos;
      if (ids.size() != 1 || flag.value_or(false)) refuse_template(processor);
      slot = get_id(ids.at(0), name);
      flag = true;
    }
    if (!text_seen) refuse_template(processor);
  }
  [[noreturn]] void refuse_template(const json& processor) const {
    fail(ErrorCode::kUnsupported,
         "{}: post_processor.single is {}; at most one special token on each side of the text is "
         "understood",
         path_, processor.at("single").dump());
  }

  std::string path_;
  json root_;
  Vocabulary vocabulary_;
};

}  // namespace

Vocabulary read_tokenizer_json(const std::filesystem::path& path) {
  return TokenizerJson(path).read();
}

}  // namespace isogloss
