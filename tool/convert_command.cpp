// isogloss convert
#include <filesystem>
#include <memory>

#include "isogloss/base/error.h"
#include "isogloss/base/suggest.h"
#include "isogloss/write/write.h"
#include "tool/commands.h"
#include "tool/terminal.h"

namespace isogloss {
namespace {

struct ConvertArguments {
  std::string model, output, type = "f16";
  bool force = false, quiet = false;
};

TensorType parse_type(const std::string& name) {
  for (const TensorType type : {TensorType::kF32, TensorType::kF16, TensorType::kBf16}) {
    if (lower_case(name) == get_tensor_type_info(type).name) return type;
  }
  fail(ErrorCode::kBadArgument, "--type {}: expected f32, f16 or bf16", name);
}

Outcome run_command(const ConvertArguments& arguments) {
  const ConvertOptions options{parse_type(arguments.type)};
  std::error_code unreadable;
  if (!arguments.force && std::filesystem::exists(arguments.output, unreadable)) {
    fail(ErrorCode::kBadArgument, "{}: is there already; --force writes over it", arguments.output);
  }
  const Model model = read_model(arguments.model);
  const auto notes = gguf_differences(model);
  {
    ProgressLine line(arguments.quiet);
    convert_to_gguf(model, options, arguments.output,
                    [&](std::string_view stage, double done) { line.update(stage, done); });
  }
  const FamilyInfo& family = get_family_info(model.config().family);
  std::string text = fmt::format(
      "{}: {}, {} layers, {} tensors, {} bytes as {}\n", arguments.output, family.gguf_name,
      model.config().layers, model.tensors().size(), std::filesystem::file_size(arguments.output),
      get_tensor_type_info(options.type).name);
  for (const auto& note : notes) text += "note: " + note + "\n";
  write_result("-", text);
  return Outcome::kDone;
}

}  // namespace

void add_convert_command(CLI::App& app, Outcome& outcome) {
  auto arguments = std::make_shared<ConvertArguments>();
  CLI::App* command = app.add_subcommand("convert", "Write a Hugging Face directory as GGUF");
  command->add_option("MODEL", arguments->model, "Hugging Face directory")->required();
  command->add_option("-o,--output", arguments->output, "The GGUF file to write")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--type", arguments->type,
                   "Of matrices and embeddings: f32, f16 or bf16; the rest stays f32")
      ->capture_default_str();
  command->add_flag("--force", arguments->force, "Write over a file that is there");
  command->add_flag("--quiet", arguments->quiet, "No progress");
  command->callback([arguments, &outcome] { outcome = run_command(*arguments); });
}

}  // namespace isogloss
