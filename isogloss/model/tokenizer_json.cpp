#include <nlohmann/json.hpp>

#include <map>

#include "isogloss/base/error.h"
#include "isogloss/model/model_impl.h"

namespace isogloss {
namespace {

using nlohmann::json;

class TokenizerJson {
 public:
  explicit TokenizerJson(const std::filesystem::path& path) : path_(path.string()) {
    try {
      root_ = json::parse(read_text_file(path));
    } catch (const json::parse_error& error) {
      fail(ErrorCode::kCorrupt, "{}: is not valid JSON at byte {}", path_, error.byte);
    }
    if (!root_.is_object()) fail(ErrorCode::kCorrupt, "{}: is not a JSON object", path_);
  }

  Vocabulary read() {
    try {
      check_pipeline();
      read_tokens();
      read_merges();
      read_post_processor(field(root_, "post_processor"));
    } catch (const json::exception& error) {
      fail(ErrorCode::kCorrupt, "{}: a field has the wrong type ({})", path_, error.what());
    }
    return std::move(vocabulary_);
  }

 private:
  static const json& field(const json& object, const char* key) {
    static const json null;
    const auto found = object.find(key);
    return found == object.end() ? null : *found;
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
    std::map<int64_t, std::pair<std::string, TokenType>> by_id;
    for (const auto& [token, id] : field(field(root_, "model"), "vocab").items()) {
      add_token(by_id, id.get<int64_t>(), token, TokenType::kNormal);
    }
    for (const json& added : field(root_, "added_tokens")) {
      const bool special = added.at("special").get<bool>();
      add_token(by_id, added.at("id").get<int64_t>(), added.at("content").get<std::string>(),
                special ? TokenType::kControl : TokenType::kUserDefined);
    }
    for (auto& [id, token] : by_id) {
      if (id != static_cast<int64_t>(vocabulary_.size())) {
        fail(ErrorCode::kCorrupt, "{}: token id {} is not there; ids must run from 0 without gaps",
             path_, vocabulary_.size());
      }
      vocabulary_.tokens.push_back(std::move(token.first));
      vocabulary_.types.push_back(token.second);
    }
    vocabulary_.model = "gpt2";
    vocabulary_.pre = "gpt-2";
  }

  void add_token(std::map<int64_t, std::pair<std::string, TokenType>>& by_id, int64_t id,
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
    for (const json& merge : field(field(root_, "model"), "merges")) {
      if (merge.is_string()) {
        vocabulary_.merges.push_back(merge.get<std::string>());
      } else {
        const auto pair = merge.get<std::array<std::string, 2>>();
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
      const auto ids =
          processor.at("special_tokens").at(name).at("ids").get<std::vector<int32_t>>();
      auto& slot = text_seen ? vocabulary_.eos : vocabulary_.bos;
      auto& flag = text_seen ? vocabulary_.add_eos : vocabulary_.add_bos;
      if (ids.size() != 1 || flag.value_or(false)) refuse_template(processor);
      slot = ids.front();
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
