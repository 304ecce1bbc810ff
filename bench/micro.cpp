// Rates of what an audit does beside its products: encoding, decoding, attention, norms,
// activations, and sums over logits. Decoding and what a Device computes take --threads threads;
// the rest takes one.
#include <benchmark/benchmark.h>
#include <ggml-backend.h>
#include <ggml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <numbers>
#include <span>
#include <string>
#include <vector>

#include "isogloss/base/error.h"
#include "isogloss/base/random.h"
#include "isogloss/device/device_impl.h"
#include "isogloss/measure/measure_impl.h"
#include "isogloss/quantize/quantize.h"

namespace isogloss {
namespace {

using benchmark::State;
using Numbers = std::vector<float>;

// Of a weight matrix.
constexpr size_t kRows = 256;
constexpr size_t kCols = 4096;

constexpr size_t kTokens = 2048;  // what an audit packs into one batch

// Normal numbers (Box & Muller 1958), the same ones each time.
std::span<const float> normal_numbers(size_t count) {
  static Numbers numbers;
  static Random random(1);
  while (numbers.size() < count) {
    const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
    const double angle = 2 * std::numbers::pi * random.uniform();
    numbers.push_back(static_cast<float>(radius * std::cos(angle)));
  }
  return std::span(numbers).first(count);
}

// `count` numbers each iteration.
void set_bytes(State& state, size_t count) {
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(count * sizeof(float)));
}

void bench_round_trip(State& state, const Scheme& scheme) {
  const std::span<const float> weights = normal_numbers(kRows * kCols);
  Numbers values(weights.begin(), weights.end());
  // ggml makes the tables of some types when they are first used.
  round_trip(scheme, std::span(values).first(kCols), 1, kCols);
  for (auto _ : state) {
    state.PauseTiming();
    std::ranges::copy(weights, values.begin());
    state.ResumeTiming();
    round_trip(scheme, values, kRows, kCols);
  }
  set_bytes(state, values.size());
}

// One row kRows times: some encoders take long. To those that want an importance matrix all numbers
// are equally important.
std::vector<std::byte> encoded_matrix(ggml_type type) {
  const Numbers importance(kCols, 1);
  const size_t row_bytes = ggml_row_size(type, kCols);
  std::vector<std::byte> row(row_bytes);
  ggml_quantize_chunk(type, normal_numbers(kCols).data(), row.data(), 0, 1, kCols,
                      importance.data());
  std::vector<std::byte> bytes;
  for (size_t i = 0; i < kRows; ++i) bytes.insert(bytes.end(), row.begin(), row.end());
  return bytes;
}

void bench_decode(State& state, TensorType type) {
  const std::vector<std::byte> bytes = encoded_matrix(static_cast<ggml_type>(type));
  TensorView tensor;
  tensor.rows = kRows;
  tensor.cols = kCols;
  tensor.type = type;
  tensor.bytes = bytes;
  Numbers values(tensor.count());
  for (auto _ : state) decode(tensor, values);
  set_bytes(state, values.size());
}

// One operation over numbers that outlive it, computed again and again.
class Operation {
 public:
  explicit Operation(Device& device)
      : backend_(device.impl().backend),
        context_(ggml_init({kMemory, nullptr, /*no_alloc=*/true})) {}
  ~Operation() { ggml_free(context_); }
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  ggml_context* context() { return context_; }

  // Row-major [rows][cols]; only read.
  ggml_tensor* input(std::span<const float> numbers, size_t cols) {
    ggml_tensor* tensor = ggml_new_tensor_2d(context_, GGML_TYPE_F32, static_cast<int64_t>(cols),
                                             static_cast<int64_t>(numbers.size() / cols));
    tensor->data = const_cast<float*>(numbers.data());
    return tensor;
  }

  void run(State& state, ggml_tensor* result) {
    Numbers numbers(static_cast<size_t>(ggml_nelements(result)));
    result->data = numbers.data();
    ggml_cgraph* graph = ggml_new_graph(context_);
    ggml_build_forward_expand(graph, result);
    for (auto _ : state) {
      const ggml_status status = ggml_backend_graph_compute(backend_, graph);
      ISOGLOSS_ASSERT(status == GGML_STATUS_SUCCESS);
    }
  }

 private:
  static constexpr size_t kMemory = 1 << 20;

  ggml_backend_t backend_;
  ggml_context* context_;
};

// Heads as GPT-2 has them, columns of one product.
void bench_attention(State& state, Device& device, size_t sequences, size_t length) {
  constexpr size_t kHeads = 12;
  constexpr size_t kHeadDim = 64;
  constexpr size_t kWidth = kHeads * kHeadDim;
  std::vector<size_t> starts;
  for (size_t s = 0; s <= sequences; ++s) starts.push_back(s * length);
  const AttentionShape shape{
      .starts = starts, .heads = kHeads, .kv_heads = kHeads, .head_dim = kHeadDim, .scale = 0.125F};
  Operation operation(device);
  ggml_context* context = operation.context();
  ggml_tensor* fused = operation.input(normal_numbers(starts.back() * 3 * kWidth), 3 * kWidth);
  const auto columns = [&](size_t first) {
    return ggml_view_2d(context, fused, kWidth, fused->ne[1], fused->nb[1], first * sizeof(float));
  };
  operation.run(state,
                packed_attention(context, columns(0), columns(kWidth), columns(2 * kWidth), shape));
  // What causal attention needs: of each query with its own key and those before it, a multiply-add
  // for each number of the head for the score and another for the mix of values, two operations
  // each. Softmax, and products with keys that a query does not see, count as time only.
  const double pairs = static_cast<double>(sequences * kHeads * length * (length + 1)) / 2;
  state.counters["FLOP"] = {2 * 2 * pairs * static_cast<double>(kHeadDim),
                            benchmark::Counter::kIsIterationInvariantRate};
}

void bench_norm(State& state, Device& device, NormKind kind, size_t width) {
  const NormShape shape{kind, 1e-5F};
  Operation operation(device);
  const std::span<const float> numbers = normal_numbers(kTokens * width);
  ggml_tensor* input = operation.input(numbers, width);
  ggml_tensor* scale = operation.input(numbers.first(width), width);
  ggml_tensor* bias = kind == NormKind::kLayerNorm ? scale : nullptr;
  operation.run(state, normalize(operation.context(), input, scale, bias, shape));
  set_bytes(state, numbers.size());
}

void bench_activation(State& state, Device& device, Activation activation, size_t width) {
  Operation operation(device);
  const std::span<const float> numbers = normal_numbers(kTokens * width);
  ggml_tensor* gate = operation.input(numbers, width);
  operation.run(state, activate(operation.context(), activation, gate, nullptr));
  set_bytes(state, numbers.size());
}

constexpr size_t kPositions = 1024;
constexpr size_t kLogits = 2048;

template <typename Container>
auto row_of(Container& numbers, size_t i) {
  return std::span(numbers).subspan(i * kLogits, kLogits);
}

// A tile of logits, from token `first` on. The first one of a row also has its largest logit looked
// for; later ones here hold none that is larger.
class LogitTile {
 public:
  void add_to_reference(size_t first) {
    for (size_t i = 0; i < kPositions; ++i) {
      add_reference_logits(reference_[i], row_of(numbers_, i), first, i, row_of(weights_, i));
    }
  }

  // Leaves exponentials where the logits were: the next call adds those.
  void add_to_run(size_t first) {
    for (size_t i = 0; i < kPositions; ++i) {
      add_logits(sums_[i], reference_[i], row_of(weights_, i), row_of(logits_, i), first, i);
    }
  }

 private:
  std::span<const float> numbers_ = normal_numbers(kPositions * kLogits);
  Numbers logits_{numbers_.begin(), numbers_.end()};
  Numbers weights_ = Numbers(numbers_.size());
  std::vector<ReferenceSums> reference_ = std::vector<ReferenceSums>(kPositions);
  std::vector<LogitSums> sums_ = std::vector<LogitSums>(kPositions);
};

void bench_logits(State& state, void (LogitTile::*add)(size_t), size_t first) {
  LogitTile tile;
  tile.add_to_reference(0);
  tile.add_to_run(0);
  for (auto _ : state) (tile.*add)(first);
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kPositions * kLogits));
}

struct Benchmark {
  std::string name;
  std::function<void(State&)> run;
};

void add_storage(std::vector<Benchmark>& benchmarks) {
  for (const std::string& name : scheme_names()) {
    const Scheme scheme = parse_scheme(name);
    if (scheme.kind == SchemeKind::kNone) continue;  // does nothing
    benchmarks.push_back(
        {"round_trip/" + name, [=](State& state) { bench_round_trip(state, scheme); }});
  }
  for (int32_t id = 0; id < GGML_TYPE_COUNT; ++id) {
    const auto type = static_cast<TensorType>(id);
    const auto info = find_tensor_type_info(type);
    if (!info) continue;
    benchmarks.push_back(
        {"decode/" + info->name, [=](State& state) { bench_decode(state, type); }});
  }
  // ggml makes tables for these, which takes seconds.
  std::ranges::stable_partition(benchmarks, [](const Benchmark& benchmark) {
    return benchmark.name.find("/iq1") == std::string::npos &&
           benchmark.name.find("/iq2") == std::string::npos;
  });
}

void add_operations(std::vector<Benchmark>& benchmarks, Device& device) {
  for (const auto& [sequences, length] : {std::pair<size_t, size_t>{4, 512}, {40, 40}}) {
    benchmarks.push_back({fmt::format("attention/{}x{}", sequences, length),
                          [&device, s = sequences, l = length](State& state) {
                            bench_attention(state, device, s, l);
                          }});
  }
  for (const size_t width : {size_t{768}, size_t{3072}}) {
    for (const auto& [name, kind] :
         {std::pair{"layer_norm", NormKind::kLayerNorm}, {"rms_norm", NormKind::kRmsNorm}}) {
      benchmarks.push_back(
          {fmt::format("{}/{}x{}", name, kTokens, width),
           [&device, k = kind, width](State& state) { bench_norm(state, device, k, width); }});
    }
    for (const auto& [name, activation] : {std::pair{"gelu", Activation::kGelu},
                                           {"gelu_tanh", Activation::kGeluTanh},
                                           {"relu", Activation::kRelu},
                                           {"silu", Activation::kSilu}}) {
      benchmarks.push_back({fmt::format("{}/{}x{}", name, kTokens, width),
                            [&device, a = activation, width](State& state) {
                              bench_activation(state, device, a, width);
                            }});
    }
  }
}

void add_logit_sums(std::vector<Benchmark>& benchmarks) {
  for (const auto& [tile, first] :
       {std::pair<const char*, size_t>{"first_tile", 0}, {"later_tile", kLogits}}) {
    for (const auto& [name, add] : {std::pair{"add_reference_logits", &LogitTile::add_to_reference},
                                    {"add_logits", &LogitTile::add_to_run}}) {
      benchmarks.push_back({fmt::format("{}/{}", name, tile),
                            [a = add, f = first](State& state) { bench_logits(state, a, f); }});
    }
  }
}

// Processor time is less disturbed by other programs, but is only the first thread's.
void register_all(Device& device) {
  std::vector<Benchmark> benchmarks;
  add_operations(benchmarks, device);
  add_logit_sums(benchmarks);
  add_storage(benchmarks);
  for (const Benchmark& one : benchmarks) {
    auto* registered = benchmark::RegisterBenchmark(one.name.c_str(), one.run);
    registered->Unit(benchmark::kMillisecond);
    if (device.threads() > 1) registered->UseRealTime();
  }
}

}  // namespace
}  // namespace isogloss

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv, [] {
    std::puts("bench_micro [--threads N] and these:");
    benchmark::PrintDefaultHelp();
  });
  size_t threads = 1;
  CLI::App app("Rates of what an audit does beside its products");
  app.add_option("--threads", threads, "Threads (0: one a core)");
  CLI11_PARSE(app, argc, argv);
  isogloss::Device device("cpu", threads);
  isogloss::register_all(device);
  benchmark::RunSpecifiedBenchmarks();
}
