#include "isogloss/base/json.h"

#include <set>

#include "isogloss/base/error.h"

namespace isogloss {
namespace {

using nlohmann::json;

// Watches a text being parsed for what json::parse lets pass.
class JsonWatch {
 public:
  explicit JsonWatch(const std::string& path) : path_(path) {}

  bool operator()(int depth, json::parse_event_t event, const json& parsed) {
    constexpr int kDeepest = 64;
    if (depth > kDeepest) {
      fail(ErrorCode::kCorrupt, "{}: is JSON nested deeper than {}", path_, kDeepest);
    }
    if (event == json::parse_event_t::object_start) keys_.emplace_back();
    if (event == json::parse_event_t::object_end) keys_.pop_back();
    if (event == json::parse_event_t::key &&
        !keys_.back().insert(parsed.get_ref<const std::string&>()).second) {
      fail(ErrorCode::kCorrupt, "{}: {} is there twice", path_, shorten(parsed));
    }
    return true;
  }

 private:
  const std::string& path_;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
};

}  // namespace

json parse_json_object(std::string_view text, const std::string& path) {
  json value;
  try {
    value = json::parse(text, JsonWatch(path));
  } catch (const json::parse_error& error) {
    fail(ErrorCode::kCorrupt, "{}: is not valid JSON at byte {}", path, error.byte);
  } catch (const json::exception& error) {
    fail(ErrorCode::kCorrupt, "{}: is not valid JSON: {}", path, error.what());
  }
  if (!value.is_object()) {
    fail(ErrorCode::kCorrupt, "{}: is not a JSON object, but {}", path, value.type_name());
  }
  return value;
}

std::string shorten(const json& value) {
  constexpr size_t kMost = 200;
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true);
  if (text.size() > kMost) text = text.substr(0, kMost) + "...";
  return text;
}

JsonObject::JsonObject(json value, std::string path)
    : JsonObject(std::make_shared<const json>(std::move(value)), std::move(path)) {}

JsonObject::JsonObject(std::shared_ptr<const json> value, std::string path)
    : value_(std::move(value)), path_(std::move(path)) {
  if (!value_->is_object()) fail(ErrorCode::kCorrupt, "{}: is not a JSON object", path_);
}

JsonObject JsonObject::parse(std::string_view text, const std::string& path) {
  return {parse_json_object(text, path), path};
}

bool JsonObject::has(const char* key) const {
  const auto found = value_->find(key);
  return found != value_->end() && !found->is_null();
}

std::string JsonObject::get_string(const char* key) const {
  return get_if(&json::is_string, key).get<std::string>();
}
std::string JsonObject::get_string_or(const char* key, const std::string& fallback) const {
  return has(key) ? get_string(key) : fallback;
}
std::optional<std::string> JsonObject::find_string(const char* key) const {
  return has(key) ? std::optional(get_string(key)) : std::nullopt;
}

size_t JsonObject::get_size(const char* key) const {
  return get_if(&json::is_number_unsigned, key).get<uint64_t>();
}
size_t JsonObject::get_size_or(const char* key, size_t fallback) const {
  return has(key) ? get_size(key) : fallback;
}
std::optional<size_t> JsonObject::find_size(const char* key) const {
  return has(key) ? std::optional(get_size(key)) : std::nullopt;
}

double JsonObject::get_number(const char* key) const {
  return get_if(&json::is_number, key).get<double>();
}

float JsonObject::get_float(const char* key) const {
  return get_if(&json::is_number, key).get<float>();
}
float JsonObject::get_float_or(const char* key, float fallback) const {
  return has(key) ? get_float(key) : fallback;
}

bool JsonObject::get_bool(const char* key) const {
  return get_if(&json::is_boolean, key).get<bool>();
}
bool JsonObject::get_bool_or(const char* key, bool fallback) const {
  return has(key) ? get_bool(key) : fallback;
}

std::vector<uint64_t> JsonObject::get_sizes(const char* key) const {
  return get_list_of(&json::is_number_unsigned, key).get<std::vector<uint64_t>>();
}
std::vector<float> JsonObject::get_floats(const char* key) const {
  return get_list_of(&json::is_number, key).get<std::vector<float>>();
}
std::vector<std::string> JsonObject::get_strings(const char* key) const {
  return get_list_of(&json::is_string, key).get<std::vector<std::string>>();
}

JsonObject JsonObject::get_object(const char* key) const {
  return part(get_if(&json::is_object, key), fmt::format("{}: \"{}\"", path_, key));
}
std::optional<JsonObject> JsonObject::find_object(const char* key) const {
  return has(key) ? std::optional(get_object(key)) : std::nullopt;
}

JsonObject JsonObject::part(const json& object, std::string path) const {
  return {std::shared_ptr<const json>(value_, &object), std::move(path)};
}

const json& JsonObject::get_if(bool (json::*is_right)() const noexcept, const char* key) const {
  if (!has(key)) fail(ErrorCode::kCorrupt, "{}: \"{}\" is missing", path_, key);
  const json& value = value_->at(key);
  if (!(value.*is_right)()) wrong_type(key);
  return value;
}

const json& JsonObject::get_list_of(bool (json::*is_right)() const noexcept,
                                    const char* key) const {
  const json& list = get_if(&json::is_array, key);
  for (const json& item : list) {
    if (!(item.*is_right)()) wrong_type(key);
  }
  return list;
}

void JsonObject::wrong_type(const char* key) const {
  fail(ErrorCode::kCorrupt, "{}: \"{}\" is {}, which has the wrong type", path_, key,
       shorten(value_->at(key)));
}

}  // namespace isogloss
