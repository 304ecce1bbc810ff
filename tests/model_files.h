// Models small enough to build byte by byte: GGUF files and Hugging Face directories, to be damaged
// by tests, and the temporary directory they lie in.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "isogloss/base/error.h"
#include "isogloss/base/random.h"
#include "isogloss/model/model.h"
#include "tests/temporary_directory.h"

namespace isogloss {

using Strings = std::vector<std::string>;

struct Failure {
  std::optional<ErrorCode> code;  // nothing: did not throw
  std::string message;
};

// What `action` throws as Error; any other exception passes on and fails the test.
template <typename Action>
Failure failure_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {std::nullopt, "(no error)"};
}

// That `failure` has the code, and a message with all of `parts`.
inline testing::AssertionResult says(const Failure& failure, ErrorCode code, const Strings& parts) {
  if (failure.code != code) {
    return testing::AssertionFailure() << "another code than expected, with: " << failure.message;
  }
  for (const std::string& part : parts) {
    if (failure.message.find(part) != std::string::npos) continue;
    return testing::AssertionFailure() << "'" << part << "' is not in: " << failure.message;
  }
  return testing::AssertionSuccess();
}

template <typename T>
std::string bytes_of(const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  std::string bytes;
  for (const T& value : values) bytes += bytes_of(value);
  return bytes;
}

inline uint64_t product(const std::vector<uint64_t>& shape) {
  uint64_t count = 1;
  for (const uint64_t size : shape) count *= size;
  return count;
}

// 64-bit FNV-1a.
inline uint64_t fnv1a64(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  return hash;
}

// `count` floats in [-0.5, 0.5), as bytes; the same for the same name.
inline std::string some_floats(const std::string& name, uint64_t count) {
  Random random(fnv1a64(name));
  std::string bytes;
  for (uint64_t i = 0; i < count; ++i)
    bytes += bytes_of(static_cast<float>(random.uniform()) - 0.5F);
  return bytes;
}

// A tensor to be written, its shape outermost first.
struct FileTensor {
  std::string name;
  std::vector<uint64_t> shape;
  std::string data = some_floats(name, product(shape));
};

// Value types of GGUF, as its specification numbers them.
enum GgufType : uint32_t {
  kGgufU32 = 4,
  kGgufI32 = 5,
  kGgufF32 = 6,
  kGgufBool = 7,
  kGgufString = 8,
  kGgufArray = 9,
  kGgufU64 = 10,
};

inline std::string gguf_text(std::string_view text) {
  return bytes_of(uint64_t{text.size()}).append(text);
}

inline std::string gguf_array(uint32_t type, uint64_t count, const std::string& elements) {
  return bytes_of(type) + bytes_of(count) + elements;
}

struct GgufKey {
  std::string name;
  uint32_t type;
  std::string value;  // as it lies in the file
};

struct GgufTensor : FileTensor {
  uint32_t type = 0;               // F32
  std::optional<uint64_t> offset;  // instead of the next free one
};

// A GGUF file as a list of what is in it. A field that is set replaces what bytes() would write.
struct GgufFile {
  std::string magic = "GGUF";
  uint32_t version = 3;
  uint64_t alignment = 32;
  std::vector<GgufKey> keys;
  std::vector<GgufTensor> tensors;
  std::optional<uint64_t> key_count, tensor_count;

  GgufKey& key(std::string_view name) { return find(keys, name); }
  GgufTensor& tensor(std::string_view name) { return find(tensors, name); }
  void erase_key(std::string_view name) { keys.erase(keys.begin() + (&key(name) - keys.data())); }

  void set(const std::string& name, uint32_t type, const std::string& value) {
    const auto found = std::ranges::find(keys, name, &GgufKey::name);
    if (found == keys.end()) {
      keys.push_back({name, type, value});
    } else {
      *found = {name, type, value};
    }
  }
  void set_u32(const std::string& name, uint32_t value) { set(name, kGgufU32, bytes_of(value)); }
  void set_f32(const std::string& name, float value) { set(name, kGgufF32, bytes_of(value)); }
  void set_string(const std::string& name, std::string_view value) {
    set(name, kGgufString, gguf_text(value));
  }
  void set_strings(const std::string& name, const Strings& values) {
    std::string elements;
    for (const auto& value : values) elements += gguf_text(value);
    set(name, kGgufArray, gguf_array(kGgufString, values.size(), elements));
  }
  template <typename T>
  void set_numbers(const std::string& name, uint32_t type, const std::vector<T>& values) {
    set(name, kGgufArray, gguf_array(type, values.size(), bytes_of(values)));
  }

  std::string bytes() const {
    std::string data;
    std::string file = magic + bytes_of(version) + bytes_of(tensor_count.value_or(tensors.size())) +
                       bytes_of(key_count.value_or(keys.size()));
    for (const auto& [name, type, value] : keys) file += gguf_text(name) + bytes_of(type) + value;
    for (const auto& tensor : tensors) {
      pad(data);
      file += gguf_text(tensor.name) + bytes_of(static_cast<uint32_t>(tensor.shape.size()));
      for (size_t i = tensor.shape.size(); i > 0; --i) file += bytes_of(tensor.shape[i - 1]);
      file += bytes_of(tensor.type) + bytes_of(tensor.offset.value_or(data.size()));
      data += tensor.data;
    }
    pad(file);
    return file + data;
  }

 private:
  template <typename T>
  static T& find(std::vector<T>& items, std::string_view name) {
    const auto found = std::ranges::find(items, name, &T::name);
    if (found == items.end()) throw std::out_of_range(std::string(name));
    return *found;
  }
  void pad(std::string& bytes) const {
    bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
  }
};

// Sizes of a tiny model. No two that could be mistaken for one another are equal.
struct TinySizes {
  uint32_t width, heads, kv_heads, head_dim, ffn_width, context;
  uint64_t query() const { return heads * head_dim; }
  uint64_t key_value() const { return kv_heads * head_dim; }
};
inline constexpr uint32_t kTinyLayers = 2;
inline constexpr uint32_t kTinyVocabulary = 64;
inline constexpr TinySizes kTinyGpt2 = {16, 2, 2, 8, 24, 20};
inline constexpr TinySizes kTinyLlama = {32, 4, 2, 6, 40, 20};
inline constexpr TinySizes kTinyGemma3 = {16, 2, 1, 12, 40, 20};

inline TinySizes tiny_sizes(Family family) {
  return family == Family::kGpt2 ? kTinyGpt2 : family == Family::kLlama ? kTinyLlama : kTinyGemma3;
}

// 64 tokens: three special ones, the letters, a few pairs, and names to fill up.
inline Strings tiny_tokens(std::string_view space) {
  Strings tokens = {"<unk>", "<s>", "</s>", std::string(space)};
  for (char letter = 'a'; letter <= 'z'; ++letter) tokens.emplace_back(1, letter);
  for (const char* pair : {"ab", "cd", "abcd"}) tokens.emplace_back(pair);
  while (tokens.size() < kTinyVocabulary) tokens.push_back("w" + std::to_string(tokens.size()));
  return tokens;
}

inline void add_byte_level_vocabulary(GgufFile& file) {
  file.set_string("tokenizer.ggml.model", "gpt2");
  file.set_string("tokenizer.ggml.pre", "gpt-2");
  file.set_strings("tokenizer.ggml.tokens", tiny_tokens("\u0120"));
  file.set_strings("tokenizer.ggml.merges", {"a b", "c d", "ab cd"});
}

inline void add_sentencepiece_vocabulary(GgufFile& file) {
  std::vector<float> scores;
  for (uint32_t i = 0; i < kTinyVocabulary; ++i) scores.push_back(-static_cast<float>(i));
  file.set_string("tokenizer.ggml.model", "llama");
  file.set_strings("tokenizer.ggml.tokens", tiny_tokens("\u2581"));
  file.set_numbers("tokenizer.ggml.scores", kGgufF32, scores);
}

inline void add_vocabulary(GgufFile& file, Family family) {
  if (family == Family::kGpt2) {
    add_byte_level_vocabulary(file);
  } else {
    add_sentencepiece_vocabulary(file);
  }
  std::vector<int32_t> types(kTinyVocabulary, 1);
  types[0] = 2;
  types[1] = types[2] = 3;
  file.set_numbers("tokenizer.ggml.token_type", kGgufI32, types);
  file.set_u32("tokenizer.ggml.bos_token_id", 1);
  file.set_u32("tokenizer.ggml.eos_token_id", 2);
}

inline void add_sizes(GgufFile& file, const std::string& arch, const TinySizes& sizes) {
  file.set_string("general.architecture", arch);
  file.set_string("general.name", "tiny");
  file.set_u32(arch + ".block_count", kTinyLayers);
  file.set_u32(arch + ".context_length", sizes.context);
  file.set_u32(arch + ".embedding_length", sizes.width);
  file.set_u32(arch + ".feed_forward_length", sizes.ffn_width);
  file.set_u32(arch + ".attention.head_count", sizes.heads);
  if (arch == "gpt2") {
    file.set_f32("gpt2.attention.layer_norm_epsilon", 1e-5F);
    return;
  }
  file.set_u32(arch + ".attention.head_count_kv", sizes.kv_heads);
  file.set_u32(arch + ".attention.key_length", sizes.head_dim);
  file.set_f32(arch + ".attention.layer_norm_rms_epsilon", 1e-6F);
}

// Names and shapes as llama.cpp's converter writes them: written out here, so that the table of
// roles is checked against something that is not itself.
inline std::vector<FileTensor> gguf_layer_tensors(Family family, size_t layer) {
  const TinySizes s = tiny_sizes(family);
  const std::string block = "blk." + std::to_string(layer) + ".";
  const uint64_t qkv = s.query() + 2 * s.key_value();
  if (family == Family::kGpt2) {
    return {{block + "attn_norm.weight", {s.width}},
            {block + "attn_norm.bias", {s.width}},
            {block + "attn_qkv.weight", {qkv, s.width}},
            {block + "attn_qkv.bias", {qkv}},
            {block + "attn_output.weight", {s.width, s.query()}},
            {block + "attn_output.bias", {s.width}},
            {block + "ffn_norm.weight", {s.width}},
            {block + "ffn_norm.bias", {s.width}},
            {block + "ffn_up.weight", {s.ffn_width, s.width}},
            {block + "ffn_up.bias", {s.ffn_width}},
            {block + "ffn_down.weight", {s.width, s.ffn_width}},
            {block + "ffn_down.bias", {s.width}}};
  }
  std::vector<FileTensor> tensors = {{block + "attn_norm.weight", {s.width}},
                                     {block + "attn_q.weight", {s.query(), s.width}},
                                     {block + "attn_k.weight", {s.key_value(), s.width}},
                                     {block + "attn_v.weight", {s.key_value(), s.width}},
                                     {block + "attn_output.weight", {s.width, s.query()}},
                                     {block + "ffn_norm.weight", {s.width}},
                                     {block + "ffn_gate.weight", {s.ffn_width, s.width}},
                                     {block + "ffn_up.weight", {s.ffn_width, s.width}},
                                     {block + "ffn_down.weight", {s.width, s.ffn_width}}};
  if (family == Family::kGemma3) {
    tensors.push_back({block + "attn_q_norm.weight", {s.head_dim}});
    tensors.push_back({block + "attn_k_norm.weight", {s.head_dim}});
    tensors.push_back({block + "post_attention_norm.weight", {s.width}});
    tensors.push_back({block + "post_ffw_norm.weight", {s.width}});
  }
  return tensors;
}

inline std::vector<FileTensor> gguf_tensors(Family family) {
  const TinySizes s = tiny_sizes(family);
  std::vector<FileTensor> tensors = {{"token_embd.weight", {kTinyVocabulary, s.width}}};
  if (family == Family::kGpt2) tensors.push_back({"position_embd.weight", {s.context, s.width}});
  for (size_t layer = 0; layer < kTinyLayers; ++layer) {
    for (auto& tensor : gguf_layer_tensors(family, layer)) tensors.push_back(std::move(tensor));
  }
  tensors.push_back({"output_norm.weight", {s.width}});
  if (family == Family::kGpt2) tensors.push_back({"output_norm.bias", {s.width}});
  if (family == Family::kLlama) tensors.push_back({"output.weight", {kTinyVocabulary, s.width}});
  return tensors;
}

// A valid model of the family: two layers, 64 tokens, F32; only Llama's has a head of its own.
inline GgufFile tiny_gguf(Family family) {
  GgufFile file;
  add_sizes(file, std::string(get_family_info(family).gguf_name), tiny_sizes(family));
  add_vocabulary(file, family);
  for (auto& tensor : gguf_tensors(family)) file.tensors.push_back({std::move(tensor), 0, {}});
  return file;
}

struct SafetensorsTensor : FileTensor {
  std::string dtype = "F32";
};

// A Hugging Face directory as what its three files hold.
struct HfDirectory {
  nlohmann::ordered_json config, tokenizer;
  std::vector<SafetensorsTensor> tensors;
  size_t gap = 0;  // bytes before each tensor's data: an odd one misaligns them

  SafetensorsTensor& tensor(std::string_view name) {
    const auto found = std::ranges::find(tensors, name, &SafetensorsTensor::name);
    if (found == tensors.end()) throw std::out_of_range(std::string(name));
    return *found;
  }

  nlohmann::ordered_json header() const {
    nlohmann::ordered_json header = {{"__metadata__", {{"format", "pt"}}}};
    size_t offset = 0;
    for (const auto& tensor : tensors) {
      offset += gap;
      header[tensor.name] = {{"dtype", tensor.dtype},
                             {"shape", tensor.shape},
                             {"data_offsets", {offset, offset + tensor.data.size()}}};
      offset += tensor.data.size();
    }
    return header;
  }
  std::string data() const {
    std::string data;
    for (const auto& tensor : tensors) data += std::string(gap, '\0') + tensor.data;
    return data;
  }
  std::string safetensors() const { return with_header(header().dump()); }
  std::string with_header(const std::string& header) const {
    return bytes_of(uint64_t{header.size()}) + header + data();
  }

  void write(const TemporaryDirectory& directory) const {
    directory.write("config.json", config.dump(1));
    directory.write("tokenizer.json", tokenizer.dump(1));
    directory.write("model.safetensors", safetensors());
  }
};

inline nlohmann::ordered_json tiny_hf_config() {
  return {{"model_type", "gpt2"},         {"activation_function", "gelu_new"},
          {"layer_norm_epsilon", 1e-5},   {"n_embd", kTinyGpt2.width},
          {"n_head", kTinyGpt2.heads},    {"n_inner", kTinyGpt2.ffn_width},
          {"n_layer", kTinyLayers},       {"n_positions", kTinyGpt2.context},
          {"vocab_size", kTinyVocabulary}};
}

inline nlohmann::ordered_json tiny_hf_tokenizer() {
  using Json = nlohmann::ordered_json;
  const Strings tokens = tiny_tokens("\u0120");
  Json vocabulary;
  for (size_t id = 0; id < tokens.size(); ++id) vocabulary[tokens[id]] = id;
  const Json bos = {{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}};
  const Json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const Json ids = {{"<s>", {{"id", "<s>"}, {"ids", {1}}, {"tokens", {"<s>"}}}}};
  return {{"added_tokens", {{{"id", 1}, {"content", "<s>"}, {"special", true}}}},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single", Json::array({bos, text})},
            {"special_tokens", ids}}},
          {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"a b", "c d", "ab cd"}}}}};
}

// Names and shapes as transformers writes them; Conv1D weights are [inputs][outputs].
inline std::vector<FileTensor> hf_layer_tensors(size_t layer) {
  const TinySizes s = kTinyGpt2;
  const std::string block = "h." + std::to_string(layer) + ".";
  const uint64_t qkv = s.query() + 2 * s.key_value();
  return {{block + "ln_1.weight", {s.width}},
          {block + "ln_1.bias", {s.width}},
          {block + "attn.c_attn.weight", {s.width, qkv}},
          {block + "attn.c_attn.bias", {qkv}},
          {block + "attn.c_proj.weight", {s.query(), s.width}},
          {block + "attn.c_proj.bias", {s.width}},
          {block + "ln_2.weight", {s.width}},
          {block + "ln_2.bias", {s.width}},
          {block + "mlp.c_fc.weight", {s.width, s.ffn_width}},
          {block + "mlp.c_fc.bias", {s.ffn_width}},
          {block + "mlp.c_proj.weight", {s.ffn_width, s.width}},
          {block + "mlp.c_proj.bias", {s.width}}};
}

// A valid GPT-2 directory of the sizes of tiny_gguf(Family::kGpt2).
inline HfDirectory tiny_hf() {
  const TinySizes s = kTinyGpt2;
  HfDirectory directory{tiny_hf_config(), tiny_hf_tokenizer(), {}};
  std::vector<FileTensor> tensors = {{"wte.weight", {kTinyVocabulary, s.width}},
                                     {"wpe.weight", {s.context, s.width}}};
  for (size_t layer = 0; layer < kTinyLayers; ++layer) {
    for (auto& tensor : hf_layer_tensors(layer)) tensors.push_back(std::move(tensor));
  }
  tensors.push_back({"ln_f.weight", {s.width}});
  tensors.push_back({"ln_f.bias", {s.width}});
  for (auto& tensor : tensors) directory.tensors.push_back({std::move(tensor), "F32"});
  return directory;
}

// Reads models out of a temporary directory.
class Models : public testing::Test {
 protected:
  Model read(const GgufFile& file, const std::string& name = "tiny.gguf") const {
    return read_model(directory_.write(name, file.bytes()));
  }
  Model read(const HfDirectory& hf) const {
    hf.write(directory_);
    return read_model(directory_.path());
  }

  TemporaryDirectory directory_;
};

}  // namespace isogloss
