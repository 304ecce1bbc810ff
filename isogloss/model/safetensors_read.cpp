// safetensors: u64 length of a JSON header, the header {"name": {"dtype", "shape", "data_offsets":
// [begin, end]}, "__metadata__": {..}}, then the data, row-major, offsets counted from its start. A
// model is one such file, or several and an index {"weight_map": {"tensor name": "file name"}}.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "isogloss/base/error.h"
#include "isogloss/base/json.h"
#include "isogloss/model/model_impl.h"

namespace isogloss {
namespace {

struct Dtype {
  std::string_view name;
  TensorType type;
  uint64_t bytes;
  bool integer = false;
};

// Integers are parts of packed matrices (packed_read.cpp).
constexpr Dtype kDtypes[] = {{"F32", TensorType::kF32, 4},
                             {"F16", TensorType::kF16, 2},
                             {"BF16", TensorType::kBf16, 2},
                             {"I32", TensorType::kI32, 4, true},
                             {"I64", TensorType::kI64, 8, true}};

// `entry` is named by file and tensor.
StoredTensor read_entry(const JsonObject& entry, std::span<const std::byte> data, bool quantized) {
  const std::string& object = entry.path();
  StoredTensor tensor;
  const auto dtype = entry.get_string("dtype");
  const auto* const known = std::ranges::find(kDtypes, dtype, &Dtype::name);
  const bool is_read = known != std::end(kDtypes) && (quantized || !known->integer);
  constexpr size_t kMostShown = 16;
  if (!is_read) {
    fail(ErrorCode::kUnsupported,
         "{}: has dtype {}; read are F32, F16 and BF16 (is the directory quantized already?)",
         object, dtype.substr(0, kMostShown));
  }
  tensor.type = known->type;
  tensor.shape = entry.get_sizes("shape");
  uint64_t bytes = known->bytes;
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

// What old checkpoints store as if it were a weight: causal masks, frequencies, sinusoids.
bool is_constant(std::string_view name) {
  for (const std::string_view suffix :
       {".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias",
        ".rotary_emb.inv_freq", "embed_positions.weights"}) {
    if (name.ends_with(suffix)) return true;
  }
  return false;
}

// Names of tensors by the file they are in. Throws for a map that leads out of the directory.
std::map<std::string, std::set<std::string>> read_index(const std::filesystem::path& path) {
  const auto index = JsonObject::parse(read_text_file(path), path.string());
  const auto map = index.get_object("weight_map");
  std::map<std::string, std::set<std::string>> files;
  for (const auto& [tensor, file] : map.value().items()) {
    const std::string name = map.get_string(tensor.c_str());
    const bool plain = !name.empty() && name != "." && name != ".." &&
                       name.find_first_of(std::string("/\\\0", 3)) == name.npos;
    if (!plain) {
      fail(ErrorCode::kCorrupt,
           "{}: tensor '{}' is said to be in {}; expected the name of a file beside the index",
           path.string(), tensor, shorten(file));
    }
    files[name].insert(tensor);
  }
  if (files.empty()) fail(ErrorCode::kCorrupt, "{}: lists no tensors", path.string());
  return files;
}

void check_shard(const std::filesystem::path& path, const StoredTensors& found,
                 const std::set<std::string>& listed) {
  for (const std::string& name : listed) {
    if (found.contains(name) || is_constant(name)) continue;
    fail(ErrorCode::kCorrupt,
         "{}: tensor '{}' is not there; the index says it is (a shard of another model?)",
         path.string(), name);
  }
  for (const auto& [name, tensor] : found) {
    if (listed.contains(name)) continue;
    fail(ErrorCode::kCorrupt, "{}: holds tensor '{}', which the index does not list here",
         path.string(), name);
  }
}

}  // namespace

StoredTensors read_safetensors(const MappedFile& file, bool quantized) {
  const std::string path = file.path().string();
  ByteReader reader(file.bytes(), path);
  const auto length = reader.read<uint64_t>("header length");
  const auto text = reader.take(length, "header");
  const auto header = JsonObject::parse({reinterpret_cast<const char*>(text.data()), text.size()},
                                        path + " header");
  const auto data = reader.take(reader.remaining(), "tensor data");
  StoredTensors tensors;
  for (const auto& [name, entry] : header.value().items()) {
    if (name == "__metadata__" || is_constant(name)) continue;
    const JsonObject described(entry, fmt::format("{}: tensor '{}'", path, name));
    tensors.emplace(name, read_entry(described, data, quantized));
  }
  return tensors;
}

HfWeights read_hf_weights(const std::filesystem::path& directory, bool quantized) {
  HfWeights weights;
  const auto whole = directory / "model.safetensors";
  const auto index = directory / "model.safetensors.index.json";
  std::error_code unreadable;  // is reported when the path is opened
  if (std::filesystem::exists(whole, unreadable) || !std::filesystem::exists(index, unreadable)) {
    weights.origin = whole.string();
    weights.files.push_back(MappedFile::open(whole));
    weights.tensors = read_safetensors(*weights.files.front(), quantized);
    return weights;
  }
  weights.origin = index.string();
  for (const auto& [name, listed] : read_index(index)) {
    const auto path = directory / name;
    if (!std::filesystem::exists(path, unreadable)) {
      fail(ErrorCode::kNotFound, "{}: shard '{}' is missing; it holds {} tensors, '{}' among them",
           index.string(), name, listed.size(), *listed.begin());
    }
    weights.files.push_back(MappedFile::open(path));
    StoredTensors found = read_safetensors(*weights.files.back(), quantized);
    check_shard(path, found, listed);
    weights.tensors.merge(found);
  }
  return weights;
}

}  // namespace isogloss
