// Parts of a config.json.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "isogloss/base/json.h"
#include "isogloss/model/model_impl.h"

namespace isogloss {

// A key that may only have its usual value.
void refuse_unless(const JsonObject& file, const char* key, const nlohmann::json& usual);

// What a family's class assumes of rotary embedding.
struct RopeDefaults {
  double base = 10000;
  double part = 1;  // of a head that rotates
  bool part_may_vary = false;
};

// Fills in the rotation of the model, and of its windowed layers where that is another.
void read_ropes(const JsonObject& file, ModelConfig& config, const RopeDefaults& defaults);

}  // namespace isogloss
