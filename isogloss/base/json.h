// JSON as untrusted text, and objects in it with checked access.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace isogloss {

// A JSON object. Throws Error(kCorrupt), naming `path`, for text that is not one, for a key that is
// there twice, and for nesting so deep that recursion over it could overflow the stack.
nlohmann::json parse_json_object(std::string_view text, const std::string& path);

// A value as text for a message, cut where it is long.
std::string shorten(const nlohmann::json& value);

// A JSON object with checked access; `path` names it in messages. A key whose value is null counts
// as absent. get_x throws Error(kCorrupt) when the key is absent or its value no x, get_x_or only
// when the value is no x.
class JsonObject {
 public:
  JsonObject(nlohmann::json value, std::string path);
  static JsonObject parse(std::string_view text, const std::string& path);

  bool has(const char* key) const;

  std::string get_string(const char* key) const;
  std::string get_string_or(const char* key, const std::string& fallback) const;
  std::optional<std::string> find_string(const char* key) const;
  size_t get_size(const char* key) const;
  size_t get_size_or(const char* key, size_t fallback) const;
  std::optional<size_t> find_size(const char* key) const;
  double get_number(const char* key) const;
  float get_float(const char* key) const;
  float get_float_or(const char* key, float fallback) const;
  bool get_bool(const char* key) const;
  bool get_bool_or(const char* key, bool fallback) const;
  std::vector<uint64_t> get_sizes(const char* key) const;
  std::vector<float> get_floats(const char* key) const;
  std::vector<std::string> get_strings(const char* key) const;

  // The object under `key`, which messages name "path: \"key\"". It shares this one's value.
  JsonObject get_object(const char* key) const;
  std::optional<JsonObject> find_object(const char* key) const;

  // An object that lies somewhere in value(), under a name of its own. It shares this one's value.
  JsonObject part(const nlohmann::json& object, std::string path) const;

  const nlohmann::json& value() const { return *value_; }
  const std::string& path() const { return path_; }

 private:
  using Json = nlohmann::json;
  JsonObject(std::shared_ptr<const Json> value, std::string path);

  const Json& get_if(bool (Json::*is_right)() const noexcept, const char* key) const;
  const Json& get_list_of(bool (Json::*is_right)() const noexcept, const char* key) const;
  [[noreturn]] void wrong_type(const char* key) const;

  std::shared_ptr<const Json> value_;
  std::string path_;
};

}  // namespace isogloss
