// ggml graphs under construction.
#pragma once

#include <ggml-alloc.h>
#include <ggml.h>

#include <memory>
#include <vector>

#include "isogloss/device/device_impl.h"
#include "isogloss/forward/forward.h"
#include "isogloss/forward/weights_impl.h"

namespace isogloss {

struct ContextDeleter {
  void operator()(ggml_context* context) const { ggml_free(context); }
};

// One graph: tensors over memory of others, and the nodes between them. Lives until it was
// computed, and keeps the weights it uses alive until then.
class Graph {
 public:
  Graph(const Variant& variant, WeightCache& cache);

  ggml_context* context() { return context_.get(); }
  const ModelConfig& config() const { return variant_.model->config(); }

  ggml_tensor* external(void* data, TensorType type, size_t cols, size_t rows);

  // nullptr when the model has no tensor of that role.
  ggml_tensor* find_weight(Role role, size_t layer = kNoLayer);
  ggml_tensor* weight(Role role, size_t layer = kNoLayer);  // asserts that it is there

  // The model's norm by the weights of two roles, over as many numbers as a row of the first has;
  // `input` itself when the model has none of it. A role that is no bias, twice, stands for a norm
  // without one.
  ggml_tensor* norm_by(Role scale, Role bias, ggml_tensor* input, size_t layer = kNoLayer);
  // matrix * input + bias; `matrix` is the weight of `role` or rows of it, `bias` may be null.
  ggml_tensor* multiply(Role role, ggml_tensor* matrix, ggml_tensor* input, ggml_tensor* bias,
                        size_t layer = kNoLayer);
  // A product over the weight of one role, with the bias of the other where there is one; the same
  // role twice stands for none.
  ggml_tensor* linear_by(Role matrix, Role bias, ggml_tensor* input, size_t layer = kNoLayer);
  ggml_tensor* scale(ggml_tensor* input, float factor);  // `input` itself by 1
  // The family's activation of `gate`, times `up` where that is not null.
  ggml_tensor* activate(ggml_tensor* gate, ggml_tensor* up);
  // What attention reads: queries, keys and values.
  ggml_tensor* round_for_attention(ggml_tensor* input);

  // Computes `result`, into `out` where that is not null.
  void compute(Device::Impl& device, ggml_gallocr* allocator, ggml_tensor* result, float* out);

  // What the products of linear_by() read, of which the last depends on all others. Kept, they can
  // be shown once they were computed: all, or those that read the same as the first.
  void keep_inputs();
  ggml_tensor* first_input() { return products_.front().input; }
  ggml_tensor* last_input() { return products_.back().input; }
  void show_inputs(const ProductObserver& observer) const;
  void show_first_inputs(const ProductObserver& observer) const;

 private:
  struct Product {
    Role role;
    ggml_tensor* input;
  };

  static void show(const Product& product, const ProductObserver& observer);

  const Variant& variant_;
  WeightCache& cache_;
  NormShape norm_;
  std::unique_ptr<ggml_context, ContextDeleter> context_;
  std::vector<std::shared_ptr<const AlignedBuffer>> used_;
  std::vector<Product> products_;
  bool keeps_inputs_ = false;
};

// Places that a table of rotations has rows for.
struct RotationLengths {
  size_t most = 0;       // of sequences that fit the rotation's first context
  size_t most_long = 0;  // of longer ones, which have frequencies of their own (LongRoPE)

  bool operator==(const RotationLengths&) const = default;
};

// Cosines and sines by place: rows for `most` places, then for `most_long`.
struct RotationTable {
  RopeConfig rope;
  RotationLengths lengths;
  std::vector<float> numbers;  // [row][dims]: cosine and sine of each pair in turn
};

// Tables made so far, by rotation and lengths: they are the same for most layers and all variants.
class RotationCache {
 public:
  // One that has every place of the batch. Valid until the next get().
  const RotationTable& get(const RopeConfig& rope, const Batch& batch);

 private:
  std::vector<RotationTable> tables_;
};

// Each token's row of the table.
std::vector<int32_t> rotation_rows(const RotationTable& table, const Batch& batch);

// The place of each token in its own sequence.
std::vector<int32_t> sequence_places(const Batch& batch);

// What each head's score loses a position of distance (Press et al. 2022, "ALiBi"; for head counts
// that are no power of two, as their code and BLOOM's): empty where the model has no such bias.
std::vector<float> alibi_slopes(const ModelConfig& config);

// Row `place` of the sinusoid (tensor2tensor's: sines, then cosines), added to `row`.
void add_sinusoid(size_t place, std::span<float> row);

// What a half-block adds to the stream; `input` is what it reads: [width, tokens].
// Their last products, over what they read, are by attention_output() and mlp_output().
ggml_tensor* attention_branch(Graph& graph, ggml_tensor* input, const RotationShape* rotation,
                              const AttentionShape& shape, size_t layer);
ggml_tensor* mlp_branch(Graph& graph, ggml_tensor* input, size_t layer);
ggml_tensor* attention_output(Graph& graph, ggml_tensor* mixed, size_t layer);
ggml_tensor* mlp_output(Graph& graph, ggml_tensor* inner, size_t layer);

}  // namespace isogloss
