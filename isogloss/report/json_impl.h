// What the JSON reports share: numbers that may not be finite, and who says so.
#pragma once

#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "isogloss/report/report.h"

namespace isogloss {

using Json = nlohmann::ordered_json;

inline Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

// `object` with a "status" that names its numbers that are null.
Json with_status(Json object);

Json to_json_object(const ModelFacts& facts);
Json to_json_object(const Estimate& estimate);
Json to_json_object(const Measured& measured);  // nulls and the status where there is no number
Json to_json_object(const Effect& effect);      // the same
Json to_json_object(const NoiseFloor& floor);
Json patch_json(const PatchResult& patch, const std::vector<std::string>& codes);
Json to_json_object(const AuditReport::CorpusFacts& corpus);
Json to_json_object(const AuditReport::Settings& settings, const std::string& reference_language,
                    uint64_t seed, size_t draws);

// What an audit and a sweep begin with: all that is needed to repeat them, and the noise floor.
template <typename Report>
Json head_of(const Report& report) {
  const auto& result = report.result;
  return {{"isogloss", version()},
          {"model", to_json_object(report.model)},
          {"corpus", to_json_object(report.corpus)},
          {"settings",
           to_json_object(report.settings, result.reference_language, result.seed, result.draws)},
          {"noise_floor", to_json_object(result.noise_floor)}};
}

// Paths and texts may hold bytes that are not UTF-8; they are replaced rather than refused.
std::string to_text(const Json& json);

}  // namespace isogloss
