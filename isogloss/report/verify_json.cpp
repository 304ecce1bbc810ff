// A verification as JSON.
#include "isogloss/measure/metrics.h"
#include "isogloss/report/json_impl.h"
#include "isogloss/report/verify_report.h"

namespace isogloss {
namespace {

Json loss(const FileLoss& file) {
  Json json = {{"ppl", number(file.ppl)}};
  for (const RatioMetricInfo& metric : ratio_metrics()) {
    json[std::string(metric.name)] = to_json_object(file.metric(metric.metric));
  }
  return with_status(std::move(json));
}

Json runtime_loss(const RuntimeLoss& runtime) {
  Json json = loss(runtime);
  Json differences = Json::object();
  for (const RatioMetricInfo& metric : ratio_metrics()) {
    differences[std::string(metric.name)] = to_json_object(runtime.difference(metric.metric));
  }
  json["less_predicted"] = std::move(differences);
  json["kl_of_runtime"] = to_json_object(runtime.kl_of_runtime);
  json["kl_of_rounding"] = to_json_object(runtime.kl_of_rounding);
  return with_status(std::move(json));
}

Json to_json_object(const VerifyLimits& limits) {
  return {{"rounding_margin", limits.rounding_margin},
          {"order_kl", limits.order_kl},
          {"kl_tolerance", limits.kl_tolerance}};
}

Json language(const LanguageVerification& found) {
  Json json = {{"tokens", found.tokens},
               {"units", found.units},
               {"retokenized_units", found.retokenized_units},
               {"ppl_reference", number(found.ppl_reference)},
               {"predicted", loss(found.predicted)},
               {"runtime", runtime_loss(found.runtime)}};
  if (found.exact) json["exact"] = runtime_loss(*found.exact);
  json["agrees"] = found.agrees();
  if (!found.agrees()) json["disagreement"] = found.disagreement;
  return with_status(std::move(json));
}

}  // namespace

std::string to_json(const VerifyReport& report) {
  const VerifyResult& result = report.result;
  Json settings = to_json_object(report.settings, "", result.seed, result.draws);
  for (const char* unused : {"reference_language", "include", "seed_family"}) {
    settings.erase(unused);
  }
  Json languages = Json::object();
  for (const auto& found : result.languages) languages[found.code] = language(found);
  const Json json = {{"isogloss", version()},
                     {"model", to_json_object(report.written)},
                     {"against", to_json_object(report.reference)},
                     {"corpus", to_json_object(report.corpus)},
                     {"settings", std::move(settings)},
                     {"limits", to_json_object(result.limits)},
                     {"runtime", result.runtime},
                     {"noise_floor", to_json_object(result.noise_floor)},
                     {"agrees", result.agrees()},
                     {"languages", std::move(languages)}};
  return to_text(json);
}

}  // namespace isogloss
