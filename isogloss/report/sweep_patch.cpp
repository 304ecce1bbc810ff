// Activation patching as JSON, CSV and a table.
#include <algorithm>
#include <cmath>
#include <functional>

#include "isogloss/report/json_impl.h"
#include "isogloss/report/sweep_impl.h"

namespace isogloss {
namespace {

constexpr size_t kMediationsShown = 12;

// What is said of a block for each language, with a test.
struct BlockEffect {
  std::string_view name;  // in JSON and CSV
  std::vector<Effect> PatchedBlock::*values;
};
constexpr BlockEffect kBlockEffects[] = {
    {"restored", &PatchedBlock::restored},
    {"damaged", &PatchedBlock::damaged},
    {"gain_effect", &PatchedBlock::gain_effect},
    {"adjusted_gain_effect", &PatchedBlock::adjusted_gain_effect},
};

// The same without a test.
struct BlockNumber {
  std::string_view name;
  std::vector<Measured> PatchedBlock::*values;
};
constexpr BlockNumber kBlockNumbers[] = {
    {"gain", &PatchedBlock::gain},
    {"own_error", &PatchedBlock::own_error},
};

Json block_json(const PatchedBlock& block, const std::vector<std::string>& codes) {
  Json json = {{"name", block.name}};
  Json languages = Json::object();
  for (size_t l = 0; l < codes.size(); ++l) {
    Json language = Json::object();
    for (const BlockEffect& entry : kBlockEffects) {
      language[std::string(entry.name)] = to_json_object((block.*entry.values)[l]);
    }
    for (const BlockNumber& entry : kBlockNumbers) {
      language[std::string(entry.name)] = to_json_object((block.*entry.values)[l]);
    }
    languages[codes[l]] = std::move(language);
  }
  json["languages"] = std::move(languages);
  return json;
}

Json effects_json(const std::vector<Effect>& effects, const std::vector<std::string>& codes) {
  Json json = Json::object();
  for (size_t l = 0; l < codes.size(); ++l) json[codes[l]] = to_json_object(effects[l]);
  return json;
}

// Language with the largest value, and the value's interval.
struct Extreme {
  std::string code;
  Measured value;
};
Extreme largest(const std::vector<Effect>& effects, const std::vector<std::string>& codes) {
  Extreme most;
  for (size_t l = 0; l < codes.size(); ++l) {
    const auto& estimate = effects[l].value.estimate;
    if (!estimate || (most.value.estimate && estimate->value <= most.value.estimate->value)) {
      continue;
    }
    most = {codes[l], effects[l].value};
  }
  return most;
}

// The smallest and the largest value over languages.
std::string range_text(std::vector<double> values) {
  std::erase_if(values, [](double value) { return !std::isfinite(value); });
  if (values.empty()) return "";
  const auto [least, most] = std::ranges::minmax(values);
  return fmt::format("{} to {}", short_number(least), short_number(most));
}

std::string range_text(const std::vector<Measured>& values) {
  std::vector<double> numbers;
  for (const Measured& value : values) {
    if (value.estimate) numbers.push_back(value.estimate->value);
  }
  return range_text(std::move(numbers));
}

std::string range_text(const std::vector<Effect>& effects) {
  std::vector<double> numbers;
  for (const Effect& effect : effects) {
    if (effect.value.estimate) numbers.push_back(effect.value.estimate->value);
  }
  return range_text(std::move(numbers));
}

// Languages whose effect is not 0 after correction.
std::string discoveries(const std::vector<Effect>& effects, const std::vector<std::string>& codes) {
  std::string text;
  for (size_t l = 0; l < codes.size(); ++l) {
    const Effect& effect = effects[l];
    if (!effect.value.estimate || effect.q_value >= kFalseDiscoveryRate) continue;
    text += fmt::format("{}{}{}", text.empty() ? "" : " ",
                        effect.value.estimate->value > 0 ? "+" : "-", codes[l]);
  }
  return text;
}

void add_blocks(const PatchResult& patch, const std::vector<std::string>& codes, TextLines& lines) {
  lines.line("");
  lines.line(
      "hidden state after a block written over, shares of the quantized model's loss, "
      "over languages",
      kBold);
  Grid states(
      {{"after", true}, {"reference's restores"}, {"quantized's costs"}, {"gain"}, {"own error"}});
  for (const PatchedBlock& block : patch.blocks) {
    states.add_row({block.name, range_text(block.restored), range_text(block.damaged),
                    range_text(block.gain), range_text(block.own_error)});
  }
  states.print(lines);
  lines.line("");
  lines.paragraph(
      "gain: relative error after the unquantized block over that before it; own error: relative "
      "error that quantizing the block adds to a clean state; smallest to largest language");
  lines.line("");
  lines.paragraph(
      fmt::format("languages whose gain differs from the mean (q < {}), + above, - below; "
                  "adjusted: at equal {}",
                  kFalseDiscoveryRate, fmt::join(patch.covariates, ", ")),
      kBold);
  Grid gains({{"block", true}, {"as it is", true}, {"adjusted", true}});
  for (const PatchedBlock& block : patch.blocks) {
    gains.add_row({block.name, discoveries(block.gain_effect, codes),
                   discoveries(block.adjusted_gain_effect, codes)});
  }
  gains.print(lines);
}

void add_mediations(const PatchResult& patch, const std::vector<std::string>& codes,
                    TextLines& lines) {
  struct Row {
    const Mediation* mediation;
    Extreme most;
  };
  std::vector<Row> rows;
  for (const Mediation& mediation : patch.mediations) {
    rows.push_back({&mediation, largest(mediation.share, codes)});
  }
  std::ranges::stable_sort(rows, std::greater<>(), [](const Row& row) {
    return row.most.value.estimate ? row.most.value.estimate->value : -INFINITY;
  });
  rows.resize(std::min(rows.size(), kMediationsShown));
  lines.line("");
  lines.paragraph("largest mediations: share of a block's DAMAGE that passes through a later block",
                  kBold);
  Grid grid({{"block", true}, {"through", true}, {"languages"}, {"most for", true}, {"share"}});
  for (const Row& row : rows) {
    grid.add_row({patch.blocks[row.mediation->block].name,
                  patch.blocks[row.mediation->through].name, range_text(row.mediation->share),
                  row.most.code, interval_text(row.most.value, kIntervalWidth)});
  }
  grid.print(lines);
  lines.line("");
  lines.paragraph("directly: share of a block's DAMAGE that is left with every later block frozen",
                  kBold);
  Grid direct({{"block", true}, {"languages"}});
  for (size_t b = 0; b < patch.direct.size(); ++b) {
    direct.add_row({patch.blocks[b].name, range_text(patch.direct[b])});
  }
  direct.print(lines);
}

}  // namespace

Json patch_json(const PatchResult& patch, const std::vector<std::string>& codes) {
  Json json = {{"covariates", patch.covariates}};
  Json& blocks = json["blocks"] = Json::array();
  for (size_t b = 0; b < patch.blocks.size(); ++b) {
    Json block = block_json(patch.blocks[b], codes);
    block["direct"] = effects_json(patch.direct[b], codes);
    blocks.push_back(std::move(block));
  }
  Json& mediations = json["mediations"] = Json::array();
  for (const Mediation& mediation : patch.mediations) {
    mediations.push_back({{"block", patch.blocks[mediation.block].name},
                          {"through", patch.blocks[mediation.through].name},
                          {"share", effects_json(mediation.share, codes)}});
  }
  return json;
}

std::string patch_csv(const PatchResult& patch, const std::vector<std::string>& codes) {
  std::string csv = std::string("measure,block,through,language,value,lo,hi,p,q").append(kLineEnd);
  const auto add = [&](std::string_view measure, const std::string& block,
                       const std::string& through, size_t l, const std::string& fields) {
    csv += fmt::format("{},{},{},{},{}{}", measure, csv_text(block), csv_text(through),
                       csv_text(codes[l]), fields, kLineEnd);
  };
  for (size_t b = 0; b < patch.blocks.size(); ++b) {
    const PatchedBlock& block = patch.blocks[b];
    for (size_t l = 0; l < codes.size(); ++l) {
      for (const BlockEffect& entry : kBlockEffects) {
        add(entry.name, block.name, "", l, csv_effect((block.*entry.values)[l]));
      }
      for (const BlockNumber& entry : kBlockNumbers) {
        add(entry.name, block.name, "", l, csv_interval((block.*entry.values)[l]) + ",,");
      }
      add("direct", block.name, "", l, csv_effect(patch.direct[b][l]));
    }
  }
  for (const Mediation& mediation : patch.mediations) {
    for (size_t l = 0; l < codes.size(); ++l) {
      add("mediation", patch.blocks[mediation.block].name, patch.blocks[mediation.through].name, l,
          csv_effect(mediation.share[l]));
    }
  }
  return csv;
}

void add_patch(const SweepReport& report, TextLines& lines) {
  if (!report.result.patch) return;
  add_blocks(*report.result.patch, report.result.languages, lines);
  add_mediations(*report.result.patch, report.result.languages, lines);
}

}  // namespace isogloss
