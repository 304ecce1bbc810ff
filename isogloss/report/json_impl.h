// What the JSON reports share: numbers that may not be finite, and who says so.
#pragma once

#include <cmath>
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

// Paths and texts may hold bytes that are not UTF-8; they are replaced rather than refused.
std::string to_text(const Json& json);

}  // namespace isogloss
