// isogloss sweep
#include <algorithm>
#include <filesystem>
#include <memory>

#include "isogloss/base/error.h"
#include "isogloss/base/file.h"
#include "isogloss/base/sha256.h"
#include "isogloss/report/report.h"
#include "tool/commands.h"
#include "tool/inputs.h"
#include "tool/team_run.h"
#include "tool/terminal.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

struct SweepArguments {
  std::string model, scheme = "q4_0", protect = "none";
  std::string mode = "both", unit = "layer", out, json, csv;
  std::vector<std::string> sets;
  CoverageArguments coverage;
  size_t max_size = static_cast<size_t>(-1), random = 0, max_permutations = 512;
  double search_positions = 1, tolerance = SweepRequest{}.tolerance;
  TextArguments text;
  ComputeArguments compute;
  bool resume = false, explain = false;
};

// Options that only some modes go by.
struct ModeOption {
  const char* name;
  std::vector<SweepMode> modes;
};

const std::vector<ModeOption>& mode_options() {
  using enum SweepMode;
  static const std::vector<ModeOption> kOptions = {
      {"--unit", {kRestore, kDamage, kBoth, kSets}},
      {"--max-size", {kSubsets}},
      {"--set", {kSets}},
      {"--random", {kSets}},
      {"--search-positions", {kSubsets, kShapley}},
      {"--tolerance", {kShapley}},
      {"--max-permutations", {kShapley}},
  };
  return kOptions;
}

// Throws for an option that was given and that `mode` does not go by.
void check_mode_options(const CLI::App& command, SweepMode mode) {
  for (const ModeOption& option : mode_options()) {
    const bool for_mode = std::ranges::find(option.modes, mode) != option.modes.end();
    if (for_mode || command.get_option(option.name)->count() == 0) continue;
    std::vector<std::string_view> modes;
    for (const SweepMode of : option.modes) modes.push_back(to_string(of));
    throw CLI::ValidationError(option.name, fmt::format("says nothing to --mode {}; it is for {}",
                                                        to_string(mode), fmt::join(modes, ", ")));
  }
}

SweepRequest make_request(const SweepArguments& arguments) {
  SweepRequest request;
  parse_protect(arguments.protect, request.quantize);
  request.quantize.scheme = parse_scheme(arguments.scheme);
  refuse_calibrated(request.quantize);
  request.quantize.seed_family = seed_family_of(arguments.coverage);
  request.quantize.include = arguments.coverage.include;
  request.mode = parse_sweep_mode(arguments.mode);
  request.unit = parse_unit_kind(arguments.unit);
  request.max_size = arguments.max_size;
  request.sets = arguments.sets;
  request.random_sets = arguments.random;
  request.max_permutations = arguments.max_permutations;
  request.tolerance = arguments.tolerance;
  return request;
}

SweepOptions make_options(const SweepArguments& arguments) {
  SweepOptions options;
  options.reference_language = arguments.text.reference_language;
  options.draws = arguments.compute.draws;
  options.seed = arguments.compute.seed;
  options.search_positions = arguments.search_positions;
  return options;
}

// Of the text as it was read, whatever file it lay in.
std::string digest(const Corpus& corpus) {
  Sha256 sha;
  for (const auto& language : corpus.languages) {
    for (size_t u = 0; u < language.units.size(); ++u) {
      sha.update(
          fmt::format("{}\n{}\n{}\n", language.code, language.unit_ids[u], language.units[u]));
    }
  }
  return sha.hex();
}

Json file_digests(const Model& model) {
  Json digests = Json::object();
  for (const fs::path& file : model.source_files()) {
    digests[file.filename().string()] = sha256_of_file(file);
  }
  return digests;
}

// What the numbers depend on, and what is only noted.
Json describe_run(const SweepArguments& a, const Model& model, const Corpus& corpus,
                  const TokenizedCorpus& tokens, const Device& device) {
  const auto facts = corpus_facts(tokens, a.text);
  return {{"inputs",
           {{"model", file_digests(model)},
            {"corpus",
             {{"sha256", digest(corpus)},
              {"languages", facts.languages},
              {"parallel", facts.parallel},
              {"window", facts.window}}}}},
          {"settings",
           {{"scheme", a.scheme},
            {"protect", a.protect},
            {"include", a.coverage.include},
            {"seed_family", a.coverage.seed_family},
            {"mode", a.mode},
            {"unit", a.unit},
            {"max_size", a.max_size},
            {"sets", a.sets},
            {"random", a.random},
            {"tolerance", a.tolerance},
            {"max_permutations", a.max_permutations},
            {"search_positions", a.search_positions},
            {"compute", a.compute.compute},
            {"seed", a.compute.seed}}},
          {"notes",
           {{"isogloss", version()},
            {"model", model.path().string()},
            {"corpus", facts.name},
            {"device", device.name()},
            {"hardware", device.description()},
            {"threads", device.threads()}}}};
}

// "40 s", "12 min", "3.5 h".
std::string duration_text(double seconds) {
  if (seconds < 100) return fmt::format("{:.0f} s", seconds);
  if (seconds < 6000) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

// `speed` in multiply-adds a second.
std::string explain(const SweepPlan& plan, double speed) {
  const auto ratio = [](double naive, double planned) { return naive / planned; };
  return fmt::format(
      "{} units, {} configurations\n"
      "{} half-block evaluations planned, {} one configuration at a time ({:.2f} times as many)\n"
      "{:.3g} multiply-adds planned, {:.3g} as {} plain audits ({:.2f} times as many)\n"
      "{} slice{} of the corpus, {:.1f} MiB of hidden states\n"
      "about {} by one process here, at {:.3g} multiply-adds a second\n",
      plan.units, plan.configurations, plan.half_blocks, plan.naive_half_blocks,
      ratio(static_cast<double>(plan.naive_half_blocks), static_cast<double>(plan.half_blocks)),
      plan.multiply_adds, plan.naive_multiply_adds, plan.configurations,
      ratio(plan.naive_multiply_adds, plan.multiply_adds), plan.slices, plan.slices == 1 ? "" : "s",
      static_cast<double>(plan.hidden_bytes) / (1 << 20), duration_text(plan.multiply_adds / speed),
      speed);
}

void write_outputs(const SweepArguments& arguments, const SweepReport& report, bool color) {
  const bool on_stdout = arguments.json == "-" || arguments.csv == "-";
  if (!arguments.out.empty()) {
    write_result((fs::path(arguments.out) / "result.json").string(), to_json(report));
    write_result((fs::path(arguments.out) / "matrix.csv").string(), to_csv(report));
  }
  if (!arguments.json.empty()) write_result(arguments.json, to_json(report));
  if (!arguments.csv.empty()) write_result(arguments.csv, to_csv(report));
  if (!on_stdout) write_result("-", to_table(report, color));
}

void check_early(const SweepArguments& arguments) {
  check_outputs(arguments.json, arguments.csv);
  if (arguments.resume && arguments.out.empty()) {
    fail(ErrorCode::kBadArgument, "--resume: of which run? Name its directory with --out");
  }
}

// What has to be the same for every process of a team; machines may differ.
Json describe_team_run(const Json& run) {
  return {{"inputs", run["inputs"]},
          {"settings", run["settings"]},
          {"isogloss", run["notes"]["isogloss"]}};
}

Outcome run_in(Team& team, const SweepArguments& arguments) {
  const bool keeps_results = team.rank() == 0;
  if (keeps_results) check_early(arguments);
  const BuiltIn built_in = find_built_in();
  const Model model = read_model(model_path(arguments.model, built_in));
  const Corpus corpus = read_text(arguments.text, built_in, arguments.compute.seed);
  const TokenizedCorpus tokens = tokenize_text(corpus, arguments.text, model);
  const SweepRequest request = make_request(arguments);
  SweepOptions options = make_options(arguments);
  Device device(arguments.compute.device, arguments.compute.threads);
  EngineOptions engine_options;
  engine_options.compute = parse_compute_type(arguments.compute.compute);
  divide_memory(arguments.compute, model, engine_options, options, team.size_here());
  if (arguments.explain) {
    if (!keeps_results) return Outcome::kDone;
    const SweepPlan plan = plan_sweep(model, tokens, request, options);
    Engine engine(device, engine_options);
    write_result("-", explain(plan, measure_speed(engine, model, tokens, options)));
    return Outcome::kDone;
  }
  Json run;
  const bool keeps_journal = keeps_results && !arguments.out.empty();
  if (keeps_journal || team.size() > 1) {
    run = describe_run(arguments, model, corpus, tokens, device);
    check_same_run(team, describe_team_run(run));
  }
  std::optional<RunDirectory> directory;
  if (keeps_journal) {
    plan_sweep(model, tokens, request, options);  // fails on what cannot be swept
    directory.emplace(arguments.out, run, arguments.resume);
  }
  if (!arguments.out.empty()) say_how_to_resume(team, arguments.out);
  Engine engine(device, engine_options);
  SweepReport report;
  {
    ProgressLine line(arguments.compute.quiet || !keeps_results);
    report.result =
        sweep(engine, model, tokens, request, options, team, directory ? &*directory : nullptr,
              [&](std::string_view stage, double done) { line.update(stage, done); });
  }
  if (!keeps_results) return Outcome::kDone;
  report.model = model_facts(model);
  report.corpus = corpus_facts(tokens, arguments.text);
  report.settings = {device.name(),    device.description(),           arguments.compute.compute,
                     device.threads(), arguments.coverage.seed_family, arguments.coverage.include};
  report.scheme = arguments.scheme;
  report.protect = request.quantize.protect;
  report.mode = arguments.mode;
  report.unit = arguments.unit;
  // mpirun gives its processes a terminal, whatever becomes of what they write there.
  write_outputs(arguments, report, output_has_color() && team.size() == 1);
  return Outcome::kDone;
}

void add_sweep_options(CLI::App& command, SweepArguments& a) {
  command.add_option("MODEL", a.model,
                     "GGUF file or Hugging Face directory (default: polyglot-12)");
  command.add_option("--scheme", a.scheme, "How to quantize (see audit --list-schemes)")
      ->capture_default_str()
      ->type_name("S");
  command.add_option("--mode", a.mode, "restore, damage, both, subsets, shapley, sets or patch")
      ->capture_default_str();
  command.add_option("--unit", a.unit, "What an intervention is on: layer, half or tensor")
      ->capture_default_str();
  command.add_option("--max-size", a.max_size, "subsets: restore at most N layers at once")
      ->check(kNotNegative);
  command.add_option("--set", a.sets, "sets: units to restore, as L0+L11; repeatable")
      ->allow_extra_args(false)
      ->type_name("UNITS");
  command.add_option("--random", a.random, "sets: and N random sets of the same bytes, for each")
      ->check(kNotNegative);
  command
      .add_option("--search-positions", a.search_positions,
                  "subsets, shapley: search on this share of the positions; the best sets are "
                  "measured on all")
      ->capture_default_str();
  command
      .add_option("--tolerance", a.tolerance,
                  "shapley: stop when every interval's half width is this share of the loss")
      ->capture_default_str();
  command
      .add_option("--max-permutations", a.max_permutations,
                  "shapley: at most N pairs of an order and its reverse")
      ->capture_default_str()
      ->check(CLI::Range(2, 1'000'000));
  command
      .add_option("--protect", a.protect,
                  "Units that stay as they are in every configuration, or take a second scheme")
      ->type_name("UNITS[=S]");
  add_coverage_options(command, a.coverage);
  command.add_option("--out", a.out, "Keep measurements and results in this directory")
      ->type_name("DIR");
  command.add_flag("--resume", a.resume, "Go on with what --out has");
  command.add_flag("--explain", a.explain, "Say what would be computed, and stop");
  command.add_option("--json", a.json, "Write JSON ('-': standard output)")->type_name("FILE");
  command.add_option("--csv", a.csv, "Write the matrix as CSV ('-': standard output)")
      ->type_name("FILE");
}

}  // namespace

void add_sweep_command(CLI::App& app, Outcome& outcome) {
  auto arguments = std::make_shared<SweepArguments>();
  CLI::App* command =
      app.add_subcommand("sweep", "Find by intervention which parts hurt which language");
  add_sweep_options(*command, *arguments);
  add_text_options(*command, arguments->text);
  add_part_option(*command, arguments->text);
  add_reference_option(*command, arguments->text);
  add_compute_options(*command, arguments->compute);
  add_bootstrap_options(*command, arguments->compute);
  command->callback([arguments, command, &outcome] {
    check_mode_options(*command, parse_sweep_mode(arguments->mode));
    outcome = run_in_team([&](Team& team) { return run_in(team, *arguments); });
  });
}

}  // namespace isogloss
