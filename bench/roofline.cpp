// The machine's product peak, and what an audit makes of it.
//
// The peak is the best rate that oneDNN reaches on any of the model's own product shapes, on all
// threads, with random operands that lie as it likes them best. Because machines speed up and slow
// down, each audit is followed by the products alone, back to back: every matrix once, as often as
// takes a few seconds. An audit's work is its products over weights, two operations a multiply-add,
// those of the noise floor included: attention, norms, decoding and statistics count as time only.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <dnnl.hpp>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "isogloss/base/error.h"
#include "isogloss/base/file.h"
#include "isogloss/base/random.h"
#include "isogloss/measure/measure.h"
#include "isogloss/text/text.h"

namespace isogloss {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct ProductShape {
  int64_t outputs, inputs;
  auto operator<=>(const ProductShape&) const = default;
};

// Shapes of the products over a model's weights with how many there are; the embedding table counts
// where it is the head.
std::map<ProductShape, size_t> product_shapes(const Model& model) {
  std::map<ProductShape, size_t> shapes;
  for (const TensorView& tensor : model.tensors()) {
    const bool is_table = tensor.role == Role::kTokenEmbedding;
    if (get_role_info(tensor.role).kind != TensorKind::kMatrix && !is_table) continue;
    if (is_table && !model.config().tied_head) continue;
    ++shapes[{static_cast<int64_t>(tensor.rows), static_cast<int64_t>(tensor.cols)}];
  }
  return shapes;
}

constexpr int64_t kPeakRows = 2048;  // what an audit packs into one batch

// One product that can be repeated.
class Product {
 public:
  Product(ProductShape shape, dnnl::memory::data_type type) : shape_(shape) {
    using dnnl::memory;
    const auto any = memory::format_tag::any;
    const memory::desc source({kPeakRows, shape.inputs}, type, any);
    const memory::desc weights({shape.inputs, shape.outputs}, type, any);
    const memory::desc result({kPeakRows, shape.outputs}, memory::data_type::f32, any);
    const dnnl::matmul::primitive_desc chosen({source, weights, result}, engine_);
    a_ = memory(chosen.src_desc(), engine_);
    b_ = memory(chosen.weights_desc(), engine_);
    c_ = memory(chosen.dst_desc(), engine_);
    fill(a_, type);
    fill(b_, type);
    product_ = dnnl::matmul(chosen);
  }

  double run() {  // seconds
    const auto start = Clock::now();
    product_.execute(stream_, {{DNNL_ARG_SRC, a_}, {DNNL_ARG_WEIGHTS, b_}, {DNNL_ARG_DST, c_}});
    stream_.wait();
    return seconds_since(start);
  }
  double operations() const {
    return 2.0 * static_cast<double>(kPeakRows * shape_.outputs * shape_.inputs);
  }
  ProductShape shape() const { return shape_; }

 private:
  // Of numbers around 1: processors run faster on zeros.
  static void fill(const dnnl::memory& memory, dnnl::memory::data_type type) {
    Random random(1);
    const bool wide = type == dnnl::memory::data_type::f32;
    auto* bytes = static_cast<char*>(memory.get_data_handle());
    const size_t size = memory.get_desc().get_size();
    for (size_t at = 0; at < size; at += wide ? sizeof(float) : sizeof(uint16_t)) {
      const auto number = static_cast<float>(random.uniform() - 0.5);
      const auto* upper = reinterpret_cast<const char*>(&number) + (wide ? 0 : sizeof(uint16_t));
      std::memcpy(bytes + at, upper, wide ? sizeof(float) : sizeof(uint16_t));
    }
  }

  ProductShape shape_;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  dnnl::memory a_, b_, c_;
  dnnl::matmul product_;
};

// All products of a model.
class Products {
 public:
  Products(const Model& model, ComputeType compute) {
    for (const auto& [shape, count] : product_shapes(model)) {
      products_.push_back({make(shape, compute), count});
    }
  }

  double peak(Json& shapes) {  // operations a second
    double peak = 0;
    for (auto& [product, count] : products_) {
      double best = INFINITY;
      const auto start = Clock::now();
      while (best == INFINITY || seconds_since(start) < 1) best = std::min(best, product.run());
      const double rate = product.operations() / best;
      const ProductShape shape = product.shape();
      std::printf("  %6ld x %-6ld %7.1f GF/s\n", shape.outputs, shape.inputs, rate / 1e9);
      shapes.push_back(
          {{"outputs", shape.outputs}, {"inputs", shape.inputs}, {"gflops", rate / 1e9}});
      peak = std::max(peak, rate);
    }
    return peak;
  }

  double sustained(double at_least) {  // operations a second, over so many seconds
    double work = 0;
    double seconds = 0;
    while (seconds < at_least) {
      for (auto& [product, count] : products_) {
        for (size_t i = 0; i < count; ++i) seconds += product.run();
        work += static_cast<double>(count) * product.operations();
      }
    }
    return work / seconds;
  }

 private:
  // Where oneDNN has no BF16 kernels, those products are F32's.
  static Product make(ProductShape shape, ComputeType compute) {
    using Type = dnnl::memory::data_type;
    if (compute == ComputeType::kF32) return {shape, Type::f32};
    try {
      return {shape, Type::bf16};
    } catch (const dnnl::error&) {
      return {shape, Type::f32};
    }
  }

  std::vector<std::pair<Product, size_t>> products_;
};

struct Arguments {
  std::string model, corpus, compute = "f32", json;
  std::vector<std::string> languages = {"en"};
  size_t threads = 0, units = 40, windows = 8, repeat = 3;
};

size_t tokens_of(const TokenizedCorpus& corpus) {
  size_t tokens = 0;
  for (const auto& language : corpus.languages) {
    for (const auto& sequence : language.sequences) tokens += sequence.tokens.size();
  }
  return tokens;
}

// Audits of the model against a variant of itself that shares no block with it, each followed by
// the products alone; the fastest audit, and the median share of the products' rate.
Json time_audits(const Arguments& arguments, Device& device, const Model& model,
                 const TokenizedCorpus& corpus, std::string_view text, Products& products,
                 double peak) {
  constexpr double kProductSeconds = 2;
  Engine engine(device, {parse_compute_type(arguments.compute), 8ULL << 30});
  const Assignment as_stored = unchanged(model);
  const Assignment quantized = assign(model, {.scheme = parse_scheme("q8_0")});
  const Variant reference{&model, &as_stored};
  const std::vector<AuditRun> runs = {{"q8_0", "q8_0", "", {&model, &quantized}}};
  AuditOptions options;
  options.reference_language = corpus.languages[0].code;
  double seconds = INFINITY;
  double work = 0;
  std::vector<double> shares;
  for (size_t i = 0; i < arguments.repeat; ++i) {
    const auto start = Clock::now();
    work = 2 * audit(engine, reference, runs, corpus, options, {}).multiply_adds;
    const double took = seconds_since(start);
    seconds = std::min(seconds, took);
    shares.push_back(work / took / products.sustained(kProductSeconds));
  }
  std::ranges::sort(shares);
  const double share = work / seconds / peak;
  const double sustained_share = shares[shares.size() / 2];
  const size_t tokens = tokens_of(corpus);
  std::printf(
      "  %-8s %6zu tokens %8.1f GF %7.2f s %7.1f GF/s  %5.1f %% of peak, %5.1f %% of the "
      "products alone\n",
      std::string(text).c_str(), tokens, work / 1e9, seconds, work / seconds / 1e9, 100 * share,
      100 * sustained_share);
  return {{"text", text},       {"tokens", tokens},       {"gigaflops", work / 1e9},
          {"seconds", seconds}, {"share_of_peak", share}, {"share_of_products", sustained_share}};
}

int run(const Arguments& arguments) {
  Device device("cpu", arguments.threads);
  const Model model = read_model(arguments.model);
  const ComputeType compute = parse_compute_type(arguments.compute);
  std::printf("%s, %s, %zu threads, %s\n", arguments.model.c_str(), arguments.compute.c_str(),
              device.threads(), device.description().c_str());
  Json out = {{"model", arguments.model},
              {"compute", arguments.compute},
              {"threads", device.threads()},
              {"processor", device.description()}};
  Products products(model, compute);
  const double peak = products.peak(out["shapes"]);
  std::printf("  peak            %7.1f GF/s\n", peak / 1e9);
  out["peak_gflops"] = peak / 1e9;

  CorpusOptions options;
  options.languages = arguments.languages;
  const Tokenizer tokenizer(model.vocabulary(), arguments.model);
  TokenizedCorpus windows =
      tokenize_windows(read_corpus(arguments.corpus, options), tokenizer, 512);
  for (auto& language : windows.languages) {
    language.sequences.resize(std::min(language.sequences.size(), arguments.windows));
    language.unit_ids.resize(language.sequences.size());
  }
  options.max_units = arguments.units;
  const TokenizedCorpus units =
      tokenize(read_corpus(arguments.corpus, options), tokenizer, model.config().context_length);
  out["audits"].push_back(
      time_audits(arguments, device, model, windows, "windows", products, peak));
  out["audits"].push_back(time_audits(arguments, device, model, units, "units", products, peak));
  if (!arguments.json.empty()) write_file(arguments.json, out.dump(2) + "\n");
  return 0;
}

}  // namespace
}  // namespace isogloss

int main(int argc, char** argv) {
  isogloss::Arguments arguments;
  CLI::App app("What share of the machine's product peak an audit reaches");
  app.add_option("model", arguments.model, "GGUF file or Hugging Face directory")->required();
  app.add_option("corpus", arguments.corpus, "Parallel corpus")->required();
  app.add_option("--compute", arguments.compute, "f32 or bf16");
  app.add_option("--langs", arguments.languages, "Languages")->delimiter(',');
  app.add_option("--threads", arguments.threads, "Threads (default: one a core)");
  app.add_option("--units", arguments.units, "Units of each language");
  app.add_option("--windows", arguments.windows, "Windows of 512 tokens of each language");
  app.add_option("--repeat", arguments.repeat, "Audits, of which the fastest counts");
  app.add_option("--json", arguments.json, "Write JSON to this file");
  CLI11_PARSE(app, argc, argv);
  try {
    return isogloss::run(arguments);
  } catch (const isogloss::Error& error) {
    std::fprintf(stderr, "roofline: %s\n", error.what());
    return 1;
  }
}
