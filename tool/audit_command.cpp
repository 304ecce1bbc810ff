// isogloss audit
#include <algorithm>
#include <charconv>
#include <cmath>
#include <list>
#include <memory>

#include "isogloss/base/error.h"
#include "isogloss/base/suggest.h"
#include "isogloss/report/report.h"
#include "isogloss/text/text.h"
#include "tool/commands.h"
#include "tool/inputs.h"
#include "tool/terminal.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;

struct AuditArguments {
  std::string model, metric = "kl_per_unit", json, csv;
  std::vector<std::string> candidates, schemes, protects, fail_if;
  CoverageArguments coverage;
  TextArguments text;
  ComputeArguments compute;
  bool list_schemes = false, list_languages = false;
};

// The parts of one audit, in order of construction; runs point into them, so lists hold them still.
struct AuditInputs {
  std::unique_ptr<Model> reference;
  Assignment reference_assignment;
  std::list<Model> candidates;
  std::list<Assignment> assignments;
  std::vector<AuditRun> runs;
};

void add_scheme_run(const AssignmentRequest& request, const std::string& protect,
                    AuditInputs& inputs) {
  inputs.assignments.push_back(assign(*inputs.reference, request));
  AuditRun run{to_string(request.scheme),
               to_string(request.scheme),
               protect == "none" ? "" : protect,
               {inputs.reference.get(), &inputs.assignments.back()}};
  if (!run.protect.empty()) run.name += "+" + run.protect;
  inputs.runs.push_back(std::move(run));
}

// A run for each scheme with each protection.
void add_scheme_runs(const AuditArguments& arguments, AuditInputs& inputs) {
  std::vector<Scheme> schemes;
  for (const auto& name : arguments.schemes) schemes.push_back(parse_scheme(name));
  const auto is_seed = [](const Scheme& scheme) { return scheme.kind == SchemeKind::kSeed; };
  // Groups are for the schemes that take them; where there are none, assign() refuses the groups.
  const bool only_seed = std::ranges::all_of(schemes, is_seed);
  for (const Scheme& scheme : schemes) {
    for (const std::string& protect : arguments.protects) {
      AssignmentRequest request;
      request.seed_family = seed_family_of(arguments.coverage);
      parse_protect(protect, request);
      request.scheme = scheme;
      refuse_calibrated(request);
      if (!is_seed(scheme) || only_seed) request.include = arguments.coverage.include;
      add_scheme_run(request, protect, inputs);
    }
  }
}

void add_candidate_runs(const AuditArguments& arguments, AuditInputs& inputs) {
  for (const auto& path : arguments.candidates) {
    inputs.candidates.push_back(read_model(path));
    check_same_model(*inputs.reference, inputs.candidates.back());
    inputs.assignments.push_back(unchanged(inputs.candidates.back()));
    inputs.runs.push_back({fs::path(path).filename().string(),
                           "candidate",
                           "",
                           {&inputs.candidates.back(), &inputs.assignments.back()}});
  }
}

std::unique_ptr<AuditInputs> read_inputs(const AuditArguments& arguments, const BuiltIn& built_in) {
  auto inputs = std::make_unique<AuditInputs>();
  inputs->reference = std::make_unique<Model>(read_model(model_path(arguments.model, built_in)));
  inputs->reference_assignment = unchanged(*inputs->reference);
  add_candidate_runs(arguments, *inputs);
  add_scheme_runs(arguments, *inputs);
  return inputs;
}

AuditReport run_audit(const AuditArguments& arguments) {
  const BuiltIn built_in = find_built_in();
  const auto inputs = read_inputs(arguments, built_in);
  const Model& model = *inputs->reference;
  const ComputeArguments& compute = arguments.compute;
  const TokenizedCorpus corpus =
      tokenize_text(read_text(arguments.text, built_in, compute.seed), arguments.text, model);
  Device device(compute.device, compute.threads);

  EngineOptions engine_options;
  engine_options.compute = parse_compute_type(compute.compute);
  AuditOptions options;
  options.reference_language = arguments.text.reference_language;
  options.draws = compute.draws;
  options.seed = compute.seed;
  divide_memory(compute, model, engine_options, options);
  Engine engine(device, engine_options);

  AuditReport report;
  report.model = model_facts(model);
  report.corpus = corpus_facts(corpus, arguments.text);
  report.settings = {device.name(),    device.description(),           compute.compute,
                     device.threads(), arguments.coverage.seed_family, arguments.coverage.include};
  ProgressLine line(compute.quiet);
  report.result =
      audit(engine, {&model, &inputs->reference_assignment}, inputs->runs, corpus, options,
            [&](std::string_view stage, double done) { line.update(stage, done); });
  return report;
}

struct Limit {
  std::string name, sign;
  double bound = 0;
};

// "worst_kl>0.02".
Limit parse_limit(const std::string& text) {
  const size_t name = text.find_first_of("<>");
  if (name != text.npos) {
    const size_t sign = text.find_first_not_of('=', name + 1) - name;
    const std::string_view number =
        std::string_view(text).substr(std::min(text.size(), name + sign));
    double bound = 0;
    const auto [end, error] = std::from_chars(number.begin(), number.end(), bound);
    if (sign <= 2 && error == std::errc{} && end == number.end() && std::isfinite(bound)) {
      return {text.substr(0, name), text.substr(name, sign), bound};
    }
  }
  fail(ErrorCode::kBadArgument, "--fail-if {}: expected NAME>NUMBER or NAME<NUMBER", text);
}

// True when the number is past the limit.
bool limit_is_missed(const AuditReport& report, const std::string& text) {
  const Limit limit = parse_limit(text);
  const double value = summary_number(report, limit.name);
  if (std::isnan(value)) {
    fail(ErrorCode::kNotFinite, "--fail-if {}: no run has this number to be tested", text);
  }
  if (limit.sign == ">") return value > limit.bound;
  if (limit.sign == ">=") return value >= limit.bound;
  return limit.sign == "<" ? value < limit.bound : value <= limit.bound;
}

void write_outputs(const AuditArguments& arguments, const AuditReport& report) {
  const bool on_stdout = arguments.json == "-" || arguments.csv == "-";
  if (!arguments.json.empty()) write_result(arguments.json, to_json(report));
  if (!arguments.csv.empty()) write_result(arguments.csv, to_csv(report));
  if (!on_stdout) write_result("-", to_table(report, {arguments.metric, output_has_color()}));
}

Outcome list_names(const AuditArguments& arguments) {
  std::string text;
  if (arguments.list_schemes) {
    for (const auto& name : scheme_names()) text += name + "\n";
  } else {
    for (const auto& language : known_languages()) {
      text += fmt::format("{:<8} {:<9} {}\n", language.code, language.flores, language.name);
    }
  }
  write_result("-", text);
  return Outcome::kDone;
}

// Fails on what can be known to be wrong before hours of work.
void check_early(const AuditArguments& arguments) {
  const auto metrics = table_metrics();
  if (std::ranges::find(metrics, arguments.metric) == metrics.end()) {
    fail(ErrorCode::kBadArgument, "--metric {}{}; there are {}", arguments.metric,
         did_you_mean(arguments.metric, metrics), fmt::join(metrics, ", "));
  }
  check_outputs(arguments.json, arguments.csv);
  for (const auto& limit : arguments.fail_if) summary_number({}, parse_limit(limit).name);
}

Outcome run_command(AuditArguments arguments) {
  if (arguments.list_schemes || arguments.list_languages) return list_names(arguments);
  if (arguments.schemes.empty() && arguments.candidates.empty()) {
    arguments.schemes = {"q8_0", "q4_k"};
  }
  if (arguments.protects.empty()) arguments.protects = {"none"};
  check_early(arguments);
  const AuditReport report = run_audit(arguments);
  write_outputs(arguments, report);
  bool missed = false;
  for (const auto& limit : arguments.fail_if) {
    if (!limit_is_missed(report, limit)) continue;
    fmt::print(stderr, "isogloss: limit missed: {}\n", limit);
    missed = true;
  }
  return missed ? Outcome::kThreshold : Outcome::kDone;
}

void add_inputs(CLI::App& command, AuditArguments& a) {
  command.add_option("MODEL", a.model,
                     "GGUF file or Hugging Face directory (default: polyglot-12)");
  command.add_option("--candidate", a.candidates, "A quantized GGUF of the same model; repeatable")
      ->allow_extra_args(false)
      ->type_name("FILE");
  command
      .add_option("--scheme", a.schemes,
                  "How to quantize; repeatable (default: q8_0 q4_k; see --list-schemes)")
      ->allow_extra_args(false)
      ->type_name("S");
  command
      .add_option("--protect", a.protects,
                  "Units that stay as they are, or take a second scheme: L0+L11.mlp=q8_0; "
                  "repeatable, a run for each (none: nothing)")
      ->allow_extra_args(false)
      ->type_name("UNITS[=S]");
  add_coverage_options(command, a.coverage);
  add_text_options(command, a.text);
  add_part_option(command, a.text);
  add_reference_option(command, a.text);
}

void add_outputs(CLI::App& command, AuditArguments& a) {
  command.add_option("--metric", a.metric, "What the table shows")->capture_default_str();
  command.add_option("--json", a.json, "Write JSON ('-': standard output)")->type_name("FILE");
  command.add_option("--csv", a.csv, "Write CSV ('-': standard output)")->type_name("FILE");
  command.add_option("--fail-if", a.fail_if, "Exit with 3 if so: worst_kl>0.02; repeatable")
      ->allow_extra_args(false)
      ->type_name("LIMIT");
  add_compute_options(command, a.compute);
  add_bootstrap_options(command, a.compute);
  command.add_flag("--list-schemes", a.list_schemes, "List the schemes and stop");
  command.add_flag("--list-languages", a.list_languages, "List the languages and stop");
}

}  // namespace

void add_audit_command(CLI::App& app, Outcome& outcome) {
  auto arguments = std::make_shared<AuditArguments>();
  CLI::App* command = app.add_subcommand("audit", "Measure what quantization costs each language");
  add_inputs(*command, *arguments);
  add_outputs(*command, *arguments);
  command->callback([arguments, &outcome] { outcome = run_command(*arguments); });
}

}  // namespace isogloss
