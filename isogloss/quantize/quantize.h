// Quantize: schemes (how a row of numbers is stored in few bits), and assignments (which tensor of
// a model takes which scheme, and what the result weighs).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "isogloss/model/model.h"

namespace isogloss {

enum class SchemeKind {
  kNone,     // as it is stored
  kSeed,     // the published study's: one absmax scale a tensor
  kInteger,  // integer codes with scales of 16 bits
  kGgml,     // a type of ggml
};
enum class Granularity { kTensor, kChannel, kGroup };

// How integer codes are chosen. The last two go by what a matrix multiplies, so they take
// calibration text (calibrate/calibrate.h).
enum class Method {
  kRtn,   // round to nearest
  kHqq,   // half-quadratic: real offsets that fit the numbers best in the 0.7-norm
  kGptq,  // column by column, later ones making up for the errors of earlier ones
  kAwq,   // nearest, after columns that matter were scaled up
};

// What bounds the numbers that codes span; what lies beyond is cut.
enum class Clip {
  kNone,           // the largest number
  kMse,            // the bound of least squared error, searched
  kAciqGauss,      // of least expected squared error for a Gaussian ...
  kAciqLaplace,    // ... or a Laplacian (Banner et al. 2019)
  kLaAciq,         // the published study's rule, by the numbers' own excess kurtosis
  kLaAciqMean,     // the same by its first reading of "effective kurtosis" ...
  kLaAciqMixture,  // ... and by its second (docs/methods.md has both, and their errors)
};

// How numbers are stored. A value type; names are what users type.
struct Scheme {
  SchemeKind kind = SchemeKind::kNone;
  int bits = 0;                                    // kSeed, kInteger: of a code
  Method method = Method::kRtn;                    // kInteger
  Granularity granularity = Granularity::kTensor;  // kInteger: what shares a scale
  size_t group_size = 0;                           // kInteger by group: numbers along the input
  bool asymmetric = false;                         // kInteger: a zero point beside each scale
  Clip clip = Clip::kNone;                         // kInteger
  TensorType scale_type = TensorType::kF16;        // kInteger: F16, or BF16 for runtimes of that
  TensorType type = TensorType::kF32;              // kGgml

  bool operator==(const Scheme&) const = default;
};

// "none", "seed-int4", "rtn-int4-g128", "rtn-int8-channel-asym", "rtn-int4-g64-clip=mse",
// "hqq-int4-g64", "gptq-int4-g128", "awq-int4-g128-asym", "q4_k" ... Throws Error(kBadArgument)
// with near matches.
Scheme parse_scheme(std::string_view name);
std::string to_string(const Scheme& scheme);  // without scale_type

// Every name that parse_scheme takes, in a sensible order; of clipped schemes one for each clip.
std::vector<std::string> scheme_names();

// Whether numbers can be encoded only with statistics of what they multiply: GPTQ, AWQ, and the
// readings of "effective kurtosis" that weigh layers by it.
bool needs_calibration(const Scheme& scheme);
// Whether ggml encodes the type only with an importance matrix.
bool needs_importance(const Scheme& scheme);

// The scheme a row of `cols` numbers can take: `scheme` itself where it fits, else what is used in
// its place. ggml types fall back as llama-quantize does (F16 where it refuses the row); groups
// that do not divide the row become the largest of g128, g64, g32 that does and is no larger, else
// one channel.
Scheme fitting_scheme(const Scheme& scheme, size_t cols);

// Bytes of a rows x cols matrix in `scheme`, which must fit: codes, scales and zero points, each
// row's codes and its zero points padded to 32 bits (integers, seed) or whole blocks (ggml). Not
// for kNone. What a file takes can be more, where it has no such codes (write/write.h).
uint64_t stored_bytes(const Scheme& scheme, size_t rows, size_t cols);

// A matrix in the codes of a scheme: what files store.
struct EncodedMatrix {
  Scheme scheme;
  size_t rows = 0, cols = 0;
  std::vector<std::byte> blocks;  // kGgml: rows of whole blocks; else empty
  std::vector<uint8_t> codes;     // kSeed, kInteger: [rows][cols], 0 .. 2^bits - 1; else empty
  std::vector<float> scales;      // one for the numbers that share it: [1], [rows], [rows][groups]
  std::vector<float> offsets;     // as scales; asymmetric: zero points; kHqq: what code 0 stands
                                  // for; else empty
};

// What an encoder may go by beside the numbers.
struct EncodeOptions {
  // [cols], kGgml: mean squares of what each column multiplies (an importance matrix). Empty: none.
  std::span<const float> importance;
  // kLaAciqMean, kLaAciqMixture: the effective kurtosis.
  std::optional<double> kurtosis;
};

// `values`, row-major [rows][cols], in codes; all threads. `scheme` must fit and is none of kNone,
// kGptq and kAwq (with calibrated clips: options.kurtosis must be there).
//   seed-intB:  s = max|w| / m with m = 1, 3, 7, 127 at 2, 3, 4, 8 bits, in float;
//               code = clamp(rint(w / s), -m-1, m) + m + 1, ties to even.
//   intB:       symmetric: s = bound / (2^(B-1) - 1) in scale_type, codes in [0, 2^B - 1] stand for
//               [-2^(B-1), 2^(B-1) - 1]; asymmetric: s = (max(w,0) - min(w,0)) / (2^B - 1) in
//               scale_type, z = rint(-min(w,0) / s), code = clamp(rint(w / s) + z, 0, 2^B - 1).
//   HQQ:        code * s + o, both in scale_type.
// A scale of 0 makes zeros. Throws Error(kNotFinite) for a number that is not finite, or beyond
// what the scheme's scales hold.
EncodedMatrix encode(const Scheme& scheme, std::span<const float> values, size_t rows, size_t cols,
                     const EncodeOptions& options = {});

// The same codes of a tensor's numbers, which are decoded a part at a time where rows stand alone.
// Throws as this and as decode(); messages name the tensor.
EncodedMatrix encode(const Scheme& scheme, const TensorView& tensor,
                     const EncodeOptions& options = {});

// The numbers a runtime would compute with, into `out` of rows * cols places; all threads.
//   symmetric (code - 2^(B-1)) * s, asymmetric (code - z) * s, HQQ code * s + o; each step rounded
//   to float.
void decode(const EncodedMatrix& matrix, std::span<float> out);

// decode(encode()) in place. Throws as encode().
void round_trip(const Scheme& scheme, std::span<float> values, size_t rows, size_t cols);

// A tensor of a model, finished: encoded, or with other numbers in the type it has (what AWQ does
// to norms and biases), or neither: as it is stored.
struct FinishedTensor {
  size_t tensor = 0;  // index into model.tensors()
  std::optional<EncodedMatrix> encoded;
  std::vector<float> numbers;  // row-major, of the whole tensor; empty: none
};

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
