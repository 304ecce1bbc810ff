#include <ggml-backend.h>

#include "isogloss/base/error.h"
#include "isogloss/forward/graph_impl.h"

namespace isogloss {
namespace {

constexpr size_t kGraphNodes = 128;  // a half-block takes about 30

ggml_context* new_context() {
  const size_t bytes = kGraphNodes * ggml_tensor_overhead() +
                       ggml_graph_overhead_custom(kGraphNodes, /*grads=*/false);
  return ggml_init({bytes, nullptr, /*no_alloc=*/true});
}

}  // namespace

Graph::Graph(const Variant& variant, WeightCache& cache)
    : variant_(variant),
      cache_(cache),
      norm_{config().norm, config().norm_epsilon},
      context_(new_context()) {}

ggml_tensor* Graph::external(void* data, TensorType type, size_t cols, size_t rows) {
  ggml_tensor* tensor = ggml_new_tensor_2d(context(), static_cast<ggml_type>(type),
                                           static_cast<int64_t>(cols), static_cast<int64_t>(rows));
  tensor->data = data;
  return tensor;
}

ggml_tensor* Graph::find_weight(Role role, size_t layer) {
  if (!cache_.has(variant_, role, layer)) return nullptr;
  const Weight weight = cache_.get(variant_, role, layer);
  used_.push_back(weight.buffer);
  return external(const_cast<std::byte*>(weight.data), weight.type, weight.cols, weight.rows);
}

ggml_tensor* Graph::weight(Role role, size_t layer) {
  ggml_tensor* tensor = find_weight(role, layer);
  ISOGLOSS_ASSERT(tensor != nullptr);
  return tensor;
}

ggml_tensor* Graph::norm_by(Role scale, Role bias, ggml_tensor* input, size_t layer) {
  ggml_tensor* weights = find_weight(scale, layer);
  if (!weights) return input;
  return normalize(context(), input, weights, bias == scale ? nullptr : find_weight(bias, layer),
                   norm_);
}

ggml_tensor* Graph::multiply(Role role, ggml_tensor* matrix, ggml_tensor* input, ggml_tensor* bias,
                             size_t layer) {
  if (variant_.rounding == Rounding::kLlama) {
    const size_t index = *variant_.model->find_tensor(role, layer);
    input = round_as_read(context(), input, variant_.model->tensors()[index].type);
  }
  return linear(context(), matrix, input, bias, cache_.compute());
}

ggml_tensor* Graph::linear_by(Role matrix, Role bias, ggml_tensor* input, size_t layer) {
  products_.push_back({matrix, input});
  return multiply(matrix, weight(matrix, layer), input,
                  bias == matrix ? nullptr : find_weight(bias, layer), layer);
}

ggml_tensor* Graph::scale(ggml_tensor* input, float factor) {
  return factor == 1 ? input : ggml_scale(context(), input, factor);
}

ggml_tensor* Graph::activate(ggml_tensor* gate, ggml_tensor* up) {
  return isogloss::activate(
      context(), config().activation, gate, up,
      variant_.rounding == Rounding::kNone ? Values::kExact : Values::kAsLlama);
}

ggml_tensor* Graph::round_for_attention(ggml_tensor* input) {
  if (variant_.rounding != Rounding::kLlama) return input;
  return round_as_read(context(), input, TensorType::kF16);
}

void Graph::compute(Device::Impl& device, ggml_gallocr* allocator, ggml_tensor* result,
                    float* out) {
  if (out) result->data = out;
  ggml_cgraph* graph = ggml_new_graph_custom(context(), kGraphNodes, /*grads=*/false);
  ggml_build_forward_expand(graph, result);
  // A layout made for a graph of this shape would be taken again, and gives inputs away once read.
  if (keeps_inputs_) ISOGLOSS_ASSERT(ggml_gallocr_reserve(allocator, graph));
  ISOGLOSS_ASSERT(ggml_gallocr_alloc_graph(allocator, graph));
  const ggml_status status = ggml_backend_graph_compute(device.backend, graph);
  if (status == GGML_STATUS_ALLOC_FAILED) throw std::bad_alloc();
  ISOGLOSS_ASSERT(status == GGML_STATUS_SUCCESS);
}

void Graph::keep_inputs() {
  for (const Product& product : products_) ggml_set_output(product.input);
  keeps_inputs_ = true;
}

void Graph::show(const Product& product, const ProductObserver& observer) {
  const ggml_tensor* input = product.input;
  ISOGLOSS_ASSERT(ggml_is_contiguous(input));
  const auto* numbers = static_cast<const float*>(input->data);
  observer({product.role,
            static_cast<size_t>(input->ne[0]),
            {numbers, static_cast<size_t>(ggml_nelements(input))}});
}

void Graph::show_inputs(const ProductObserver& observer) const {
  for (const Product& product : products_) show(product, observer);
}

void Graph::show_first_inputs(const ProductObserver& observer) const {
  for (const Product& product : products_) {
    if (product.input == products_.front().input) show(product, observer);
  }
}

}  // namespace isogloss
