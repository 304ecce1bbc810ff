// Models: hyper-parameters, vocabulary and weights of a decoder, read from a GGUF file or a Hugging
// Face directory. Both are untrusted input; a Model that exists is consistent with the table of
// tensor roles (tensor_roles.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "isogloss/base/file.h"
#include "isogloss/model/tensor_roles.h"
#include "isogloss/tokens/tokens.h"

namespace isogloss {

// How a tensor's numbers are stored. The values are GGUF's type ids, and every type that ggml knows
// is meant, whether it is named here or not.
enum class TensorType : int32_t { kF32 = 0, kF16 = 1, kI32 = 26, kI64 = 27, kBf16 = 30 };

struct TensorTypeInfo {
  std::string name;       // ggml's, lower case: "q4_k"
  size_t block_size = 0;  // numbers in a block; a row holds whole blocks
  size_t block_bytes = 0;
  bool quantized = false;
};

// Of a type ggml can decode; nullopt for an id that it cannot (removed, unknown, integer).
std::optional<TensorTypeInfo> find_tensor_type_info(TensorType type);
TensorTypeInfo get_tensor_type_info(TensorType type);  // as above; asserts that it is there
// By ggml's name, case ignored.
std::optional<TensorType> find_tensor_type(std::string_view name);

enum class NormKind { kLayerNorm, kRmsNorm };
enum class Activation { kGelu, kGeluTanh, kRelu, kSilu };

// How a token learns its place, beside rotary embedding: rows of a table or of a sinusoid added to
// its embedding, or a bias of the attention scores that grows with distance (ALiBi).
enum class Positions { kNone, kLearned, kSinusoidal, kAlibi };

// How rotary embedding pairs the numbers of a head: GGUF files of the Llama family keep the rows of
// q and k permuted so that neighbours rotate together; other families pair the two halves.
enum class RopePairs { kNeighbours, kHalves };

// How rotary frequencies are stretched for long contexts. kFactors: each is divided by its number
// (Llama 3); kLongRope: by one of two lists of numbers, chosen by the sequence's length (Phi-3).
enum class RopeScaling { kNone, kLinear, kYarn, kFactors, kLongRope };

struct RopeConfig {
  RopePairs pairs = RopePairs::kHalves;
  size_t dims = 0;  // numbers of a head that rotate, the first ones; 0: no rotary embedding
  float base = 10000;
  RopeScaling scaling = RopeScaling::kNone;
  float factor = 1;            // kLinear, kYarn: by how much the context grew
  size_t original_length = 0;  // kYarn, kLongRope: the context before it grew
  float beta_fast = 32;        // kYarn: frequencies above stay, below beta_slow are divided
  float beta_slow = 1;
  float attention_factor = 1;       // kYarn, kLongRope: what cosine and sine are multiplied by
  std::vector<float> factors;       // kFactors; kLongRope: of sequences up to original_length
  std::vector<float> long_factors;  // kLongRope: of longer ones

  bool operator==(const RopeConfig&) const = default;
};

// Radians a position, for each of the dims / 2 pairs, in a sequence of `length` tokens.
std::vector<double> rotary_frequencies(const RopeConfig& rope, size_t length);

// What differs from layer to layer.
struct LayerConfig {
  size_t window = 0;           // positions it sees, its own included; 0: all before it
  bool rope = true;            // whether it rotates, where the model does
  bool windowed_rope = false;  // whether by ModelConfig::windowed_rope
};

// Everything the forward pass needs to know, whatever family it is.
struct ModelConfig {
  Family family = Family::kGpt2;
  std::string name;
  RoleSet roles{};             // tensors that the model has
  size_t width = 0;            // of the residual stream
  size_t embedding_width = 0;  // of token embeddings and head; differs where a projection follows
  size_t heads = 0;
  size_t kv_heads = 0;
  size_t head_dim = 0;
  size_t ffn_width = 0;
  size_t vocab_size = 0;
  size_t context_length = 0;
  size_t layers = 0;
  std::vector<LayerConfig> layer_configs;  // [layers]
  NormKind norm = NormKind::kLayerNorm;
  float norm_epsilon = 0;
  bool norm_per_head = false;  // norms of q and k have weights for each head, not for all
  Activation activation = Activation::kGeluTanh;
  Positions positions = Positions::kNone;
  size_t position_offset = 0;  // place 0 is this row of the table, or of the sinusoid
  RopeConfig rope, windowed_rope;
  float attention_scale = 0;     // of q.k before softmax
  float attention_softcap = 0;   // scores = cap * tanh(scores / cap); 0: none
  float embedding_scale = 1;     // of token embeddings
  float residual_scale = 1;      // of what a half-block adds to the stream
  float logit_scale = 1;         // logits are multiplied by it
  float logit_softcap = 0;       // logits = cap * tanh(logits / cap); 0: none
  bool parallel_blocks = false;  // the MLP reads what the attention read, not what it wrote
  bool norm_after = false;       // a half-block's norm follows its residual addition
  bool tied_head = false;        // the head is the token embedding

  // How `layer` rotates; nullptr: not at all.
  const RopeConfig* layer_rope(size_t layer) const;
};

// What every model of the family has in common, other fields as they are by default.
ModelConfig family_defaults(Family family);

inline constexpr size_t kNoLayer = static_cast<size_t>(-1);

// How the numbers of a tensor lie: row after row; column after column (GPT-2's Conv1D); or q, k and
// v of the first head, then of the second (BLOOM, GPT-NeoX), where our order is q of all heads,
// then k, then v.
enum class StorageOrder { kRows, kColumns, kQkvByHead };

// A matrix as codes with scales, which the directories of other quantizers hold (packed_impl.h).
struct PackedMatrix;

// A weight as it lies in its file. Does not own; lives as long as its Model.
struct TensorView {
  Role role = Role::kTokenEmbedding;
  size_t layer = kNoLayer;
  std::string name;     // GGUF's: "blk.3.ffn_down.weight"
  std::string hf_name;  // Hugging Face's: "transformer.h.3.mlp.c_proj.weight"
  size_t rows = 0;      // outputs; 1 for vectors
  size_t cols = 0;      // inputs: what a product sums over
  TensorType type = TensorType::kF32;
  StorageOrder order = StorageOrder::kRows;  // other ones only for unquantized types
  size_t head_dim = 0;                       // kQkvByHead: rows of one head's q
  float offset = 0;  // added to each stored number: Gemma's directories hold norms less one
  std::span<const std::byte> bytes;
  // Codes and scales in place of `bytes`, which is empty then; `type` is that of the scales.
  std::shared_ptr<const PackedMatrix> packed = nullptr;
  size_t packed_first = 0;  // of its rows

  size_t count() const { return rows * cols; }
  uint64_t size_bytes() const;    // in its file, of all that stands for it
  std::string type_name() const;  // "f16", "q4_k", "int4 g128"
};

// The numbers of a tensor as float, row-major [rows][cols] whatever way they are stored; `out` has
// tensor.count() places. Throws Error(kNotFinite) that names the tensor and the first place.
void decode(const TensorView& tensor, std::span<float> out);

// Some rows of a tensor that lies row after row.
TensorView rows_of(const TensorView& tensor, size_t first, size_t count);

// Whether a tensor's bytes in its file are those of `type`, row-major and as it is computed with.
// They may begin anywhere.
bool lies_as(const TensorView& tensor, TensorType type);

// What decode() throws, of a tensor that lies as F32, F16 or BF16.
void check_finite(const TensorView& tensor);

class Model {
 public:
  // `tensors` in order of the table of roles, layer by layer; `files` keep their bytes alive.
  Model(std::filesystem::path path, ModelConfig config, Vocabulary vocabulary,
        std::vector<TensorView> tensors, std::vector<std::shared_ptr<const MappedFile>> files);

  const std::filesystem::path& path() const { return path_; }
  const ModelConfig& config() const { return config_; }
  const Vocabulary& vocabulary() const { return vocabulary_; }
  std::span<const TensorView> tensors() const { return tensors_; }

  // Lets the system take back the memory in which a tensor's bytes were read.
  void forget(const TensorView& tensor) const;

  // The files that it was read from: one GGUF file, or those of a directory that are used.
  std::vector<std::filesystem::path> source_files() const;

  // Index into tensors(); nullopt when the model has none of that role.
  std::optional<size_t> find_tensor(Role role, size_t layer = kNoLayer) const;

  // Names of the quantized types among the weight matrices of the blocks, with the bits per weight
  // they come to ("5.5 bit: q5_0, q4_k, ..."); "" when the blocks are unquantized. Such a model is
  // a reference that has lost something already.
  std::string quantized_blocks() const;

 private:
  std::filesystem::path path_;
  ModelConfig config_;
  Vocabulary vocabulary_;
  std::vector<TensorView> tensors_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::vector<size_t> index_;  // [layer + 1][role] -> tensor, or kNoLayer
};

// Reads a GGUF file, or a Hugging Face directory (config.json, model.safetensors or its shards with
// model.safetensors.index.json, tokenizer.json). A directory's matrices may be integer codes in the
// layouts "pack-quantized" of compressed-tensors (4 and 8 bits) and GPTQ's, versions 1 and 2 (2, 3,
// 4 and 8 bits): such a matrix decodes to the floats (code - zero point) * scale.
// Throws Error for anything that is missing, contradictory, beyond the file's end or not known;
// the message names the file, the object, what was found and what was expected.
Model read_model(const std::filesystem::path& path);

// A key of a GGUF file, and its value as it lies there: the type (u32), then the bytes.
struct GgufPair {
  std::string key, value;
};

// All of a GGUF file's, in its order. Throws as read_model.
std::vector<GgufPair> read_gguf_pairs(const std::filesystem::path& path);

// Throws Error(kMismatch) unless both have the same family, sizes and tokens, so that the same
// token ids may be scored by both.
void check_same_model(const Model& reference, const Model& candidate);

// A set of tensors, as a mask over model.tensors().
using TensorSet = std::vector<bool>;

// Tensors named by a unit set, a sum of units: "L0", "L0.attn", "L11.mlp", "embeddings", "head",
// "biases", "norms", a GGUF tensor name with or without ".weight" ("blk.3.ffn_down"), or
// "random:N@SEED" (N whole layers drawn without replacement). L0 is all of a layer: matrices, norms
// and biases. With a tied head, "head" and "embeddings" both contain the shared tensor.
// Throws Error(kBadArgument) for a unit that names nothing, with near matches.
TensorSet select_tensors(const Model& model, std::string_view unit_set);

}  // namespace isogloss
