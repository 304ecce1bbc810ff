// A quantized model as JSON.
#include "isogloss/report/json_impl.h"
#include "isogloss/report/quantize_report.h"

namespace isogloss {
namespace {

Json by_language(const CalibrationFacts& facts, const std::vector<double>& numbers) {
  Json json = Json::object();
  for (size_t l = 0; l < numbers.size(); ++l) json[facts.corpus.languages[l]] = number(numbers[l]);
  return json;
}

Json tensors(const QuantizeReport& report) {
  Json list = Json::array();
  for (const PlannedTensor& planned : report.plan.tensors) {
    const TensorView& view = report.tensors_of->tensors()[planned.tensor];
    list.push_back({{"name", view.name},
                    {"rows", view.rows},
                    {"cols", view.cols},
                    {"type", planned.type},
                    {"size_bytes", planned.size_bytes}});
  }
  return list;
}

Json calibration(const QuantizeReport& report) {
  const CalibrationFacts& facts = *report.calibration;
  Json json = {{"corpus", to_json_object(facts.corpus)},
               {"tokens", facts.tokens},
               {"weights", by_language(facts, facts.weights)}};
  if (report.rounds.empty()) return json;
  Json rounds = Json::array();
  for (const MinimaxRound& round : report.rounds) {
    rounds.push_back({{"weights", by_language(facts, round.weights)},
                      {"losses", by_language(facts, round.losses)}});
  }
  json["minimax"] = {{"rounds", std::move(rounds)}, {"chosen", report.chosen_round}};
  return json;
}

}  // namespace

std::string to_json(const QuantizeReport& report) {
  const auto name_of = [&](size_t tensor) { return report.tensors_of->tensors()[tensor].name; };
  Json fallbacks = Json::array();
  for (const Fallback& fallback : report.fallbacks) {
    fallbacks.push_back({{"tensor", name_of(fallback.tensor)},
                         {"wanted", to_string(fallback.wanted)},
                         {"used", to_string(fallback.used)}});
  }
  Json notes = Json::array();
  for (const QuantizeNote& note : report.notes) {
    notes.push_back({{"tensor", name_of(note.tensor)}, {"note", note.text}});
  }
  Json json = {{"isogloss", version()},
               {"model", to_json_object(report.model)},
               {"scheme", report.scheme},
               {"output", report.output},
               {"format", to_string(report.format)},
               {"dry_run", report.dry_run},
               {"size_bytes", report.plan.file_bytes},
               {"bits_per_weight", number(report.plan.bits_per_weight)},
               {"tensors", tensors(report)},
               {"fallbacks", std::move(fallbacks)},
               {"notes", std::move(notes)}};
  if (report.calibration) json["calibration"] = calibration(report);
  return to_text(json);
}

}  // namespace isogloss
