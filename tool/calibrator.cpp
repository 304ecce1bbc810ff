#include "tool/calibrator.h"

#include <unistd.h>

#include <algorithm>
#include <limits>

namespace isogloss {
namespace {

constexpr size_t kFewDraws = 100;  // of a bootstrap whose intervals are not used
constexpr double kStep = 1;        // of the weights, in follow_losses()

// In a form whose length does not depend on the numbers, so that a dry run knows the file's size.
std::string weights_text(const CalibrationFacts& facts, const std::vector<double>& weights) {
  std::string text;
  for (size_t l = 0; l < weights.size(); ++l) {
    text += fmt::format("{}{}={:.6f}", l == 0 ? "" : ",", facts.corpus.languages[l], weights[l]);
  }
  return text;
}

// A file or directory beside the output, that is gone in the end, whatever that is.
struct Trial {
  Trial(const std::filesystem::path& output, FileFormat format) : path(output) {
    path += fmt::format(".minimax-{}{}", getpid(), format == FileFormat::kGguf ? ".gguf" : "");
  }
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;
  ~Trial() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }

  std::filesystem::path path;
};

}  // namespace

void describe_calibration(QuantizeTask& task, const CalibrationArguments& arguments,
                          const std::vector<double>& weights) {
  const auto facts = calibration_facts(*task.text, arguments);
  task.request.provenance["isogloss.calibration.corpus"] = facts.corpus.name;
  task.request.provenance["isogloss.calibration.tokens"] = std::to_string(facts.tokens);
  task.request.provenance["isogloss.calibration.weights"] = weights_text(facts, weights);
}

Calibrator::Calibrator(QuantizeTask& task, const CalibrationArguments& arguments,
                       const ComputeArguments& compute, const Progress& progress)
    : task_(task),
      arguments_(arguments),
      progress_(progress),
      device_(compute.device, compute.threads),
      stored_(unchanged(task.model)) {
  EngineOptions options;
  options.compute = parse_compute_type(compute.compute);
  divide_memory(compute, task.model, options, audit_options_);
  audit_options_.draws = kFewDraws;
  engine_.emplace(device_, options);
  if (!task.computes_imatrix) return;
  statistics_ = collect_statistics(*engine_, reference(), task.text->calibration, {}, progress);
}

std::vector<QuantizeNote> Calibrator::write(const std::vector<double>& weights,
                                            const std::filesystem::path& path) {
  if (task_.computes_imatrix) {
    task_.imatrix = make_imatrix(task_.model, statistics_, task_.text->calibration, weights);
  }
  describe_calibration(task_, arguments_, weights);
  const Calibration calibration{.corpus = &task_.text->calibration,
                                .weights = weights,
                                .damping = arguments_.damping,
                                .act_order = arguments_.act_order,
                                .allow_short = arguments_.allow_short};
  const QuantizeRequest request{&task_.model, &task_.assignment,
                                task_.imatrix ? &*task_.imatrix : nullptr, &calibration};
  const auto writer = open_writer(task_.request, path);
  auto notes = quantize_model(
      &*engine_, request, [&](FinishedTensor&& tensor) { writer->write(tensor); }, progress_);
  writer->commit();
  return notes;
}

std::vector<double> Calibrator::losses(const std::filesystem::path& path) {
  const TokenizedCorpus& corpus = *task_.text->select;
  const Model written = read_model(path);
  const Assignment as_written = unchanged(written);
  audit_options_.reference_language = corpus.languages.front().code;
  const AuditResult result = audit(*engine_, reference(), {{"", "", "", {&written, &as_written}}},
                                   corpus, audit_options_, progress_);
  std::vector<double> losses;
  for (const LanguageResult& language : result.runs.front().languages) {
    const Measured& loss = corpus.parallel ? language.kl_per_unit : language.kl_per_byte;
    losses.push_back(loss.estimate ? loss.estimate->value : 0);
  }
  return losses;
}

void Calibrator::search_weights(const std::filesystem::path& output, QuantizeReport& report) {
  const Trial trial(output, task_.request.format);
  std::vector<double> weights = task_.text->weights;
  double least = std::numeric_limits<double>::infinity();
  for (size_t round = 0; round < arguments_.rounds; ++round) {
    write(weights, trial.path);
    auto lost = losses(trial.path);
    if (const double worst = std::ranges::max(lost); worst < least) {
      least = worst;
      report.chosen_round = round;
      task_.text->weights = weights;
    }
    auto next = follow_losses(weights, lost, kStep);
    report.rounds.push_back({std::move(weights), std::move(lost)});
    weights = std::move(next);
  }
}

}  // namespace isogloss
