#include <algorithm>
#include <limits>

#include "isogloss/base/error.h"
#include "isogloss/base/file.h"
#include "isogloss/tokens/json_impl.h"
#include "isogloss/tokens/vocabulary_impl.h"

namespace isogloss {
namespace {

using nlohmann::json;

int32_t read_id(const json& id, const std::string& where) {
  constexpr uint64_t kMost = std::numeric_limits<int32_t>::max();
  if (!id.is_number_unsigned() || id.get<uint64_t>() > kMost) {
    fail(ErrorCode::kCorrupt, "{} is {}, expected an id in 0..{}", where, shorten(id), kMost);
  }
  return id.get<int32_t>();
}

class TokenizerJson {
 public:
  explicit TokenizerJson(const std::filesystem::path& path)
      : path_(path), text_(read_text_file(path)), root_(JsonObject::parse(text_, path.string())) {}

  Vocabulary read() {
    check_top();
    pipeline_->origin = path_.string();
    if (const auto step = find_part("normalizer")) pipeline_->normalizers = read_normalizers(*step);
    if (const auto step = find_part("pre_tokenizer")) {
      pipeline_->pre_tokenizers = read_pre_tokenizers(*step);
    }
    read_model();
    read_added_tokens();
    check_ids();
    if (const auto step = find_part("post_processor")) read_post_processor(*step);
    read_special_names();
    finish_vocabulary(*pipeline_, vocabulary_);
    vocabulary_.pipeline = std::move(pipeline_);
    return std::move(vocabulary_);
  }

 private:
  std::string name_of(std::string_view key) const {
    return fmt::format("{}: {}", path_.string(), key);
  }

  // The object under a key of the file, named "FILE: KEY".
  std::optional<JsonObject> find_part(const char* key) const {
    if (!root_.has(key)) return std::nullopt;
    return root_.part(root_.value().at(key), name_of(key));
  }

  void check_top() const {
    constexpr std::string_view kKnown[] = {"version",        "truncation", "padding",
                                           "added_tokens",   "normalizer", "pre_tokenizer",
                                           "post_processor", "decoder",    "model"};
    for (const auto& [key, value] : root_.value().items()) {
      if (std::ranges::find(kKnown, key) != std::end(kKnown)) continue;
      fail(ErrorCode::kUnsupported, "{} is not understood", name_of(key));
    }
    const auto version = root_.get_string_or("version", "1.0");
    if (version != "1.0") {
      fail(ErrorCode::kUnsupported, "{} is \"{}\"; only \"1.0\" is understood", name_of("version"),
           version);
    }
  }

  // --- the model

  void read_model() {
    const auto model = find_part("model");
    if (!model) fail(ErrorCode::kCorrupt, "{}: \"model\" is missing", path_.string());
    // Old files have no type where it is BPE.
    const auto type = model->get_string_or("type", model->has("merges") ? "BPE" : "");
    if (type == "BPE") {
      read_bpe(*model);
    } else if (type == "Unigram") {
      read_unigram(*model);
    } else {
      refuse(*model, "type", "understood are BPE and Unigram");
    }
  }

  static void expect_unset(const JsonObject& model, const char* key) {
    if (!model.has(key)) return;
    const json& found = model.value().at(key);
    if (found == "" || found == 0) return;
    refuse(model, key, "only an unset one is understood");
  }

  void read_bpe(const JsonObject& model) {
    check_keys(model, {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                       "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
    for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
      expect_unset(model, key);
    }
    Bpe bpe;
    bpe.unknown = model.find_string("unk_token");
    bpe.fuse_unknown = model.get_bool_or("fuse_unk", false);
    bpe.byte_fallback = model.get_bool_or("byte_fallback", false);
    bpe.ignore_merges = model.get_bool_or("ignore_merges", false);
    const auto vocab = model.value().find("vocab");
    if (vocab == model.value().end() || !vocab->is_object()) {
      fail(ErrorCode::kCorrupt, "{}.vocab is not an object", model.path());
    }
    for (const auto& [token, id] : vocab->items()) {
      const int32_t number = read_id(id, fmt::format("{}.vocab: '{}'", model.path(), token));
      bpe.ids.emplace(token, number);
      by_id_.emplace_back(number, token);
    }
    read_merges(model, bpe);
    pipeline_->model = std::move(bpe);
  }

  // A merge is "left right" or, since tokenizers 0.20, ["left", "right"].
  static void read_merges(const JsonObject& model, Bpe& bpe) {
    const std::string where = member(model, "merges");
    const auto merges = model.value().find("merges");
    if (merges == model.value().end() || !merges->is_array()) {
      fail(ErrorCode::kCorrupt, "{} is not a list", where);
    }
    for (const json& merge : *merges) {
      if (merge.is_string()) {
        const auto& text = merge.get_ref<const std::string&>();
        if (text.starts_with("#version")) continue;
        const size_t space = text.find(' ');
        if (space != text.npos && text.find(' ', space + 1) == text.npos) {
          bpe.merges.push_back({text.substr(0, space), text.substr(space + 1)});
          continue;
        }
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
                 merge[1].is_string()) {
        bpe.merges.push_back({merge[0].get<std::string>(), merge[1].get<std::string>()});
        continue;
      }
      fail(ErrorCode::kCorrupt, "{} holds {}, expected pairs of tokens", where, shorten(merge));
    }
    bpe.index_merges(where);
  }

  void read_unigram(const JsonObject& model) {
    check_keys(model, {"unk_id", "vocab", "byte_fallback"});
    const std::string where = member(model, "vocab");
    Unigram unigram;
    unigram.byte_fallback = model.get_bool_or("byte_fallback", false);
    const auto vocab = model.value().find("vocab");
    if (vocab == model.value().end() || !vocab->is_array()) {
      fail(ErrorCode::kCorrupt, "{} is not a list", where);
    }
    for (const json& entry : *vocab) {
      if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() ||
          !entry[1].is_number()) {
        fail(ErrorCode::kCorrupt, "{} holds {}, expected pairs of a token and its score", where,
             shorten(entry));
      }
      by_id_.emplace_back(static_cast<int32_t>(unigram.vocabulary.size()),
                          entry[0].get<std::string>());
      unigram.vocabulary.emplace_back(entry[0].get<std::string>(), 0.0);
    }
    const auto scores = read_unigram_scores(text_);
    ISOGLOSS_ASSERT(scores.size() == unigram.vocabulary.size());
    for (size_t i = 0; i < scores.size(); ++i) unigram.vocabulary[i].second = scores[i];
    if (model.has("unk_id")) {
      const int32_t id = read_id(model.value().at("unk_id"), member(model, "unk_id"));
      if (static_cast<size_t>(id) >= unigram.vocabulary.size()) {
        fail(ErrorCode::kCorrupt, "{}.unk_id is {}, and there are {} tokens", model.path(), id,
             unigram.vocabulary.size());
      }
      unigram.unknown = id;
    }
    unigram.index_tokens();
    pipeline_->model = std::move(unigram);
  }

  // --- added tokens

  const TokenIds& model_ids() const {
    return std::visit([](const auto& model) -> const TokenIds& { return model.ids; },
                      pipeline_->model);
  }

  void read_added_tokens() {
    std::vector<AddedToken> tokens;
    TokenIds seen;
    size_t next_id = by_id_.size();
    const std::string name = name_of("added_tokens");
    for (const JsonObject& object : list_of_objects(root_, "added_tokens", name)) {
      check_keys(object,
                 {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
      AddedToken token;
      token.content = object.get_string("content");
      token.id = read_id(object.value().value("id", json()), member(object, "id"));
      token.special = object.get_bool("special");
      token.single_word = object.get_bool_or("single_word", false);
      token.lstrip = object.get_bool_or("lstrip", false);
      token.rstrip = object.get_bool_or("rstrip", false);
      token.normalized = object.get_bool_or("normalized", !token.special);
      if (token.content.empty()) continue;  // tokenizers knows none like it
      if (!seen.emplace(token.content, token.id).second) {
        fail(ErrorCode::kCorrupt, "{}.content '{}' is there twice", object.path(), token.content);
      }
      check_added_id(object, token, next_id);
      tokens.push_back(std::move(token));
    }
    for (const AddedToken& token : tokens) {
      added_types_.emplace_back(token.id,
                                token.special ? TokenType::kControl : TokenType::kUserDefined);
    }
    pipeline_->added = AddedTokens(std::move(tokens), pipeline_->normalizers, name);
  }

  // tokenizers does not read the id: a token of the model keeps its own, others are numbered.
  void check_added_id(const JsonObject& object, const AddedToken& token, size_t& next_id) {
    const auto known = model_ids().find(token.content);
    const bool is_new = known == model_ids().end();
    const auto expected = is_new ? static_cast<int32_t>(next_id++) : known->second;
    if (token.id == expected) {
      if (is_new) by_id_.emplace_back(token.id, token.content);
      return;
    }
    const auto owner = std::ranges::find(by_id_, token.id, &std::pair<int32_t, std::string>::first);
    if (owner != by_id_.end()) {
      fail(ErrorCode::kCorrupt, "{}: token id {} is both '{}' and '{}'", path_.string(), token.id,
           owner->second, token.content);
    }
    fail(ErrorCode::kCorrupt,
         "{}.id is {} for '{}', and its id is {}: a token of the model keeps its own, and others "
         "are numbered from there without gaps",
         object.path(), token.id, token.content, expected);
  }

  void check_ids() {
    std::ranges::stable_sort(by_id_, {}, &std::pair<int32_t, std::string>::first);
    for (const auto& [id, token] : by_id_) {
      const auto next = static_cast<int32_t>(vocabulary_.tokens.size());
      if (id < next) {
        fail(ErrorCode::kCorrupt, "{}: token id {} is both '{}' and '{}'", path_.string(), id,
             vocabulary_.tokens.back(), token);
      }
      if (id > next) {
        fail(ErrorCode::kCorrupt, "{}: token id {} is not there; ids must run from 0 without gaps",
             path_.string(), next);
      }
      vocabulary_.tokens.push_back(token);
    }
    if (vocabulary_.tokens.empty()) {
      fail(ErrorCode::kCorrupt, "{}: the tokenizer has no tokens", path_.string());
    }
    vocabulary_.types.assign(vocabulary_.size(), TokenType::kNormal);
    for (const auto& [id, type] : added_types_) vocabulary_.types[static_cast<size_t>(id)] = type;
  }

  // --- special tokens around the text

  void read_post_processor(const JsonObject& step) {
    const auto type = step.get_string("type");
    if (type == "Sequence") {
      check_keys(step, {"processors"});
      for (const JsonObject& inner :
           list_of_objects(step, "processors", member(step, "processors"))) {
        read_post_processor(inner);
      }
    } else if (type == "TemplateProcessing") {
      check_keys(step, {"single", "pair", "special_tokens"});
      read_template(step);
    } else if (type == "RobertaProcessing" || type == "BertProcessing") {
      check_keys(step, {"sep", "cls", "trim_offsets", "add_prefix_space"});
      put(step, "cls", read_pair(step, "cls"), pipeline_->before);
      put(step, "sep", read_pair(step, "sep"), pipeline_->after);
    } else if (type == "ByteLevel") {  // is about offsets
      check_keys(step, {"add_prefix_space", "trim_offsets", "use_regex"});
    } else {
      refuse(step, "type",
             "understood are TemplateProcessing, RobertaProcessing, BertProcessing, ByteLevel and "
             "Sequence");
    }
  }

  int32_t check_special_id(int32_t id, const std::string& where) const {
    if (static_cast<size_t>(id) >= vocabulary_.size()) {
      fail(ErrorCode::kCorrupt, "{} is {}, and there are {} tokens", where, id, vocabulary_.size());
    }
    return id;
  }

  // ["</s>", 2]
  int32_t read_pair(const JsonObject& step, const char* key) const {
    const std::string where = member(step, key);
    const auto found = step.value().find(key);
    if (found == step.value().end() || !found->is_array() || found->size() != 2) {
      fail(ErrorCode::kCorrupt, "{} is no pair of a token and its id", where);
    }
    return check_special_id(read_id(found->at(1), where), where);
  }

  // Sequences of tokens are told to begin with one BOS token at most; so are GGUF files.
  void put(const JsonObject& step, const char* key, int32_t id, std::vector<int32_t>& side) const {
    if (!side.empty()) {
      refuse(step, key, "at most one special token on each side of the text is understood");
    }
    side.push_back(id);
  }

  // [BOS] A [EOS], each special token optional.
  void read_template(const JsonObject& step) {
    bool text_seen = false;
    for (const JsonObject& piece : list_of_objects(step, "single", member(step, "single"))) {
      if (const auto special = piece.find_object("SpecialToken")) {
        for (const int32_t id : read_special_ids(step, special->get_string("id"))) {
          put(step, "single", id, text_seen ? pipeline_->after : pipeline_->before);
        }
        continue;
      }
      if (piece.get_object("Sequence").get_string("id") != "A" || text_seen) {
        refuse(step, "single", "only one text, A, is understood");
      }
      text_seen = true;
    }
    if (!text_seen) refuse(step, "single", "which leaves the text out");
  }

  std::vector<int32_t> read_special_ids(const JsonObject& step, const std::string& name) const {
    const std::string where = fmt::format("{}.special_tokens '{}'", step.path(), name);
    const auto tokens = step.find_object("special_tokens");
    const auto described = tokens ? tokens->find_object(name.c_str()) : std::nullopt;
    if (!described) fail(ErrorCode::kCorrupt, "{} is missing", where);
    std::vector<int32_t> ids;
    for (const uint64_t id : described->get_sizes("ids")) {
      ids.push_back(check_special_id(read_id(id, where), where));
    }
    return ids;
  }

  // --- names of special tokens

  // tokenizer_config.json says which tokens they are where the post-processor puts none.
  void read_special_names() {
    vocabulary_.add_bos = !pipeline_->before.empty();
    vocabulary_.add_eos = !pipeline_->after.empty();
    const auto config_path = path_.parent_path() / "tokenizer_config.json";
    std::error_code unreadable;
    if (std::filesystem::exists(config_path, unreadable)) {
      const auto config = JsonObject::parse(read_text_file(config_path), config_path.string());
      vocabulary_.bos = find_special(config, "bos_token");
      vocabulary_.eos = find_special(config, "eos_token");
      vocabulary_.padding = find_special(config, "pad_token");
      if (!vocabulary_.unknown) vocabulary_.unknown = find_special(config, "unk_token");
      const auto chat = config.value().find("chat_template");  // a list of them names no first one
      if (chat != config.value().end() && chat->is_string()) {
        vocabulary_.chat_template = chat->get<std::string>();
      }
    }
    // transformers 5 keeps it in a file of its own.
    const auto chat_path = path_.parent_path() / "chat_template.jinja";
    const bool has_chat = std::filesystem::exists(chat_path, unreadable);
    if (has_chat && std::filesystem::file_size(chat_path, unreadable) > 0) {
      vocabulary_.chat_template = read_text_file(chat_path);
    }
    if (!pipeline_->before.empty()) vocabulary_.bos = pipeline_->before.front();
    if (!pipeline_->after.empty()) vocabulary_.eos = pipeline_->after.front();
  }

  // The token is a string, or an object with its "content"; one that is no token means nothing.
  std::optional<int32_t> find_special(const JsonObject& config, const char* key) const {
    if (!config.has(key)) return std::nullopt;
    const auto content = config.value().at(key).is_object()
                             ? config.get_object(key).get_string("content")
                             : config.get_string(key);
    const auto found = std::ranges::find(vocabulary_.tokens, content);
    if (found == vocabulary_.tokens.end()) return std::nullopt;
    return static_cast<int32_t>(found - vocabulary_.tokens.begin());
  }

  std::filesystem::path path_;
  std::string text_;
  JsonObject root_;
  std::shared_ptr<Pipeline> pipeline_ = std::make_shared<Pipeline>();
  Vocabulary vocabulary_;
  std::vector<std::pair<int32_t, std::string>> by_id_;
  std::vector<std::pair<int32_t, TokenType>> added_types_;
};

}  // namespace

Vocabulary read_tokenizer_json(const std::filesystem::path& path) {
  return TokenizerJson(path).read();
}

}  // namespace isogloss
