// What inspect's table and JSON share: one word for each property, and layers in short.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "isogloss/report/report.h"

namespace isogloss {

std::string_view to_string(NormKind norm);
std::string_view to_string(Activation activation);
std::string_view to_string(Positions positions);
std::string_view to_string(RopePairs pairs);
std::string_view to_string(RopeScaling scaling);
std::string_view to_string(TensorKind kind);

// Whether the activation of one matrix multiplies what another gives.
bool has_gate(const ModelConfig& config);

// "0-4,6-10" of ascending layers.
std::string layer_ranges(std::span<const size_t> layers);

// A line of what there is to know about a model before its tensors.
struct Fact {
  std::string label, text;
};
std::vector<Fact> describe(const ModelFacts& facts, const Model& model);

}  // namespace isogloss
