// Rotary embedding as config.json gives it, with every scaling, in the words of transformers 4
// and 5.
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "isogloss/base/error.h"
#include "isogloss/model/hf_config_impl.h"

namespace isogloss {
namespace {

// Of Llama 3: frequencies whose wave is longer than the first context are divided by the factor,
// short ones kept, those between mixed (transformers, _compute_llama3_parameters).
void set_llama3_factors(const JsonObject& scaling, size_t original_length, RopeConfig& rope) {
  const double factor = scaling.get_float("factor");
  const double low = scaling.get_float("low_freq_factor");
  const double high = scaling.get_float("high_freq_factor");
  const auto length = static_cast<double>(original_length);
  if (!(high > low) || !(low > 0) || !(factor > 0)) {
    fail(
        ErrorCode::kCorrupt,
        "{}: high_freq_factor {} must be above low_freq_factor {}, and both above 0 like factor {}",
        scaling.path(), high, low, factor);
  }
  RopeConfig plain = rope;
  plain.scaling = RopeScaling::kNone;
  rope.scaling = RopeScaling::kFactors;
  for (const double frequency : rotary_frequencies(plain, 0)) {
    const double wave = 2 * std::numbers::pi / frequency;
    const double smooth = (length / wave - low) / (high - low);
    const double divisor = wave < length / high  ? 1
                           : wave > length / low ? factor
                                                 : 1 / ((1 - smooth) / factor + smooth);
    rope.factors.push_back(static_cast<float>(divisor));
  }
}

// What cosine and sine are multiplied by under YaRN (Peng et al. 2023, equation 22).
float yarn_attention_factor(const JsonObject& scaling, double factor) {
  const auto grown = [&](double by) { return factor <= 1 ? 1 : 0.1 * by * std::log(factor) + 1; };
  if (scaling.has("attention_factor")) return scaling.get_float("attention_factor");
  const double mscale = scaling.get_float_or("mscale", 0);
  const double all = scaling.get_float_or("mscale_all_dim", 0);
  return static_cast<float>(mscale != 0 && all != 0 ? grown(mscale) / grown(all) : grown(1));
}

void set_long_rope(const JsonObject& scaling, size_t context_length, RopeConfig& rope) {
  rope.scaling = RopeScaling::kLongRope;
  rope.factors = scaling.get_floats("short_factor");
  rope.long_factors = scaling.get_floats("long_factor");
  const auto original = static_cast<double>(rope.original_length);
  const double grown = static_cast<double>(context_length) / original;
  const double factor =
      static_cast<double>(scaling.get_float_or("factor", static_cast<float>(grown)));
  const double usual = factor <= 1 ? 1 : std::sqrt(1 + std::log(factor) / std::log(original));
  rope.attention_factor = scaling.get_float_or("attention_factor", static_cast<float>(usual));
}

void set_yarn(const JsonObject& scaling, RopeConfig& rope) {
  refuse_unless(scaling, "truncate", true);
  rope.scaling = RopeScaling::kYarn;
  rope.factor = scaling.get_float("factor");
  rope.beta_fast = scaling.get_float_or("beta_fast", 32);
  rope.beta_slow = scaling.get_float_or("beta_slow", 1);
  rope.attention_factor = yarn_attention_factor(scaling, static_cast<double>(rope.factor));
}

// `scaling` is "rope_scaling" of transformers 4, or "rope_parameters" of 5.
void read_scaling(const JsonObject& file, const JsonObject& scaling, const ModelConfig& config,
                  RopeConfig& rope) {
  const char* key = scaling.has("rope_type") ? "rope_type" : "type";
  const std::string type = scaling.has(key) ? scaling.get_string(key) : "default";
  const size_t original =
      scaling.get_size_or("original_max_position_embeddings", rope.original_length);
  // transformers gives the file's own the priority, where there is one.
  rope.original_length = config.family == Family::kPhi3
                             ? rope.original_length
                             : file.get_size_or("original_max_position_embeddings", original);
  // "dynamic" stretches only beyond the context, where no text may go.
  if (type == "default" || type == "dynamic") return;
  if (type == "linear") {
    rope.scaling = RopeScaling::kLinear;
    rope.factor = scaling.get_float("factor");
  } else if (type == "llama3") {
    set_llama3_factors(scaling, rope.original_length, rope);
  } else if (type == "longrope" || type == "su" ||
             (type == "yarn" && config.family == Family::kPhi3)) {  // Phi-3's first name for it
    set_long_rope(scaling, config.context_length, rope);
  } else if (type == "yarn") {
    set_yarn(scaling, rope);
  } else {
    fail(ErrorCode::kUnsupported,
         "{}: \"{}\" is \"{}\"; known are default, linear, dynamic, llama3, longrope and yarn",
         scaling.path(), key, type);
  }
}

double read_part(const JsonObject& file, const std::optional<JsonObject>& parameters,
                 const RopeDefaults& defaults) {
  double part = defaults.part;
  for (const char* key : {"rotary_pct", "partial_rotary_factor"}) {
    if (file.has(key)) part = file.get_number(key);
    if (parameters && parameters->has(key)) part = parameters->get_number(key);
  }
  if (!(part > 0 && part <= 1)) {
    fail(ErrorCode::kCorrupt,
         "{}: the part of a head that rotates is {}, expected above 0, up to 1", file.path(), part);
  }
  if (!defaults.part_may_vary && part != 1) {
    fail(ErrorCode::kUnsupported,
         "{}: a part of a head rotates, {}; this family rotates whole heads", file.path(), part);
  }
  return part;
}

// `parameters`: "rope_parameters" of transformers 5, or "rope_scaling" of 4 beside keys of the
// file.
RopeConfig read_rope(const JsonObject& file, const std::optional<JsonObject>& parameters,
                     const ModelConfig& config, const RopeDefaults& defaults) {
  RopeConfig rope;
  rope.pairs = config.family == Family::kCohere || config.family == Family::kCohere2
                   ? RopePairs::kNeighbours
                   : RopePairs::kHalves;
  rope.base = static_cast<float>(defaults.base);
  for (const char* key : {"rotary_emb_base", "rope_theta"}) {
    rope.base = file.get_float_or(key, rope.base);
    if (parameters) rope.base = parameters->get_float_or(key, rope.base);
  }
  constexpr double kRounding = 1e-6;  // 0.7 * 20 is 13.999999999999998
  rope.dims = static_cast<size_t>(
      static_cast<double>(config.head_dim) * read_part(file, parameters, defaults) + kRounding);
  rope.original_length = config.family == Family::kPhi3
                             ? file.get_size_or("original_max_position_embeddings", 4096)
                             : config.context_length;
  if (parameters) read_scaling(file, *parameters, config, rope);
  return rope;
}

std::optional<JsonObject> find_rope_parameters(const JsonObject& file) {
  const auto parameters = file.find_object("rope_parameters");
  const auto scaling = file.find_object("rope_scaling");
  const bool two = parameters && scaling && !scaling->value().empty();
  if (two && parameters->value() != scaling->value()) {
    fail(ErrorCode::kMismatch,
         "{}: \"rope_parameters\" and \"rope_scaling\" are both there and differ; the second is "
         "the older name of the first",
         file.path());
  }
  return parameters ? parameters : scaling;
}

}  // namespace

void read_ropes(const JsonObject& file, ModelConfig& config, const RopeDefaults& defaults) {
  const auto parameters = find_rope_parameters(file);
  const bool by_layer = parameters && parameters->has("full_attention");
  const bool two_ropes = config.family == Family::kGemma3;
  if (by_layer && !two_ropes) {
    fail(ErrorCode::kUnsupported, "{}: each kind of layer has its own; only Gemma 3's are known so",
         parameters->path());
  }
  config.rope = read_rope(file, by_layer ? parameters->find_object("full_attention") : parameters,
                          config, defaults);
  config.windowed_rope = config.rope;
  if (!two_ropes) return;
  config.windowed_rope = {.pairs = config.rope.pairs,
                          .dims = config.rope.dims,
                          .base = file.get_float_or("rope_local_base_freq", 10000)};
  const auto windowed = by_layer ? parameters->find_object("sliding_attention") : std::nullopt;
  if (!windowed) return;
  config.windowed_rope.base = windowed->get_float_or("rope_theta", config.windowed_rope.base);
  read_scaling(file, *windowed, config, config.windowed_rope);
}

}  // namespace isogloss
