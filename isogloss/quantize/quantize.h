// Quantize: schemes (how a row of numbers is stored in few bits), and assignments (which tensor of
// a model takes which scheme, and what the result weighs).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "isogloss/model/model.h"

namespace isogloss {

enum class SchemeKind {
  kNone,  // as it is stored
  kSeed,  // the published study's: one absmax scale a tensor
  kRtn,   // round to nearest, integer codes with F16 scales
  kGgml,  // a type of ggml, by ggml's own reference encoder
};
enum class Granularity { kTensor, kChannel, kGroup };

// How numbers are stored. A value type; names are what users type.
struct Scheme {
  SchemeKind kind = SchemeKind::kNone;
  int bits = 0;                                    // kSeed, kRtn: of a code
  Granularity granularity = Granularity::kTensor;  // kRtn: what shares a scale
  size_t group_size = 0;                           // kRtn by group: numbers along the input
  bool asymmetric = false;                         // kRtn: a zero point beside each scale
  TensorType type = TensorType::kF32;              // kGgml

  bool operator==(const Scheme&) const = default;
};

// "none", "seed-int4", "rtn-int4-g128", "rtn-int8-channel-asym", "q4_k" ... Throws
// Error(kBadArgument) with near matches; a ggml type that needs an importance matrix is refused so.
Scheme parse_scheme(std::string_view name);
std::string to_string(const Scheme& scheme);

// Every name that parse_scheme takes, in a sensible order.
std::vector<std::string> scheme_names();

// The scheme a row of `cols` numbers can take: `scheme` itself where it fits, else what is used in
// its place. ggml types fall back as llama-quantize does (F16 where it refuses the row); groups
// that do not divide the row become the largest of g128, g64, g32 that does and is no larger, else
// one channel.
Scheme fitting_scheme(const Scheme& scheme, size_t cols);

// Bytes of a rows x cols matrix in `scheme`, which must fit: codes, scales and zero points, each
// row's codes and its zero points padded to 32 bits (RTN, seed) or whole blocks (ggml). Not for
// kNone.
uint64_t stored_bytes(const Scheme& scheme, size_t rows, size_t cols);

// Encodes and decodes `values`, row-major [rows][cols], in place: afterwards they are the numbers a
// runtime would compute with. `scheme` must fit.
//   seed-intB:  s = max|w| / m with m = 1, 7, 127 at 2, 4, 8 bits (and 3 at 3 bits), in float;
//               w <- clamp(rint(w / s), -m-1, m) * s, ties to even; zeros stay zeros.
//   rtn-intB:   symmetric: s = max|w| / (2^(B-1) - 1) as F16, codes in [-2^(B-1), 2^(B-1) - 1];
//               asymmetric: s = (max(w,0) - min(w,0)) / (2^B - 1) as F16, z = rint(-min(w,0) / s);
//               w <- (clamp(rint(w / s) + z, 0, 2^B - 1) - z) * s. Ties to even.
// A scale of 0 makes zeros. Throws Error(kNotFinite) for a number that is not finite, or beyond
// what the scheme's scales hold.
void round_trip(const Scheme& scheme, std::span<float> values, size_t rows, size_t cols);

// Whether round_trip of a matrix is round_trip of each of its rows, so that threads may share them.
bool rows_are_independent(const Scheme& scheme);

// Which parameters the published study quantizes: A every one whose Hugging Face name contains
// "weight"; B as A without "ln_f" and "final_layer_norm"; C every one.
enum class SeedFamily { kA, kB, kC };

struct AssignmentRequest {
  Scheme scheme;                            // for every weight matrix of the blocks
  std::vector<std::string> include;         // and of these groups: "embeddings", "head", "norms"
  SeedFamily seed_family = SeedFamily::kB;  // seed schemes follow this rule instead
  std::string protect;                      // unit set that does not take `scheme`; "": none
  Scheme protect_scheme;  // what those of it take instead that would have taken `scheme`
};

// A tensor that could not take its scheme.
struct Fallback {
  size_t tensor = 0;
  Scheme wanted, used;
};

// One scheme for each tensor of a model; kNone leaves a tensor as it is stored.
struct Assignment {
  std::vector<Scheme> schemes;
  std::vector<Fallback> fallbacks;
};

// Throws Error(kBadArgument) for an unknown group or unit set, and for `include` with a seed
// scheme.
Assignment assign(const Model& model, const AssignmentRequest& request);

// As the model is stored.
Assignment unchanged(const Model& model);

// What a file of the assignment weighs: tensor data, each tensor padded to 32 bytes; without the
// vocabulary and other metadata.
struct ModelSize {
  uint64_t size_bytes = 0;
  double bits_per_weight = 0;  // 8 * size_bytes / parameters
};
ModelSize assigned_size(const Model& model, const Assignment& assignment);

}  // namespace isogloss
