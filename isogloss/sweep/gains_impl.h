// How blocks treat the error that reaches them, position by position.
#pragma once

#include <string>
#include <vector>

#include "isogloss/sweep/effects_impl.h"

namespace isogloss {

// What is known of a position beside its language.
inline constexpr size_t kCovariates = 5;
std::vector<std::string> covariate_names();

// Sums over the positions of each of some sequences for each block, row-major [sequence][block]
// [gain_columns()]. Scores of the reference give two of the covariates.
std::vector<double> measure_gains(Engine& engine, const Variant& reference,
                                  const Variant& quantized, const TokenizedCorpus& corpus,
                                  std::span<const SequenceId> ids, const ScoringOptions& options);
size_t gain_columns();

// Adds a position to the columns of one sequence and block: the logarithm of its gain, and its
// covariates.
void add_gain_position(std::span<double> columns, double ln_gain,
                       const std::array<double, kCovariates>& covariates);

// Hidden states of a token that it holds.
inline constexpr size_t kGainStates = 5;

// Fills in gain, own_error and both effects of every block, from the sums of all sequences.
void analyse_gains(const TokenizedCorpus& corpus, std::span<const double> sums,
                   const SweepOptions& options, std::vector<PatchedBlock>& blocks);

}  // namespace isogloss
