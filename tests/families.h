// The fixtures of tests/data/families: a tiny model of each family, with what transformers makes of
// it (tests/reference/make_families.py).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "isogloss/base/file.h"
#include "tests/loaded_model.h"

namespace isogloss {

inline std::filesystem::path family_path(const std::string& name) {
  return repository_path("tests/data/families") / name;
}

inline std::vector<std::string> family_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(family_path(""))) {
    if (entry.is_directory()) names.push_back(entry.path().filename());
  }
  std::ranges::sort(names);
  return names;
}

// A test's name may hold only letters, digits and underlines.
inline std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::ranges::replace(name, '-', '_');
  return name;
}

// One sequence, and what came out or should come out.
struct FamilySample {
  std::string name;
  std::vector<int32_t> ids;
  std::vector<size_t> positions;
  std::vector<std::vector<float>>
      hidden;                 // [stage]: embeddings, then each block; positions in turn
  std::vector<float> logits;  // positions in turn
};

inline std::vector<FamilySample> read_family_reference(const std::string& family) {
  const auto json = nlohmann::json::parse(read_text_file(family_path(family) / "reference.json"));
  const std::string bytes = read_text_file(family_path(family) / "reference.bin");
  std::vector<float> all(bytes.size() / sizeof(float));
  EXPECT_EQ(all.size(), json["floats"].get<size_t>());
  std::memcpy(all.data(), bytes.data(), all.size() * sizeof(float));
  const size_t positions = json["logits_shape"][0];
  const size_t vocabulary = json["logits_shape"][1];
  const size_t stages = json["hidden_shape"][1];
  const size_t width = json["hidden_shape"][2];
  std::vector<FamilySample> samples;
  for (const auto& entry : json["sequences"]) {
    FamilySample sample{entry["name"], entry["ids"], entry["positions"], {}, {}};
    const float* logits = all.data() + entry["logits_offset"].get<size_t>();
    sample.logits.assign(logits, logits + positions * vocabulary);
    const float* hidden = all.data() + entry["hidden_offset"].get<size_t>();
    sample.hidden.resize(stages);
    for (size_t at = 0; at < positions * stages; ++at) {
      auto& stage = sample.hidden[at % stages];
      stage.insert(stage.end(), hidden + at * width, hidden + (at + 1) * width);
    }
    samples.push_back(std::move(sample));
  }
  return samples;
}

}  // namespace isogloss
