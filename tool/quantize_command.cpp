// isogloss quantize
#include <algorithm>
#include <memory>

#include "isogloss/base/error.h"
#include "isogloss/base/file.h"
#include "isogloss/plan/plan.h"
#include "isogloss/report/quantize_report.h"
#include "tool/calibrator.h"
#include "tool/commands.h"
#include "tool/terminal.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;

struct QuantizeArguments {
  std::string model, scheme, protect = "none", plan, output, format, json;
  std::string save_plan, save_imatrix, llama_quantize;
  std::vector<std::string> imatrices;
  CoverageArguments coverage;
  CalibrationArguments calibration;
  ComputeArguments compute;
  bool dry_run = false, force = false;
};

constexpr std::string_view kComputed = "auto";  // of --imatrix

FileFormat format_of(const QuantizeArguments& arguments) {
  if (!arguments.format.empty()) return parse_file_format(arguments.format);
  return arguments.output.ends_with(".gguf") ? FileFormat::kGguf : FileFormat::kCompressedTensors;
}

Assignment make_assignment(const QuantizeArguments& arguments, const Model& model) {
  if (!arguments.plan.empty()) return assign(model, read_plan(arguments.plan), arguments.plan);
  AssignmentRequest request;
  request.scheme = parse_scheme(arguments.scheme);
  request.include = arguments.coverage.include;
  request.seed_family = seed_family_of(arguments.coverage);
  parse_protect(arguments.protect, request);
  return assign(model, request);
}

bool any_scheme(const Assignment& assignment, bool (*is_so)(const Scheme&)) {
  return std::ranges::any_of(assignment.schemes, is_so);
}

bool computes_imatrix(const QuantizeArguments& arguments, const Assignment& assignment) {
  if (!arguments.imatrices.empty()) return arguments.imatrices.front() == kComputed;
  return any_scheme(assignment, needs_importance);
}

std::unique_ptr<QuantizeTask> make_task(const QuantizeArguments& arguments,
                                        const BuiltIn& built_in) {
  auto task = std::make_unique<QuantizeTask>(read_model(model_path(arguments.model, built_in)));
  task->assignment = make_assignment(arguments, task->model);
  const FileFormat format = format_of(arguments);
  for (Scheme& scheme : task->assignment.schemes) {
    if (scheme.kind == SchemeKind::kInteger) scheme.scale_type = scale_type(task->model, format);
  }
  task->request = {.model = &task->model, .assignment = &task->assignment, .format = format};
  auto& provenance = task->request.provenance;
  provenance["isogloss.version"] = version();
  provenance["isogloss.scheme"] = arguments.plan.empty() ? arguments.scheme : "plan";
  if (arguments.protect != "none") provenance["isogloss.protect"] = arguments.protect;
  task->computes_imatrix = computes_imatrix(arguments, task->assignment);
  if (task->computes_imatrix || any_scheme(task->assignment, needs_calibration)) {
    task->text = read_calibration(arguments.calibration, built_in, task->model);
    describe_calibration(*task, arguments.calibration, task->text->weights);
  }
  return task;
}

Imatrix read_imatrices(const std::vector<std::string>& paths) {
  std::vector<Imatrix> parts;
  for (const auto& path : paths) parts.push_back(read_imatrix(path));
  return merge(parts);
}

void write_model(const QuantizeArguments& arguments, QuantizeTask& task, QuantizeReport& report,
                 const Progress& progress) {
  if (!task.text) {
    const QuantizeRequest request{&task.model, &task.assignment,
                                  task.imatrix ? &*task.imatrix : nullptr, nullptr};
    const auto writer = open_writer(task.request, arguments.output);
    report.notes = quantize_model(
        nullptr, request, [&](FinishedTensor&& tensor) { writer->write(tensor); }, progress);
    writer->commit();
    return;
  }
  Calibrator calibrator(task, arguments.calibration, arguments.compute, progress);
  if (task.text->minimax) calibrator.search_weights(arguments.output, report);
  report.notes = calibrator.write(task.text->weights, arguments.output);
}

// Fails on what can be known to be wrong before hours of work.
void check_early(const QuantizeArguments& arguments) {
  if (arguments.scheme.empty() == arguments.plan.empty()) {
    fail(ErrorCode::kBadArgument, "give one of --scheme and --plan");
  }
  const bool both = std::ranges::find(arguments.imatrices, kComputed) != arguments.imatrices.end();
  if (both && arguments.imatrices.size() > 1) {
    fail(ErrorCode::kBadArgument, "--imatrix auto: is computed, and takes no file beside it");
  }
  std::error_code unreadable;
  if (!arguments.dry_run && !arguments.force && fs::exists(arguments.output, unreadable)) {
    fail(ErrorCode::kBadArgument, "{}: is there already; --force writes over it", arguments.output);
  }
  check_outputs(arguments.json, "");
  for (const auto& path : {arguments.save_plan, arguments.save_imatrix, arguments.llama_quantize}) {
    check_can_write(path);
  }
}

// The call of llama-quantize that makes the same types; "" where nobody asks.
std::string llama_quantize_command(const QuantizeArguments& arguments, const QuantizeTask& task) {
  if (arguments.llama_quantize.empty()) return "";
  std::string imatrix = arguments.save_imatrix;
  if (imatrix.empty() && arguments.imatrices.size() == 1) imatrix = arguments.imatrices.front();
  if (imatrix == kComputed) {
    fail(ErrorCode::kBadArgument,
         "--llama-quantize {}: llama-quantize reads the importance matrix from a file; name one "
         "with --save-imatrix",
         arguments.llama_quantize);
  }
  const auto words = llama_quantize_arguments(task.model, task.assignment, arguments.llama_quantize,
                                              arguments.output, imatrix);
  return fmt::format("llama-quantize {}", fmt::join(words, " "));
}

void write_side_files(const QuantizeArguments& arguments, const QuantizeTask& task) {
  if (!arguments.save_plan.empty()) {
    write_plan(make_plan(task.model, task.assignment), arguments.save_plan);
  }
  if (!arguments.llama_quantize.empty()) {
    write_file(arguments.llama_quantize, tensor_type_file(task.model, task.assignment));
  }
  if (!arguments.save_imatrix.empty() && task.imatrix) {
    const bool is_old = arguments.save_imatrix.ends_with(".dat");
    (is_old ? write_imatrix_dat : write_imatrix)(*task.imatrix, arguments.save_imatrix);
  }
}

void print_outputs(const QuantizeArguments& arguments, const QuantizeReport& report,
                   const std::string& same_by_llama) {
  if (!arguments.json.empty()) write_result(arguments.json, to_json(report));
  if (arguments.json == "-") return;
  std::string text = to_table(report, output_has_color());
  if (!same_by_llama.empty()) text += "the same types by llama.cpp: " + same_by_llama + "\n";
  write_result("-", text);
}

Outcome run_command(const QuantizeArguments& arguments) {
  check_early(arguments);
  const BuiltIn built_in = find_built_in();
  const auto task = make_task(arguments, built_in);
  QuantizeReport report;
  report.model = model_facts(task->model);
  report.tensors_of = &task->model;
  report.scheme = arguments.plan.empty() ? arguments.scheme : arguments.plan;
  report.output = arguments.output;
  report.format = task->request.format;
  report.dry_run = arguments.dry_run;
  report.plan = plan_write(task->request);
  report.fallbacks = task->assignment.fallbacks;
  const std::string same_by_llama = llama_quantize_command(arguments, *task);
  const bool from_files = !arguments.imatrices.empty() && arguments.imatrices.front() != kComputed;
  if (from_files) task->imatrix = read_imatrices(arguments.imatrices);
  if (!arguments.dry_run) {
    ProgressLine line(arguments.compute.quiet);
    write_model(arguments, *task, report,
                [&](std::string_view stage, double done) { line.update(stage, done); });
  }
  if (task->text) report.calibration = calibration_facts(*task->text, arguments.calibration);
  write_side_files(arguments, *task);
  print_outputs(arguments, report, same_by_llama);
  return Outcome::kDone;
}

void add_inputs(CLI::App& command, QuantizeArguments& a) {
  command.add_option("MODEL", a.model,
                     "GGUF file or Hugging Face directory (default: polyglot-12)");
  command.add_option("--scheme", a.scheme, "How to quantize the weight matrices of the blocks")
      ->type_name("S");
  command.add_option("--plan", a.plan, "A scheme for each tensor, from a file")->type_name("FILE");
  command
      .add_option("--protect", a.protect,
                  "Units that stay as they are, or take a second scheme: L0+L11.mlp=q8_0")
      ->type_name("UNITS[=S]");
  add_coverage_options(command, a.coverage);
  command
      .add_option("--imatrix", a.imatrices,
                  "Importance matrix for ggml's types: a file (repeatable; they are added up), or "
                  "auto: computed from the calibration text")
      ->allow_extra_args(false)
      ->type_name("FILE|auto");
  add_calibration_options(command, a.calibration);
}

void add_outputs(CLI::App& command, QuantizeArguments& a) {
  command.add_option("-o,--output", a.output, "File or directory to write")
      ->required()
      ->type_name("OUT");
  command
      .add_option("--format", a.format,
                  "gguf, compressed-tensors or gptq (default: gguf where OUT ends in .gguf, else "
                  "compressed-tensors)")
      ->type_name("F");
  command.add_flag("--dry-run", a.dry_run, "Say what would be written, to the byte, and stop");
  command.add_flag("--force", a.force, "Write over what is there");
  command.add_option("--json", a.json, "Write JSON ('-': standard output)")->type_name("FILE");
  command.add_option("--save-plan", a.save_plan, "Write the scheme of each tensor")
      ->type_name("FILE");
  command.add_option("--save-imatrix", a.save_imatrix, "Write the importance matrix that was used")
      ->type_name("FILE");
  command
      .add_option("--llama-quantize", a.llama_quantize,
                  "Write the types as llama-quantize reads them, and say how to call it")
      ->type_name("FILE");
  add_compute_options(command, a.compute);
}

}  // namespace

void add_quantize_command(CLI::App& app, Outcome& outcome) {
  auto arguments = std::make_shared<QuantizeArguments>();
  CLI::App* command = app.add_subcommand("quantize", "Write a quantized model");
  add_inputs(*command, *arguments);
  add_outputs(*command, *arguments);
  command->callback([arguments, &outcome] { outcome = run_command(*arguments); });
}

}  // namespace isogloss
