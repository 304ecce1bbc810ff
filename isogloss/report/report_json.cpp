#include "isogloss/report/json_impl.h"
#include "isogloss/report/report_impl.h"

namespace isogloss {
namespace {

Json kl_per_token(const KlPerToken& kl) {
  return with_status({{"mean", number(kl.mean.value)},
                      {"lo", number(kl.mean.lo)},
                      {"hi", number(kl.mean.hi)},
                      {"median", number(kl.median)},
                      {"p99", number(kl.p99)},
                      {"p999", number(kl.p999)},
                      {"max", number(kl.max)}});
}

Json language(const LanguageResult& result) {
  Json json = {{"tokens", result.tokens},
               {"units", result.units},
               {"bytes", result.bytes},
               {"ppl_reference", number(result.ppl_reference)},
               {"ppl", number(result.ppl)}};
  for (const MetricColumn& column : metric_columns()) {
    json[std::string(column.name)] = column.name == "kl_per_token"
                                         ? kl_per_token(result.kl_per_token)
                                         : to_json_object(column.get(result));
  }
  return with_status(std::move(json));
}

Json disparity(const RunResult& run) {
  const Disparity& disparity = run.disparity;
  Json json = {{"gap", to_json_object(disparity.gap)},
               {"gini", to_json_object(disparity.gini)},
               {"seed_disparity_mean", to_json_object(disparity.seed_disparity_mean)},
               {"p_value", number(disparity.p_value)},
               {"measurable", disparity.measurable},
               {"verdict", disparity.verdict}};
  Json deviations = Json::object();
  for (size_t l = 0; l < disparity.deviation.size(); ++l) {
    deviations[run.languages[l].code] = to_json_object(
        Estimate{disparity.deviation[l], disparity.deviation_lo[l], disparity.deviation_hi[l]});
  }
  json["ln_kl_deviation"] = std::move(deviations);
  return with_status(std::move(json));
}

Json run(const RunResult& result) {
  Json json = {{"name", result.name},
               {"scheme", result.scheme},
               {"protect", result.protect},
               {"size_bytes", result.size_bytes},
               {"bits_per_weight", number(result.bits_per_weight)},
               {"fallbacks", result.fallbacks},
               {"regime", to_string(result.regime)},
               {"worst_language", result.worst_language},
               {"worst_language_frequency", number(result.worst_language_frequency)},
               {"disparity", disparity(result)}};
  Json languages = Json::object();
  for (const auto& entry : result.languages) languages[entry.code] = language(entry);
  json["languages"] = std::move(languages);
  return with_status(std::move(json));
}

}  // namespace

Json with_status(Json object) {
  std::string names;
  for (const auto& [name, value] : object.items()) {
    if (value.is_null()) names += (names.empty() ? "" : ", ") + name;
  }
  if (!names.empty()) object["status"] = "NOT FINITE: " + names;
  return object;
}

Json to_json_object(const ModelFacts& facts) {
  return with_status({{"path", facts.path},
                      {"name", facts.name},
                      {"family", facts.family},
                      {"layers", facts.layers},
                      {"parameters", facts.parameters},
                      {"size_bytes", facts.size_bytes},
                      {"bits_per_weight", number(facts.bits_per_weight)},
                      {"quantized_blocks", facts.quantized_blocks}});
}

Json to_json_object(const Estimate& estimate) {
  return with_status({{"value", number(estimate.value)},
                      {"lo", number(estimate.lo)},
                      {"hi", number(estimate.hi)}});
}

Json to_json_object(const Measured& measured) {
  if (measured.estimate) return to_json_object(*measured.estimate);
  return {{"value", nullptr}, {"lo", nullptr}, {"hi", nullptr}, {"status", measured.status}};
}

Json to_json_object(const NoiseFloor& floor) {
  return with_status({{"tokens", floor.tokens},
                      {"kl_per_token_mean", number(floor.kl_per_token_mean)},
                      {"kl_per_token_max", number(floor.kl_per_token_max)},
                      {"flip_rate", number(floor.flip_rate)},
                      {"nll_per_token_max", number(floor.nll_per_token_max)}});
}

Json to_json_object(const AuditReport::CorpusFacts& corpus) {
  return {{"name", corpus.name},
          {"parallel", corpus.parallel},
          {"window", corpus.window},
          {"part", corpus.part},
          {"languages", corpus.languages}};
}

Json to_json_object(const AuditReport::Settings& settings, const std::string& reference_language,
                    uint64_t seed, size_t draws) {
  return {{"compute", settings.compute},
          {"device", settings.device},
          {"hardware", settings.hardware},
          {"threads", settings.threads},
          {"reference_language", reference_language},
          {"include", settings.include},
          {"seed_family", settings.seed_family},
          {"seed", seed},
          {"draws", draws},
          {"confidence", kConfidence}};
}

std::string to_text(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string to_json(const AuditReport& report) {
  Json json = head_of(report);
  Json runs = Json::array();
  for (const auto& entry : report.result.runs) runs.push_back(run(entry));
  json["runs"] = std::move(runs);
  return to_text(json);
}

}  // namespace isogloss
