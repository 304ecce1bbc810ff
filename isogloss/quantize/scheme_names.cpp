// The names of schemes.
#include <ggml.h>

#include <algorithm>
#include <array>
#include <map>

#include "isogloss/base/error.h"
#include "isogloss/base/suggest.h"
#include "isogloss/quantize/clip_impl.h"
#include "isogloss/quantize/scheme_impl.h"

namespace isogloss {
namespace {

constexpr std::array kCodeBits = {8, 4, 3, 2};

struct MethodRule {
  Method method;
  std::string_view name;
  bool per_tensor;   // one scale for a whole tensor
  bool asymmetric;   // with a zero point, if asked
  bool clips;        // kClipRules
  bool calibration;  // goes by what a matrix multiplies
};

constexpr std::array<MethodRule, 4> kMethodRules = {{
    {Method::kRtn, "rtn", true, true, true, false},
    {Method::kHqq, "hqq", false, false, false, false},
    {Method::kGptq, "gptq", false, true, false, true},
    {Method::kAwq, "awq", false, true, false, true},
}};

// Names of all schemes list clips of this one only.
constexpr Scheme kClipExample = {
    .kind = SchemeKind::kInteger, .bits = 4, .granularity = Granularity::kGroup, .group_size = 128};

const MethodRule& rule_of(Method method) {
  const auto found = std::ranges::find(kMethodRules, method, &MethodRule::method);
  ISOGLOSS_ASSERT(found != kMethodRules.end());
  return *found;
}

// Plain types by id, then quantized ones from many bits to few. Every type with a decoder has an
// encoder too, in the ggml that is pinned; those that ggml only computes with (q8_1, q8_k) have no
// decoder.
std::vector<Scheme> ggml_schemes() {
  std::vector<Scheme> schemes;
  for (int32_t id = 0; id < GGML_TYPE_COUNT; ++id) {
    const auto type = static_cast<TensorType>(id);
    if (find_tensor_type_info(type)) schemes.push_back(ggml_scheme(type));
  }
  const auto negative_bits = [](const Scheme& scheme) {
    const TensorTypeInfo info = get_tensor_type_info(scheme.type);
    if (!info.quantized) return -1e3;
    return -static_cast<double>(info.block_bytes) / static_cast<double>(info.block_size);
  };
  std::ranges::stable_sort(schemes, {}, negative_bits);
  return schemes;
}

// Every scheme of the method but for clips.
void append_integer_schemes(const MethodRule& rule, std::vector<Scheme>& schemes) {
  for (const int bits : kCodeBits) {
    const auto append = [&](Granularity granularity, size_t group_size) {
      for (const bool asymmetric : {false, true}) {
        if (asymmetric && !rule.asymmetric) continue;
        schemes.push_back({.kind = SchemeKind::kInteger,
                           .bits = bits,
                           .method = rule.method,
                           .granularity = granularity,
                           .group_size = group_size,
                           .asymmetric = asymmetric});
      }
    };
    if (rule.per_tensor) append(Granularity::kTensor, 0);
    append(Granularity::kChannel, 0);
    for (const size_t size : kGroupSizes) append(Granularity::kGroup, size);
  }
}

void append_clipped(Scheme scheme, std::vector<Scheme>& schemes) {
  for (const ClipRule& rule : kClipRules) {
    if (rule.clip == Clip::kNone || (scheme.asymmetric && !rule.asymmetric)) continue;
    scheme.clip = rule.clip;
    schemes.push_back(scheme);
  }
}

std::vector<Scheme> make_listed_schemes() {
  std::vector<Scheme> schemes = {Scheme{}};
  const std::vector<Scheme> of_ggml = ggml_schemes();
  schemes.insert(schemes.end(), of_ggml.begin(), of_ggml.end());
  for (const int bits : kCodeBits) schemes.push_back({.kind = SchemeKind::kSeed, .bits = bits});
  for (const MethodRule& rule : kMethodRules) {
    append_integer_schemes(rule, schemes);
    if (rule.clips) append_clipped(kClipExample, schemes);
  }
  return schemes;
}

std::map<std::string, Scheme, std::less<>> make_all_schemes() {
  std::vector<Scheme> schemes = make_listed_schemes();
  for (const MethodRule& rule : kMethodRules) {
    if (!rule.clips) continue;
    std::vector<Scheme> unclipped;
    append_integer_schemes(rule, unclipped);
    for (const Scheme& scheme : unclipped) append_clipped(scheme, schemes);
  }
  std::map<std::string, Scheme, std::less<>> by_name;
  for (const Scheme& scheme : schemes) by_name.emplace(to_string(scheme), scheme);
  return by_name;
}

const std::map<std::string, Scheme, std::less<>>& all_schemes() {
  static const auto kSchemes = make_all_schemes();
  return kSchemes;
}

std::string granularity_name(const Scheme& scheme) {
  switch (scheme.granularity) {
    case Granularity::kTensor:
      return "tensor";
    case Granularity::kChannel:
      return "channel";
    case Granularity::kGroup:
      return fmt::format("g{}", scheme.group_size);
  }
  ISOGLOSS_ASSERT(false);
}

std::string integer_name(const Scheme& scheme) {
  const bool clipped = scheme.clip != Clip::kNone;
  return fmt::format("{}-int{}-{}{}{}{}", rule_of(scheme.method).name, scheme.bits,
                     granularity_name(scheme), scheme.asymmetric ? "-asym" : "",
                     clipped ? "-clip=" : "", clipped ? rule_of(scheme.clip).name : "");
}

// Names of methods, or of clips, for which `holds`.
template <typename Rules, typename Holds>
std::string names_of(const Rules& rules, const Holds& holds) {
  std::vector<std::string_view> names;
  for (const auto& rule : rules) {
    if (holds(rule)) names.push_back(rule.name);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

[[noreturn]] void no_such_scheme(std::string_view name) {
  std::vector<std::string> candidates = scheme_names();
  for (const auto& [other, scheme] : all_schemes()) candidates.push_back(other);
  std::vector<std::string> types;
  for (const Scheme& scheme : ggml_schemes()) types.push_back(to_string(scheme));
  const auto all = [](const auto&) { return true; };
  fail(
      ErrorCode::kBadArgument,
      "unknown scheme '{}'{}; schemes are none, seed-intB, METHOD-intB-GRANULARITY with or without "
      "-asym ({}) and -clip=CLIP ({}; {} without -asym), and ggml's types {}. B is {}; METHOD is "
      "{}; GRANULARITY is tensor ({}), channel, {}",
      name, did_you_mean(name, candidates),
      names_of(kMethodRules, [](auto& r) { return r.asymmetric; }),
      names_of(kMethodRules, [](auto& r) { return r.clips; }),
      names_of(kClipRules, [](auto& r) { return r.clip != Clip::kNone; }), fmt::join(types, ", "),
      fmt::join(kCodeBits, ", "), names_of(kMethodRules, all),
      names_of(kMethodRules, [](auto& r) { return r.per_tensor; }), "g32, g64 or g128");
}

}  // namespace

Scheme parse_scheme(std::string_view name) {
  const auto found = all_schemes().find(lower_case(name));
  if (found == all_schemes().end()) no_such_scheme(name);
  return found->second;
}

std::string to_string(const Scheme& scheme) {
  switch (scheme.kind) {
    case SchemeKind::kNone:
      return "none";
    case SchemeKind::kSeed:
      return fmt::format("seed-int{}", scheme.bits);
    case SchemeKind::kInteger:
      return integer_name(scheme);
    case SchemeKind::kGgml:
      return get_tensor_type_info(scheme.type).name;
  }
  ISOGLOSS_ASSERT(false);
}

std::vector<std::string> scheme_names() {
  std::vector<std::string> names;
  for (const Scheme& scheme : make_listed_schemes()) names.push_back(to_string(scheme));
  return names;
}

bool needs_calibration(const Scheme& scheme) {
  return scheme.kind == SchemeKind::kInteger &&
         (rule_of(scheme.method).calibration || rule_of(scheme.clip).calibrated);
}

bool needs_importance(const Scheme& scheme) {
  return scheme.kind == SchemeKind::kGgml &&
         ggml_quantize_requires_imatrix(static_cast<ggml_type>(scheme.type));
}

}  // namespace isogloss
