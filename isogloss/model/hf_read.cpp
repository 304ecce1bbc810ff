// Hugging Face directories: config.json, model.safetensors, tokenizer.json.
//
// safetensors: u64 length of a JSON header, the header {"name": {"dtype", "shape", "data_offsets":
// [begin, end]}, "__metadata__": {..}}, then the data, row-major, offsets counted from its start.
#include <nlohmann/json.hpp>

#include <cmath>
#include <set>

#include "isogloss/base/error.h"
#include "isogloss/model/model_impl.h"

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
      fail(ErrorCode::kCorrupt, "{}: {} is there twice", path_, parsed.dump());
    }
    return true;
  }

 private:
  const std::string& path_;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
};

// A JSON object with checked access; `path` names it in messages.
class JsonObject {
 public:
  JsonObject(json value, std::string path) : value_(std::move(value)), path_(std::move(path)) {
    if (!value_.is_object()) fail(ErrorCode::kCorrupt, "{}: is not a JSON object", path_);
  }
  static JsonObject parse(std::string_view text, const std::string& path) {
    return {parse_json_object(text, path), path};
  }

  bool has(const char* key) const { return value_.contains(key) && !value_.at(key).is_null(); }

  std::string get_string(const char* key) const {
    return get_if(&json::is_string, key).get<std::string>();
  }
  size_t get_size(const char* key) const {
    return get_if(&json::is_number_unsigned, key).get<uint64_t>();
  }
  float get_float_or(const char* key, float fallback) const {
    return has(key) ? get_if(&json::is_number, key).get<float>() : fallback;
  }
  bool get_bool_or(const char* key, bool fallback) const {
    return has(key) ? get_if(&json::is_boolean, key).get<bool>() : fallback;
  }
  std::vector<uint64_t> get_sizes(const char* key) const {
    const json& list = get_if(&json::is_array, key);
    for (const json& size : list) {
      if (!size.is_number_unsigned()) wrong_type(key);
    }
    return list.get<std::vector<uint64_t>>();
  }
  const json& value() const { return value_; }
  const std::string& path() const { return path_; }

 private:
  const json& get_if(bool (json::*is_right)() const noexcept, const char* key) const {
    if (!has(key)) fail(ErrorCode::kCorrupt, "{}: \"{}\" is missing", path_, key);
    const json& value = value_.at(key);
    if (!(value.*is_right)()) wrong_type(key);
    return value;
  }
  [[noreturn]] void wrong_type(const char* key) const {
    fail(ErrorCode::kCorrupt, "{}: \"{}\" is {}, which has the wrong type", path_, key,
         value_.at(key).dump());
  }

  json value_;
  std::string path_;
};

std::optional<TensorType> find_dtype(std::string_view dtype) {
  if (dtype == "F32") return TensorType::kF32;
  if (dtype == "F16") return TensorType::kF16;
  if (dtype == "BF16") return TensorType::kBf16;
  return std::nullopt;
}

// `entry` is named by file and tensor.
StoredTensor read_entry(const JsonObject& entry, std::span<const std::byte> data) {
  const std::string& object = entry.path();
  StoredTensor tensor;
  const auto dtype = entry.get_string("dtype");
  const auto type = find_dtype(dtype);
  if (!type) {
    fail(ErrorCode::kUnsupported, "{}: has dtype {}; read are F32, F16 and BF16", object, dtype);
  }
  tensor.type = *type;
  tensor.shape = entry.get_sizes("shape");
  uint64_t bytes = get_tensor_type_info(*type).block_bytes;
  for (const uint64_t size : tensor.shape) bytes = checked_multiply(bytes, size, object);
  const auto offsets = entry.get_sizes("data_offsets");
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > data.size()) {
    fail(ErrorCode::kCorrupt,
         "{}: has data_offsets [{}], and the data ends at {}; perhaps the file is truncated",
         object, fmt::join(offsets, ", "), data.size());
  }
  if (offsets[1] - offsets[0] != bytes) {
    fail(ErrorCode::kCorrupt, "{}: as {} with shape [{}] takes {} bytes, its offsets {}", object,
         dtype, fmt::join(tensor.shape, ", "), bytes, offsets[1] - offsets[0]);
  }
  tensor.bytes = data.subspan(offsets[0], bytes);
  return tensor;
}

// OpenAI's files name tensors "h.0...", files saved with a head "transformer.h.0...".
std::string without_prefix(const std::string& name) {
  constexpr std::string_view kPrefix = "transformer.";
  return name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : name;
}

// The causal mask, which old GPT-2 checkpoints store as if it were a weight.
bool is_mask(const std::string& name) {
  return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias");
}

StoredTensors read_safetensors(const MappedFile& file) {
  const std::string path = file.path().string();
  ByteReader reader(file.bytes(), path);
  const auto length = reader.read<uint64_t>("header length");
  const auto text = reader.take(length, "header");
  const auto header = JsonObject::parse({reinterpret_cast<const char*>(text.data()), text.size()},
                                        path + " header");
  const auto data = reader.take(reader.remaining(), "tensor data");
  StoredTensors tensors;
  for (const auto& [stored_name, entry] : header.value().items()) {
    const std::string name = without_prefix(stored_name);
    if (name == "__metadata__" || is_mask(name)) continue;
    const JsonObject described(entry, fmt::format("{}: tensor '{}'", path, name));
    const auto tensor = read_entry(described, data);
    if (!tensors.emplace(name, tensor).second) {
      fail(ErrorCode::kCorrupt, "{}: tensor '{}' is there twice", path, name);
    }
  }
  return tensors;
}

std::shared_ptr<const MappedFile> open_weights(const std::filesystem::path& directory) {
  const auto path = directory / "model.safetensors";
  std::error_code unreadable;  // is reported when the path is opened
  if (!std::filesystem::exists(path, unreadable) &&
      std::filesystem::exists(directory / "model.safetensors.index.json", unreadable)) {
    fail(ErrorCode::kUnsupported,
         "{}: the weights are in several files; one model.safetensors is read", directory.string());
  }
  return MappedFile::open(path);
}

void refuse_unless(const JsonObject& config, const char* key, const json& usual) {
  if (config.has(key) && config.value().at(key) != usual) {
    fail(ErrorCode::kUnsupported, "{}: \"{}\" is {}; only {} is supported", config.path(), key,
         config.value().at(key).dump(), usual.dump());
  }
}

ModelConfig read_gpt2_config(const JsonObject& file) {
  ModelConfig config;
  config.family = Family::kGpt2;
  config.layers = file.get_size("n_layer");
  config.width = file.get_size("n_embd");
  config.heads = file.get_size("n_head");
  config.kv_heads = config.heads;
  if (config.heads == 0 || config.width % config.heads != 0) {
    fail(ErrorCode::kCorrupt, "{}: n_embd {} does not divide into {} heads", file.path(),
         config.width, config.heads);
  }
  config.head_dim = config.width / config.heads;
  config.ffn_width = file.has("n_inner") ? file.get_size("n_inner") : 4 * config.width;
  config.vocab_size = file.get_size("vocab_size");
  config.context_length = file.get_size("n_positions");
  config.norm_epsilon = file.get_float_or("layer_norm_epsilon", 1e-5F);
  config.attention_scale = 1 / std::sqrt(static_cast<float>(config.head_dim));
  config.tied_head = file.get_bool_or("tie_word_embeddings", true);
  refuse_unless(file, "activation_function", "gelu_new");
  refuse_unless(file, "scale_attn_weights", true);
  refuse_unless(file, "scale_attn_by_inverse_layer_idx", false);
  refuse_unless(file, "add_cross_attention", false);
  return config;
}

ModelConfig read_hf_config(const std::filesystem::path& path) {
  const auto file = JsonObject::parse(read_text_file(path), path.string());
  const auto type = file.get_string("model_type");
  std::vector<std::string_view> known;
  for (const auto& info : known_families()) {
    if (!info.hf_name.empty()) known.push_back(info.hf_name);
  }
  if (type != get_family_info(Family::kGpt2).hf_name) {
    fail(ErrorCode::kUnsupported, "{}: model_type '{}' is not known; known are {}", path.string(),
         type, fmt::join(known, ", "));
  }
  return read_gpt2_config(file);
}

// Rows of the embedding past the tokenizer's tokens get names that no text can produce.
void pad_vocabulary(const std::string& path, const ModelConfig& config, Vocabulary& vocabulary) {
  if (vocabulary.size() > config.vocab_size) {
    fail(ErrorCode::kMismatch, "{}: the tokenizer has {} tokens, the embedding {} rows", path,
         vocabulary.size(), config.vocab_size);
  }
  while (vocabulary.size() < config.vocab_size) {
    vocabulary.tokens.push_back(fmt::format("[PAD{}]", vocabulary.size()));
    vocabulary.types.push_back(TokenType::kUnused);
  }
}

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
  if (!value.is_object()) fail(ErrorCode::kCorrupt, "{}: is not a JSON object", path);
  return value;
}

Model read_hf_model(const std::filesystem::path& directory) {
  ModelConfig config = read_hf_config(directory / "config.json");
  config.name = directory.filename().empty() ? directory.parent_path().filename().string()
                                             : directory.filename().string();
  check_config((directory / "config.json").string(), config);
  auto file = open_weights(directory);
  StoredTensors stored = read_safetensors(*file);
  const bool may_be_tied = config.tied_head;
  auto tensors = assign_roles(file->path().string(), config, stored, TensorNaming::kHuggingFace);
  if (config.tied_head && !may_be_tied) {
    fail(ErrorCode::kCorrupt,
         "{}: tensor '{}' is missing; \"tie_word_embeddings\" is false, so the head is not the "
         "embedding",
         file->path().string(),
         hf_tensor_name(get_role_info(Role::kHead), config.family, kNoLayer));
  }
  Vocabulary vocabulary = read_tokenizer_json(directory / "tokenizer.json");
  pad_vocabulary(directory.string(), config, vocabulary);
  return {
      directory, std::move(config), std::move(vocabulary), std::move(tensors), {std::move(file)}};
}

}  // namespace isogloss
