// Hugging Face directories: config.json, model.safetensors, tokenizer.json.
//
// safetensors: u64 length of a JSON header, the header {"name": {"dtype", "shape", "data_offsets":
// [begin, end]}, "__metadata__": {..}}, then the data, row-major, offsets counted from its start.
#include <nlohmann/json.hpp>

#include <cmath>

#include "isogloss/base/error.h"
#include "isogloss/model/model_impl.h"

namespace isogloss {
namespace {

using nlohmann::json;

// A JSON object with checked access; `path` names it in messages.
class JsonObject {
 public:
  JsonObject(json value, std::string path) : value_(std::move(value)), path_(std::move(path)) {
    if (!value_.is_object()) fail(ErrorCode::kCorrupt, "{}: is not a JSON object", path_);
  }
  static JsonObject parse(std::string_view text, const std::string& path) {
    try {
      return {json::parse(text), path};
    } catch (const json::parse_error& error) {
      fail(ErrorCode::kCorrupt, "{}: is not valid JSON at byte {}", path, error.byte);
    }
  }

  bool has(const char* key) const { return value_.contains(key) && !value_.at(key).is_null(); }
  template <typename T>
  T get(const char* key) const {
    if (!has(key)) fail(ErrorCode::kCorrupt, "{}: \"{}\" is missing", path_, key);
    try {
      return value_.at(key).get<T>();
    } catch (const json::exception&) {
      fail(ErrorCode::kCorrupt, "{}: \"{}\" is {}, which has the wrong type", path_, key,
           value_.at(key).dump());
    }
  }
  template <typename T>
  T get_or(const char* key, T fallback) const {
    return has(key) ? get<T>(key) : fallback;
  }
  size_t get_size(const char* key) const {
    const auto number = get<int64_t>(key);
    if (number < 0) fail(ErrorCode::kCorrupt, "{}: \"{}\" is {}", path_, key, number);
    return static_cast<size_t>(number);
  }
  const json& value() const { return value_; }
  const std::string& path() const { return path_; }

 private:
  json value_;
  std::string path_;
};

std::optional<TensorType> find_dtype(std::string_view dtype) {
  if (dtype == "F32") return TensorType::kF32;
  if (dtype == "F16") return TensorType::kF16;
  if (dtype == "BF16") return TensorType::kBf16;
  return std::nullopt;
}

StoredTensor read_entry(const JsonObject& entry, const std::string& name,
                        std::span<const std::byte> data) {
  const std::string& path = entry.path();
  StoredTensor tensor;
  const auto dtype = entry.get<std::string>("dtype");
  const auto type = find_dtype(dtype);
  if (!type) {
    fail(ErrorCode::kUnsupported, "{}: tensor '{}' has dtype {}; read are F32, F16 and BF16", path,
         name, dtype);
  }
  tensor.type = *type;
  tensor.shape = entry.get<std::vector<uint64_t>>("shape");
  uint64_t bytes = get_tensor_type_info(*type).block_bytes;
  for (const uint64_t size : tensor.shape) bytes = checked_multiply(bytes, size, name);
  const auto offsets = entry.get<std::vector<uint64_t>>("data_offsets");
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > data.size()) {
    fail(ErrorCode::kCorrupt,
         "{}: tensor '{}' has data_offsets [{}], and the data ends at {}; perhaps the file is "
         "truncated",
         path, name, fmt::join(offsets, ", "), data.size());
  }
  if (offsets[1] - offsets[0] != bytes) {
    fail(ErrorCode::kCorrupt, "{}: tensor '{}' of {} with shape [{}] takes {} bytes, its offsets {}",
         path, name, dtype, fmt::join(tensor.shape, ", "), bytes, offsets[1] - offsets[0]);
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
    const auto tensor = read_entry(JsonObject(entry, path), name, data);
    if (!tensors.emplace(name, tensor).second) {
      fail(ErrorCode::kCorrupt, "{}: tensor '{}' is there twice", path, name);
    }
  }
  return tensors;
}

std::shared_ptr<const MappedFile> open_weights(const std::filesystem::path& directory) {
  const auto path = directory / "model.safetensors";
  if (!std::filesystem::exists(path) &&
      std::filesystem::exists(directory / "model.safetensors.index.json")) {
    fail(ErrorCode::kUnsupported, "{}: the weights are in several files; one model.safetensors is read",
         directory.string());
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
  config.norm_epsilon = file.get_or<float>("layer_norm_epsilon", 1e-5F);
  config.attention_scale = 1 / std::sqrt(static_cast<float>(config.head_dim));
  refuse_unless(file, "activation_function", "gelu_new");
  refuse_unless(file, "scale_attn_weights", true);
  refuse_unless(file, "scale_attn_by_inverse_layer_idx", false);
  refuse_unless(file, "add_cross_attention", false);
  return config;
}

ModelConfig read_hf_config(const std::filesystem::path& path) {
  const auto file = JsonObject::parse(read_text_file(path), path.string());
  const auto type = file.get<std::string>("model_type");
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

Model read_hf_model(const std::filesystem::path& directory) {
  ModelConfig config = read_hf_config(directory / "config.json");
  config.name = directory.filename().empty() ? directory.parent_path().filename().string()
                                             : directory.filename().string();
  check_config((directory / "config.json").string(), config);
  auto file = open_weights(directory);
  StoredTensors stored = read_safetensors(*file);
  auto tensors = assign_roles(file->path().string(), config, stored, TensorNaming::kHuggingFace);
  Vocabulary vocabulary = read_tokenizer_json(directory / "tokenizer.json");
  pad_vocabulary(directory.string(), config, vocabulary);
  return {directory, std::move(config), std::move(vocabulary), std::move(tensors), {std::move(file)}};
}

}  // namespace isogloss
