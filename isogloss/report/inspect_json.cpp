// A model as JSON.
#include <charconv>

#include "isogloss/base/error.h"
#include "isogloss/report/inspect_impl.h"
#include "isogloss/report/json_impl.h"

namespace isogloss {
namespace {

// A float by its own shortest digits: 1e-05 rather than 9.999999747378752e-06.
Json short_float(float value) {
  const std::string text = fmt::format("{}", value);
  double shortest = static_cast<double>(value);
  std::from_chars(text.data(), text.data() + text.size(), shortest);
  return number(shortest);
}

Json short_floats(const std::vector<float>& values) {
  Json list = Json::array();
  for (const float value : values) list.push_back(short_float(value));
  return list;
}

Json layer_or_null(size_t layer) {
  return layer == kNoLayer ? Json(nullptr) : Json(layer);
}

Json rope(const RopeConfig& rope) {
  return {{"pairs", to_string(rope.pairs)},
          {"dims", rope.dims},
          {"base", short_float(rope.base)},
          {"scaling", to_string(rope.scaling)},
          {"factor", short_float(rope.factor)},
          {"original_length", rope.original_length},
          {"beta_fast", short_float(rope.beta_fast)},
          {"beta_slow", short_float(rope.beta_slow)},
          {"attention_factor", short_float(rope.attention_factor)},
          {"factors", short_floats(rope.factors)},
          {"long_factors", short_floats(rope.long_factors)}};
}

// Of the layers that rotate so; null where none does.
Json rope_if_used(const ModelConfig& config, const RopeConfig& wanted) {
  for (size_t layer = 0; layer < config.layers; ++layer) {
    if (config.layer_rope(layer) == &wanted) return rope(wanted);
  }
  return nullptr;
}

Json layers(const ModelConfig& config) {
  Json list = Json::array();
  for (size_t layer = 0; layer < config.layers; ++layer) {
    const RopeConfig* used = config.layer_rope(layer);
    list.push_back({{"window", config.layer_configs[layer].window},
                    {"rope", !used                  ? Json(nullptr)
                             : used == &config.rope ? Json("rope")
                                                    : Json("windowed_rope")}});
  }
  return list;
}

Json architecture(const ModelConfig& config) {
  return {{"width", config.width},
          {"embedding_width", config.embedding_width},
          {"heads", config.heads},
          {"kv_heads", config.kv_heads},
          {"head_dim", config.head_dim},
          {"ffn_width", config.ffn_width},
          {"activation", to_string(config.activation)},
          {"gated", has_gate(config)},
          {"vocab_size", config.vocab_size},
          {"context_length", config.context_length},
          {"norm", to_string(config.norm)},
          {"norm_epsilon", short_float(config.norm_epsilon)},
          {"norm_per_head", config.norm_per_head},
          {"norm_after", config.norm_after},
          {"parallel_blocks", config.parallel_blocks},
          {"positions", to_string(config.positions)},
          {"position_offset", config.position_offset},
          {"rope", rope_if_used(config, config.rope)},
          {"windowed_rope", rope_if_used(config, config.windowed_rope)},
          {"layers", layers(config)},
          {"attention_scale", short_float(config.attention_scale)},
          {"attention_softcap", short_float(config.attention_softcap)},
          {"embedding_scale", short_float(config.embedding_scale)},
          {"residual_scale", short_float(config.residual_scale)},
          {"logit_scale", short_float(config.logit_scale)},
          {"logit_softcap", short_float(config.logit_softcap)},
          {"tied_head", config.tied_head}};
}

Json tensors(const Model& model) {
  Json list = Json::array();
  for (const TensorView& tensor : model.tensors()) {
    list.push_back({{"name", tensor.name},
                    {"hf_name", tensor.hf_name},
                    {"kind", to_string(get_role_info(tensor.role).kind)},
                    {"layer", layer_or_null(tensor.layer)},
                    {"type", tensor.type_name()},
                    {"rows", tensor.rows},
                    {"cols", tensor.cols},
                    {"parameters", tensor.count()},
                    {"size_bytes", tensor.size_bytes()}});
  }
  return list;
}

Json group(const WeightGroup& group) {
  const WeightStatistics& s = group.statistics;
  Json json = {{"name", group.name},
               {"kind", group.kind ? Json(to_string(*group.kind)) : Json(nullptr)},
               {"layer", layer_or_null(group.layer)},
               {"tensors", group.tensors.size()},
               {"count", s.count},
               {"mean", number(s.mean)},
               {"sd", number(s.sd)},
               {"max_abs", number(s.max_abs)},
               {"sparsity", number(s.sparsity)}};
  const auto of_shape = [&](double WeightStatistics::Shape::*value) {
    return s.shape ? number((*s.shape).*value) : Json(nullptr);
  };
  json["skewness"] = of_shape(&WeightStatistics::Shape::skewness);
  json["excess_kurtosis"] = of_shape(&WeightStatistics::Shape::excess_kurtosis);
  json["outlier_ratio"] = of_shape(&WeightStatistics::Shape::outlier_ratio);
  json["max_over_sd"] = of_shape(&WeightStatistics::Shape::max_over_sd);
  if (!s.status.empty()) json["status"] = s.status;
  return json;
}

Json groups(const std::vector<WeightGroup>& list) {
  Json json = Json::array();
  for (const WeightGroup& entry : list) json.push_back(group(entry));
  return json;
}

}  // namespace

std::string to_json(const InspectReport& report) {
  const Model& model = *report.model;
  const Vocabulary& vocabulary = model.vocabulary();
  Json json = {{"isogloss", version()},
               {"model", to_json_object(report.facts)},
               {"architecture", architecture(model.config())},
               {"tokenizer",
                {{"model", vocabulary.model},
                 {"pre", vocabulary.pre},
                 {"tokens", vocabulary.size()},
                 {"merges", vocabulary.merges.size()}}},
               {"tensors", tensors(model)},
               {"weights",
                {{"layers", groups(report.weights.layers)},
                 {"tensors", groups(report.weights.tensors)},
                 {"seed_way", groups(report.weights.seed)}}}};
  return to_text(json);
}

}  // namespace isogloss
