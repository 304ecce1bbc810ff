// The machine's product peak, and what an audit makes of it.
//
// The peak is the best rate that oneDNN reaches on the model's own product shapes, on all threads,
// with operands that lie as it likes them best. An audit's work is its products over weights, two
// operations a multiply-add, those of the noise floor included: attention, norms, decoding and
// statistics count as time only.
#include <omp.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <dnnl.hpp>
#include <nlohmann/json.hpp>
#include <set>

#include "isogloss/base/error.h"
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

// Shapes of the products over a model's weights; the embedding table counts where it is the head.
std::set<ProductShape> product_shapes(const Model& model) {
  std::set<ProductShape> shapes;
  for (const TensorView& tensor : model.tensors()) {
    const bool is_table = tensor.role == Role::kTokenEmbedding;
    if (get_role_info(tensor.role).kind != TensorKind::kMatrix && !is_table) continue;
    if (is_table && !model.config().tied_head) continue;
    shapes.insert({static_cast<int64_t>(tensor.rows), static_cast<int64_t>(tensor.cols)});
  }
  return shapes;
}

constexpr int64_t kPeakRows = 2048;  // what an audit packs into one batch

// Best of several products, in operations a second.
double product_rate(ProductShape shape, ComputeType compute) {
  using dnnl::memory;
  constexpr double kSeconds = 1;  // to look for the best
  dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const auto type =
      compute == ComputeType::kBf16 ? memory::data_type::bf16 : memory::data_type::f32;
  const auto any = memory::format_tag::any;
  const memory::desc source({kPeakRows, shape.inputs}, type, any);
  const memory::desc weights({shape.inputs, shape.outputs}, type, any);
  const memory::desc result({kPeakRows, shape.outputs}, memory::data_type::f32, any);
  const dnnl::matmul::primitive_desc chosen({source, weights, result}, engine);
  memory a(chosen.src_desc(), engine);
  memory b(chosen.weights_desc(), engine);
  memory c(chosen.dst_desc(), engine);
  std::memset(a.get_data_handle(), 0, chosen.src_desc().get_size());
  std::memset(b.get_data_handle(), 0, chosen.weights_desc().get_size());
  const dnnl::matmul product(chosen);
  double best = INFINITY;
  const auto start = Clock::now();
  while (best == INFINITY || seconds_since(start) < kSeconds) {
    const auto one = Clock::now();
    product.execute(stream, {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}});
    stream.wait();
    best = std::min(best, seconds_since(one));
  }
  return 2.0 * static_cast<double>(kPeakRows * shape.outputs * shape.inputs) / best;
}

double find_peak(const Model& model, ComputeType compute, Json& shapes) {
  double peak = 0;
  for (const ProductShape shape : product_shapes(model)) {
    const double rate = product_rate(shape, compute);
    std::printf("  %6ld x %-6ld %7.1f GF/s\n", shape.outputs, shape.inputs, rate / 1e9);
    shapes.push_back(
        {{"outputs", shape.outputs}, {"inputs", shape.inputs}, {"gflops", rate / 1e9}});
    peak = std::max(peak, rate);
  }
  return peak;
}

struct Arguments {
  std::string model, corpus, compute = "f32", json;
  std::vector<std::string> languages = {"en"};
  size_t threads = 0, units = 40, windows = 8, repeat = 3;
};

// The best of `repeat` audits of the model against itself: two passes over every sequence.
Json time_audit(const Arguments& arguments, Device& device, const Model& model,
                const TokenizedCorpus& corpus, std::string_view text, double peak) {
  EngineOptions engine_options{parse_compute_type(arguments.compute), 8ULL << 30};
  const Assignment as_stored = unchanged(model);
  const Variant variant{&model, &as_stored};
  AuditOptions options;
  options.reference_language = corpus.languages[0].code;
  Engine engine(device, engine_options);
  double best = INFINITY;
  AuditResult result;
  for (size_t i = 0; i < arguments.repeat; ++i) {
    const auto start = Clock::now();
    result = audit(engine, variant, {{"itself", "none", "", variant}}, corpus, options, {});
    best = std::min(best, seconds_since(start));
  }
  size_t tokens = 0;
  size_t sequences = 0;
  for (const auto& language : corpus.languages) {
    sequences += language.sequences.size();
    for (const auto& sequence : language.sequences) tokens += sequence.tokens.size();
  }
  const double work = 2 * result.multiply_adds;
  const double share = work / best / peak;
  std::printf(
      "  %-8s %6zu tokens in %4zu sequences  %8.1f GF  %7.2f s  %7.1f GF/s  %5.1f %% of peak\n",
      std::string(text).c_str(), tokens, sequences, work / 1e9, best, work / best / 1e9,
      100 * share);
  return {{"text", text},           {"tokens", tokens},
          {"sequences", sequences}, {"gigaflops", work / 1e9},
          {"seconds", best},        {"share_of_peak", share}};
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
  const double peak = find_peak(model, compute, out["shapes"]);
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
  out["audits"].push_back(time_audit(arguments, device, model, windows, "windows", peak));
  out["audits"].push_back(time_audit(arguments, device, model, units, "units", peak));
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
