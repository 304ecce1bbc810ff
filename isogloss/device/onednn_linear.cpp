// Products over weights by oneDNN, as an operation inside ggml's graph: each of ggml's threads runs
// one-thread primitives over its own part of the result, so that there is one pool of threads.
// Weights are used as they lie, row-major, without a second copy.
#include <omp.h>

#include <dnnl.hpp>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "isogloss/base/error.h"
#include "isogloss/base/half.h"
#include "isogloss/device/device_impl.h"

namespace isogloss {
namespace {

using DataType = dnnl::memory::data_type;

// A primitive packs its part of the weights anew, which costs as much as ten rows of the product
// do: rows are taken in blocks of at most kMostRows. Blocks of fewer are multiples of kRowStep, so
// that few primitives serve every number of rows.
constexpr size_t kMostRows = 1024;
constexpr size_t kRowStep = 64;
constexpr size_t kOutputStep = 64;  // parts of a row begin at whole cache lines

struct Product {
  dnnl::matmul primitive;
  dnnl::memory::desc source, weights, bias, destination, scratchpad;
};

struct ProductShape {
  DataType type;
  int64_t rows, outputs, inputs;
  int64_t stride;  // outputs of a whole row of the result
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
  product.destination = {{shape.rows, shape.outputs}, DataType::f32, {shape.stride, 1}};
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

struct Range {
  size_t begin, end;
  size_t size() const { return end - begin; }
};

// A part of a result.
struct Part {
  Range rows, outputs;
};

Range cut(size_t count, size_t index, size_t parts, size_t step) {
  const auto at = [&](size_t i) { return std::min(count, count * i / parts / step * step); };
  return {at(index), index + 1 == parts ? count : at(index + 1)};
}

// The part of a result that falls to a thread: some rows, so that what reads them next finds them
// in the same core's cache; where that leaves a thread too few, only some of their outputs.
Part part_of(size_t rows, size_t outputs, size_t thread, size_t threads) {
  constexpr size_t kLeastRows = 256;  // packing the weights then costs less than a twentieth
  size_t parts = threads;             // of the rows
  while (parts > 1 && (threads % parts != 0 || rows / parts < kLeastRows)) --parts;
  return {cut(rows, thread % parts, parts, 1),
          cut(outputs, thread / parts, threads / parts, kOutputStep)};
}

// Rows as a product reads them: in BF16, in F32 rounded to BF16, or as they are.
const void* source_rows(const ggml_tensor* result, ComputeType compute, Range rows) {
  thread_local Scratch rounded;
  const ggml_tensor* input = result->src[1];
  const auto* source =
      static_cast<const float*>(input->data) + rows.begin * static_cast<size_t>(input->ne[0]);
  if (compute == ComputeType::kF32) return source;
  const size_t count = rows.size() * static_cast<size_t>(input->ne[0]);
  if (result->src[0]->type == GGML_TYPE_BF16) {
    void* narrow = rounded.get(count * sizeof(ggml_bf16_t));
    ggml_fp32_to_bf16_row(source, static_cast<ggml_bf16_t*>(narrow), static_cast<int64_t>(count));
    return narrow;
  }
  auto* wide = static_cast<float*>(rounded.get(count * sizeof(float)));
  for (size_t i = 0; i < count; ++i) wide[i] = round_to_bf16(source[i]);
  return wide;
}

void multiply_block(const ggml_tensor* result, ComputeType compute, const Part& part) {
  thread_local Scratch scratchpad;
  thread_local dnnl::stream stream(cpu_engine());
  const ggml_tensor* matrix = result->src[0];
  const ggml_tensor* bias = result->src[2];
  const Product& product = get_product(
      {matrix->type == GGML_TYPE_BF16 ? DataType::bf16 : DataType::f32,
       static_cast<int64_t>(part.rows.size()), static_cast<int64_t>(part.outputs.size()),
       matrix->ne[0], result->ne[0], bias != nullptr});
  const size_t stride = static_cast<size_t>(result->ne[0]);
  const dnnl::engine& engine = cpu_engine();
  const auto memory_of = [&](const dnnl::memory::desc& layout, const void* data) {
    return dnnl::memory(layout, engine, const_cast<void*>(data));
  };
  const auto* weights = static_cast<const char*>(matrix->data) + part.outputs.begin * matrix->nb[1];
  const auto* destination =
      static_cast<const float*>(result->data) + part.rows.begin * stride + part.outputs.begin;
  std::unordered_map<int, dnnl::memory> arguments = {
      {DNNL_ARG_SRC, memory_of(product.source, source_rows(result, compute, part.rows))},
      {DNNL_ARG_WEIGHTS, memory_of(product.weights, weights)},
      {DNNL_ARG_DST, memory_of(product.destination, destination)},
      {DNNL_ARG_SCRATCHPAD,
       memory_of(product.scratchpad, scratchpad.get(product.scratchpad.get_size()))}};
  if (bias) {
    const auto* numbers = static_cast<const float*>(bias->data) + part.outputs.begin;
    arguments.emplace(DNNL_ARG_BIAS, memory_of(product.bias, numbers));
  }
  product.primitive.execute(stream, arguments);
  stream.wait();
}

// Rows beyond the last whole step are computed with those before them, which are then computed
// twice, to the same numbers.
void multiply_part(const ggml_tensor* result, ComputeType compute, const Part& part) {
  if (part.outputs.size() == 0) return;
  for (size_t first = part.rows.begin; first < part.rows.end;) {
    const size_t left = part.rows.end - first;
    size_t count = std::min(left / kRowStep * kRowStep, kMostRows);
    if (count == 0) count = std::min(part.rows.size(), kRowStep);
    const size_t begin = std::min(first, part.rows.end - count);
    multiply_block(result, compute, {{begin, begin + count}, part.outputs});
    first = begin + count;
  }
}

template <ComputeType kCompute>
void linear_op(ggml_tensor* result, int thread, int threads, void*) {
  multiply_part(result, kCompute,
                part_of(static_cast<size_t>(result->ne[1]), static_cast<size_t>(result->ne[0]),
                        static_cast<size_t>(thread), static_cast<size_t>(threads)));
}

// Whether the processor has instructions for it. Those with AVX-512 alone get kernels too, which
// widen every number again for each product, at half of the speed of F32's.
bool multiplies_bf16() {
  constexpr auto kBf16 = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & kBf16) == kBf16;
}

}  // namespace

OneDnn onednn() {
  static const OneDnn found = multiplies_bf16() ? OneDnn::kF32AndBf16 : OneDnn::kF32;
  return found;
}

ggml_tensor* onednn_linear(ggml_context* context, ggml_tensor* matrix, ggml_tensor* input,
                           ggml_tensor* bias, ComputeType compute) {
  ISOGLOSS_ASSERT(ggml_is_contiguous(matrix) && ggml_is_contiguous(input));
  ISOGLOSS_ASSERT(input->type == GGML_TYPE_F32 && matrix->ne[0] == input->ne[0]);
  ggml_tensor* inputs[] = {matrix, input, bias};
  return ggml_custom_4d(
      context, GGML_TYPE_F32, matrix->ne[1], input->ne[1], 1, 1, inputs, bias ? 3 : 2,
      compute == ComputeType::kBf16 ? linear_op<ComputeType::kBf16> : linear_op<ComputeType::kF32>,
      GGML_N_TASKS_MAX, nullptr);
}

}  // namespace isogloss
