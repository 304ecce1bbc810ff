// Products over weights by oneDNN, as an operation inside ggml's graph: each of ggml's threads runs
// one-thread primitives over its own rows, so that there is one pool of threads. Weights are used
// as they lie, row-major, without a second copy.
#include <omp.h>

#include <dnnl.hpp>
#include <map>
#include <mutex>
#include <tuple>
#include <vector>

#include "isogloss/base/error.h"
#include "isogloss/device/device_impl.h"

namespace isogloss {
namespace {

using DataType = dnnl::memory::data_type;

// Rows are taken in blocks of these sizes, so that few primitives serve every number of rows; 256
// rows of input and output stay in the second-level cache.
constexpr int64_t kMostRows = 256;

struct Product {
  dnnl::matmul primitive;
  dnnl::memory::desc source, weights, bias, destination, scratchpad;
};

struct ProductShape {
  DataType type;
  int64_t rows, outputs, inputs;
  bool bias;

  auto operator<=>(const ProductShape&) const = default;
};

dnnl::engine& cpu_engine() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

Product make_product(const ProductShape& shape) {
  using dnnl::memory;
  using Tag = memory::format_tag;
  Product product;
  product.source = {{shape.rows, shape.inputs}, shape.type, Tag::ab};
  product.weights = {{shape.inputs, shape.outputs}, shape.type, Tag::ba};  // rows of inputs
  product.bias = {{1, shape.outputs}, DataType::f32, Tag::ab};
  product.destination = {{shape.rows, shape.outputs}, DataType::f32, Tag::ab};
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::matmul::desc descriptor =
      shape.bias
          ? dnnl::matmul::desc(product.source, product.weights, product.bias, product.destination)
          : dnnl::matmul::desc(product.source, product.weights, product.destination);
  const dnnl::matmul::primitive_desc chosen(descriptor, attributes, cpu_engine());
  product.scratchpad = chosen.scratchpad_desc();
  product.primitive = dnnl::matmul(chosen);
  return product;
}

// A primitive is made for as many threads as OpenMP would give it at that moment.
class OneThread {
 public:
  OneThread() : threads_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(threads_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int threads_;
};

// Made once for each shape and kept: there are few.
const Product& get_product(const ProductShape& shape) {
  static std::mutex mutex;
  static std::map<ProductShape, Product> products;
  const std::lock_guard lock(mutex);
  const auto found = products.find(shape);
  if (found != products.end()) return found->second;
  const OneThread one_thread;
  return products.emplace(shape, make_product(shape)).first->second;
}

bool computes_bf16() {
  static const bool computes = [] {
    try {
      get_product({DataType::bf16, kMostRows, 64, 64, /*bias=*/true});
      return true;
    } catch (const dnnl::error&) {
      return false;
    }
  }();
  return computes;
}

// Memory of one thread, kept between calls.
class Scratch {
 public:
  void* get(size_t bytes) {
    constexpr size_t kAlignment = 64;
    if (bytes + kAlignment > memory_.size()) memory_.resize(bytes + kAlignment);
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    return reinterpret_cast<void*>((address + kAlignment - 1) / kAlignment * kAlignment);
  }

 private:
  std::vector<std::byte> memory_;
};

void multiply_rows(const ggml_tensor* result, int64_t first, int64_t rows) {
  thread_local Scratch narrowed, scratchpad;
  thread_local dnnl::stream stream(cpu_engine());
  const ggml_tensor* matrix = result->src[0];
  const ggml_tensor* input = result->src[1];
  const ggml_tensor* bias = result->src[2];
  const bool bf16 = matrix->type == GGML_TYPE_BF16;
  const Product& product = get_product(
      {bf16 ? DataType::bf16 : DataType::f32, rows, matrix->ne[1], matrix->ne[0], bias != nullptr});
  void* source = static_cast<char*>(input->data) + static_cast<size_t>(first) * input->nb[1];
  if (bf16) {
    const int64_t count = rows * matrix->ne[0];
    void* narrow = narrowed.get(static_cast<size_t>(count) * sizeof(ggml_bf16_t));
    ggml_fp32_to_bf16_row(static_cast<const float*>(source), static_cast<ggml_bf16_t*>(narrow),
                          count);
    source = narrow;
  }
  void* destination = static_cast<char*>(result->data) + static_cast<size_t>(first) * result->nb[1];
  const dnnl::engine& engine = cpu_engine();
  std::unordered_map<int, dnnl::memory> arguments = {
      {DNNL_ARG_SRC, {product.source, engine, source}},
      {DNNL_ARG_WEIGHTS, {product.weights, engine, matrix->data}},
      {DNNL_ARG_DST, {product.destination, engine, destination}},
      {DNNL_ARG_SCRATCHPAD,
       {product.scratchpad, engine, scratchpad.get(product.scratchpad.get_size())}}};
  if (bias) arguments.emplace(DNNL_ARG_BIAS, dnnl::memory(product.bias, engine, bias->data));
  product.primitive.execute(stream, arguments);
  stream.wait();
}

void linear_op(ggml_tensor* result, int thread, int threads, void*) {
  const int64_t rows = result->ne[1];
  int64_t first = rows * thread / threads;
  const int64_t last = rows * (thread + 1) / threads;
  for (int64_t block = kMostRows; block > 0; block /= 2) {
    for (; last - first >= block; first += block) multiply_rows(result, first, block);
  }
}

}  // namespace

ggml_tensor* onednn_linear(ggml_context* context, ggml_tensor* matrix, ggml_tensor* input,
                           ggml_tensor* bias) {
  if (matrix->type == GGML_TYPE_BF16 && !computes_bf16()) return nullptr;
  ISOGLOSS_ASSERT(ggml_is_contiguous(matrix) && ggml_is_contiguous(input));
  ISOGLOSS_ASSERT(input->type == GGML_TYPE_F32 && matrix->ne[0] == input->ne[0]);
  ggml_tensor* inputs[] = {matrix, input, bias};
  return ggml_custom_4d(context, GGML_TYPE_F32, matrix->ne[1], input->ne[1], 1, 1, inputs,
                        bias ? 3 : 2, linear_op, GGML_N_TASKS_MAX, nullptr);
}

}  // namespace isogloss
