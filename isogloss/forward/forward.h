// Forward: a decoder computed half a block at a time. The hidden states between halves are plain
// values that can be kept, shared, replaced and compared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "isogloss/device/device.h"
#include "isogloss/quantize/quantize.h"

namespace isogloss {

// Sequences of different length packed end to end: products see one matrix of all their tokens,
// attention sees each alone. Packing changes no number but rounding.
struct Batch {
  std::vector<int32_t> tokens;
  std::vector<size_t> starts = {0};  // [sequences + 1]: sequence s is tokens starts[s]..starts[s+1]

  void append(std::span<const int32_t> sequence);
  size_t size() const { return tokens.size(); }
};

// The residual stream: one row of `width` floats a token. Rows are 64-byte aligned when the width
// is a multiple of 16; the first always is.
class HiddenStates {
 public:
  HiddenStates() = default;
  HiddenStates(size_t tokens, size_t width);
  HiddenStates(const HiddenStates& other);
  HiddenStates& operator=(const HiddenStates& other);
  HiddenStates(HiddenStates&&) noexcept = default;
  HiddenStates& operator=(HiddenStates&&) noexcept = default;

  size_t tokens() const { return tokens_; }
  size_t width() const { return width_; }
  float* data() { return data_.get(); }
  std::span<float> row(size_t token) { return {data_.get() + token * width_, width_}; }
  std::span<const float> row(size_t token) const { return {data_.get() + token * width_, width_}; }

  // Between the halves of a parallel block: what its attention read, which its MLP is to read too.
  // A copy carries it along. nullptr elsewhere.
  float* block_input() { return block_input_.get(); }
  void keep_block_input();  // a copy of the rows as they are
  void drop_block_input() { block_input_.reset(); }

 private:
  struct Free {
    void operator()(float* data) const;
  };
  using Rows = std::unique_ptr<float[], Free>;

  static Rows allocate(size_t numbers);

  size_t tokens_ = 0, width_ = 0;
  Rows data_, block_input_;
};

// Numbers to compute with instead of a tensor's own, row-major, by its index in the model.
using TensorOverrides = std::map<size_t, std::shared_ptr<const std::vector<float>>>;

// What a pass rounds beside weights: nothing; or what llama.cpp does on the CPU, of a file of F32
// with keys and values in F32 (GELU by tanh, through F16); or what it does by default (that, what a
// product reads as beside weights of the tensor's type in the file, and queries, keys and values to
// F16).
enum class Rounding { kNone, kLlamaF32, kLlama };

// The weights that a pass uses: a model, each tensor in its scheme, or as overridden; and what it
// rounds. Does not own.
struct Variant {
  const Model* model = nullptr;
  const Assignment* assignment = nullptr;
  const TensorOverrides* overrides = nullptr;
  Rounding rounding = Rounding::kNone;
};

// What a product over the weight of `role` reads: a row for each token of the batch.
struct ProductInput {
  Role role = Role::kQuery;
  size_t cols = 0;
  std::span<const float> rows;  // [tokens][cols]; products that read the same have the same span
};
// Is called for each product of a half-block in order, after they were computed.
using ProductObserver = std::function<void(const ProductInput&)>;

// Tokens first .. first + count.
struct VocabularySlice {
  size_t first = 0, count = 0;
};

struct EngineOptions {
  ComputeType compute = ComputeType::kF32;
  uint64_t weight_memory = 0;  // bytes of decoded weights to keep for reuse; 0: what is in use only
};

// What the weights of a model take once they are decoded.
uint64_t decoded_bytes(const Model& model, ComputeType compute);

// Computes any variant of one architecture. Weights are decoded, and quantized, when they are
// needed, kept while the memory allows, and shared by the variants that agree on them. Overridden
// ones are not kept.
class Engine {
 public:
  Engine(Device& device, const EngineOptions& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Token embeddings, projected, scaled, normed and with positions added where the family does so.
  // No sequence of the batch is longer than the model's context.
  HiddenStates embed(const Variant& variant, const Batch& batch);

  // Half-blocks are numbered in order: 2 * layer is its attention, 2 * layer + 1 its MLP, each with
  // its norms and residual addition. Replaces `hidden`, a row for each token of `batch`.
  static size_t halves(const Model& model) { return 2 * model.config().layers; }
  // `observer`, where there is one, is shown what its products read.
  void run_half(const Variant& variant, size_t half, const Batch& batch, HiddenStates& hidden,
                const ProductObserver& observer = nullptr);

  // Shows what the products of a half-block read, and computes no further than that: `hidden` stays
  // as it is.
  void observe_half(const Variant& variant, size_t half, const Batch& batch, HiddenStates& hidden,
                    const ProductObserver& observer);

  // A half-block in steps, for weights that change between them. First, what the products show that
  // read its own input, normed; then what its last product reads, [tokens][cols]; `hidden` stays as
  // it is. Then the last product over that, and all that follows, into `hidden`, as run_half().
  void observe_first(const Variant& variant, size_t half, const Batch& batch, HiddenStates& hidden,
                     const ProductObserver& observer);
  HiddenStates run_to_last_product(const Variant& variant, size_t half, const Batch& batch,
                                   HiddenStates& hidden);
  void run_last_product(const Variant& variant, size_t half, HiddenStates& input,
                        HiddenStates& hidden);

  // What the head multiplies: each row of `hidden` normed, projected and scaled as the family does.
  HiddenStates head_input(const Variant& variant, HiddenStates& hidden);

  // For each row of head_input(), the logits of a slice of the vocabulary, into `logits`
  // (row-major, 32-byte aligned, input.tokens() * slice.count places).
  void run_head(const Variant& variant, HiddenStates& input, VocabularySlice slice,
                std::span<float> logits);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// embed and every half.
HiddenStates run_blocks(Engine& engine, const Variant& variant, const Batch& batch);

// head_input and run_head of the whole vocabulary: hidden.tokens() * vocab_size logits.
void run_head(Engine& engine, const Variant& variant, HiddenStates& hidden,
              std::span<float> logits);

}  // namespace isogloss
