// isogloss inspect
#include <memory>

#include "isogloss/study/study.h"
#include "tool/commands.h"
#include "tool/inputs.h"
#include "tool/terminal.h"

namespace isogloss {
namespace {

struct InspectArguments {
  std::string model, json;
  bool tensors = false, weights = false, seed_way = false, quiet = false;
};

Outcome run_command(const InspectArguments& arguments) {
  check_can_write(arguments.json);
  const Model model =
      read_model(arguments.model.empty() ? find_built_in().model.string() : arguments.model);
  InspectReport report{model_facts(model), &model, {}};
  if (arguments.weights || arguments.seed_way) {
    ProgressLine line(arguments.quiet);
    const WeightStudyOptions options{arguments.weights, arguments.weights && arguments.tensors,
                                     arguments.seed_way};
    report.weights = study_weights(
        model, options, [&](std::string_view stage, double done) { line.update(stage, done); });
  }
  if (!arguments.json.empty()) write_result(arguments.json, to_json(report));
  if (arguments.json != "-") {
    write_result("-", to_table(report, {arguments.tensors, output_has_color()}));
  }
  return Outcome::kDone;
}

}  // namespace

void add_inspect_command(CLI::App& app, Outcome& outcome) {
  auto arguments = std::make_shared<InspectArguments>();
  CLI::App* command = app.add_subcommand("inspect", "Say what a model is made of");
  command->add_option("MODEL", arguments->model,
                      "GGUF file or Hugging Face directory (default: polyglot-12)");
  command->add_flag("--tensors", arguments->tensors, "A line for every tensor");
  command->add_flag("--weights", arguments->weights,
                    "Statistics of the weights, by layer; with --tensors by tensor too");
  command->add_flag("--seed-way", arguments->seed_way,
                    "Statistics of the weights as the published study took them");
  command->add_option("--json", arguments->json, "Write JSON ('-': standard output)")
      ->type_name("FILE");
  command->add_flag("--quiet", arguments->quiet, "No progress");
  command->callback([arguments, &outcome] { outcome = run_command(*arguments); });
}

}  // namespace isogloss
