// The steps of a verification: logits to sums, sums to numbers with intervals and a judgement.
#pragma once

#include <string>
#include <vector>

#include "isogloss/measure/statistics.h"
#include "isogloss/verify/logits_impl.h"
#include "isogloss/verify/verify.h"

namespace isogloss {

// What each unit contributes: the columns of metrics.h of each computation of the file, then KL of
// what isogloss makes of it to each of the runtime, and to our own pass with the runtime's
// rounding.
inline constexpr size_t kPredicted = 0, kRuntime = 1, kExact = 2, kComputations = 3;
inline constexpr size_t kKlOfRuntimes = kComputations * kColumns;
inline constexpr size_t kKlOfRoundings = kKlOfRuntimes + kComputations;
inline constexpr size_t kVerifyColumns = kKlOfRoundings + kComputations;

// One language's; seed as in an audit, so that predicted intervals are those of an audit.
LanguageVerification summarize(const TokenizedLanguage& language, const UnitSums& sums,
                               bool has_exact, size_t draws, uint64_t seed);

// KL per token between two computations of the same numbers with F32 products, at most: what
// rounding leaves, and a sum of logits in F32.
double rounding_floor(const NoiseFloor& floor);

// What KL(file by isogloss || file by the runtime) may be.
double most_kl(const RuntimeLoss& found, const VerifyLimits& limits);

// Why the runtime's numbers are not those of the file, as a sentence; "" when they are. `strict`:
// the runtime itself rounds no activation.
std::string find_disagreement(const LanguageVerification& language, const VerifyResult& result,
                              bool strict);

}  // namespace isogloss
