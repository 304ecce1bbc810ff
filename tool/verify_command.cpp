// isogloss verify
#include <memory>

#include "isogloss/base/error.h"
#include "isogloss/report/verify_report.h"
#include "tool/commands.h"
#include "tool/inputs.h"
#include "tool/terminal.h"

namespace isogloss {
namespace {

struct VerifyArguments {
  std::string written, against, json, scratch;
  TextArguments text;
  ComputeArguments compute;
  bool skip_exact = false;
};

VerifyReport run_verify(const VerifyArguments& arguments) {
  const BuiltIn built_in = find_built_in();
  const Model reference = read_model(model_path(arguments.against, built_in));
  const Model written = read_model(arguments.written);
  check_same_model(reference, written);
  const ComputeArguments& compute = arguments.compute;
  const Corpus text = read_text(arguments.text, built_in, compute.seed);
  const TokenizedCorpus corpus = tokenize_text(text, arguments.text, reference);
  const TokenizedCorpus written_corpus = tokenize_text(text, arguments.text, written);

  Device device(compute.device, compute.threads);
  EngineOptions engine_options;
  engine_options.compute = parse_compute_type(compute.compute);
  VerifyOptions options;
  options.draws = compute.draws;
  options.seed = compute.seed;
  options.threads = device.threads();
  options.exact = !arguments.skip_exact;
  if (!arguments.scratch.empty()) options.scratch = arguments.scratch;
  divide_memory(compute, reference, engine_options, options);
  Engine engine(device, engine_options);

  VerifyReport report;
  report.reference = model_facts(reference);
  report.written = model_facts(written);
  report.corpus = corpus_facts(corpus, arguments.text);
  report.settings = {
      device.name(), device.description(), compute.compute, device.threads(), "", {}};
  ProgressLine line(compute.quiet);
  report.result = verify(engine, {&reference, &written, &corpus, &written_corpus}, options,
                         [&](std::string_view stage, double done) { line.update(stage, done); });
  return report;
}

Outcome run_command(const VerifyArguments& arguments) {
  check_outputs(arguments.json, "");
  // BF16 would round more than what is to be seen.
  if (parse_compute_type(arguments.compute.compute) != ComputeType::kF32) {
    fail(ErrorCode::kBadArgument, "--compute {}: a file is verified in f32",
         arguments.compute.compute);
  }
  const VerifyReport report = run_verify(arguments);
  if (!arguments.json.empty()) write_result(arguments.json, to_json(report));
  if (arguments.json != "-") write_result("-", to_table(report, output_has_color()));
  return report.result.agrees() ? Outcome::kDone : Outcome::kThreshold;
}

}  // namespace

void add_verify_command(CLI::App& app, Outcome& outcome) {
  auto arguments = std::make_shared<VerifyArguments>();
  CLI::App* command = app.add_subcommand(
      "verify", "Measure a written file in llama.cpp itself, beside what is predicted of it");
  command->add_option("OUT", arguments->written, "The GGUF file or directory that was written")
      ->required();
  command
      ->add_option("--against", arguments->against,
                   "The model that it was made from (default: polyglot-12)")
      ->type_name("MODEL");
  add_text_options(*command, arguments->text);
  add_part_option(*command, arguments->text);
  command->add_flag("--skip-exact", arguments->skip_exact,
                    "Leave out the second run, by an F32 copy of the file, in which small faults "
                    "show");
  command
      ->add_option("--scratch", arguments->scratch,
                   "Where that copy lies meanwhile (default: the system's temporary directory)")
      ->type_name("DIR");
  command->add_option("--json", arguments->json, "Write JSON ('-': standard output)")
      ->type_name("FILE");
  add_compute_options(*command, arguments->compute);
  add_bootstrap_options(*command, arguments->compute);
  command->callback([arguments, &outcome] { outcome = run_command(*arguments); });
}

}  // namespace isogloss
