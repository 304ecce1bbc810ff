// What commands read: the data that comes with the program, and models with their facts.
#pragma once

#include <filesystem>
#include <string>

#include "isogloss/report/report.h"

namespace isogloss {

// The model and corpus that come with the program: beside it when installed, else in its source.
struct BuiltIn {
  std::filesystem::path model, corpus;
};
BuiltIn find_built_in();

// What a report says of a model before anything else.
ModelFacts model_facts(const Model& model);

}  // namespace isogloss
