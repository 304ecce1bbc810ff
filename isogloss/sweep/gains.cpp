#include "isogloss/sweep/gains_impl.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "isogloss/base/error.h"

namespace isogloss {
namespace {

using BatchStates = std::vector<HiddenStates>;
using Covariates = std::array<double, kCovariates>;

// Where a sequence went.
struct Place {
  size_t batch = 0, row = 0;
};

double norm_of(std::span<const float> row) {
  double sum = 0;
  for (const float value : row) sum += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(sum);
}

// Norm of the difference, relative to the clean state's.
double relative_error(std::span<const float> state, std::span<const float> clean) {
  double sum = 0;
  for (size_t i = 0; i < state.size(); ++i) {
    const double difference = static_cast<double>(state[i]) - static_cast<double>(clean[i]);
    sum += difference * difference;
  }
  return std::sqrt(sum) / norm_of(clean);
}

// Columns of a block, as least squares needs them. x are the covariates and y the logarithm of the
// block's gain, over positions where an error reaches the block; the logarithm of its own error has
// sums of its own, over positions where it has one.
enum GainColumn : size_t { kCount, kY, kX, kXx = kX + kCovariates };
constexpr size_t kXy = kXx + kCovariates * kCovariates;
constexpr size_t kOwnCount = kXy + kCovariates;
constexpr size_t kOwn = kOwnCount + 1;
constexpr size_t kGainColumns = kOwn + 1;

// How often each token comes in the text of a language.
std::map<int32_t, size_t> count_tokens(const TokenizedLanguage& language) {
  std::map<int32_t, size_t> counts;
  for (const Sequence& sequence : language.sequences) {
    for (const int32_t token : sequence.tokens) ++counts[token];
  }
  return counts;
}

// Some sequences on their way through both models, block by block.
class GainRun {
 public:
  GainRun(Engine& engine, const Variant& reference, const Variant& quantized,
          const TokenizedCorpus& corpus, std::span<const SequenceId> ids,
          const ScoringOptions& options)
      : engine_(engine),
        reference_(reference),
        quantized_(quantized),
        corpus_(corpus),
        ids_(ids),
        blocks_(reference.model->config().layers),
        sums_(ids.size() * blocks_ * kGainColumns) {
    for (const SequenceId id : ids) {
      const auto& tokens = get_sequence(corpus, id).tokens;
      if (batches_.empty() || batches_.back().size() + tokens.size() > options.batch_tokens) {
        batches_.emplace_back();
      }
      places_.push_back({batches_.size() - 1, batches_.back().size()});
      batches_.back().append(tokens);
    }
    add_token_covariates();
    add_score_covariates(options);
  }

  std::vector<double> run() {
    BatchStates clean = embed(reference_), wrong = embed(quantized_);
    for (size_t block = 0; block < blocks_; ++block) {
      BatchStates clean_after = clean, passed = wrong, own = clean;
      run_block(reference_, block, clean_after);
      run_block(reference_, block, passed);
      run_block(quantized_, block, own);
      add_sums(block, clean, wrong, clean_after, passed, own);
      run_block(quantized_, block, wrong);
      clean = std::move(clean_after);
    }
    return std::move(sums_);
  }

 private:
  BatchStates embed(const Variant& variant) {
    BatchStates states;
    for (const Batch& batch : batches_) states.push_back(engine_.embed(variant, batch));
    return states;
  }

  void run_block(const Variant& variant, size_t block, BatchStates& states) {
    for (const size_t half : {2 * block, 2 * block + 1}) {
      for (size_t b = 0; b < states.size(); ++b) {
        engine_.run_half(variant, half, batches_[b], states[b]);
      }
    }
  }

  void add_token_covariates();
  void add_score_covariates(const ScoringOptions& options);
  void add_sums(size_t block, const BatchStates& clean, const BatchStates& wrong,
                const BatchStates& clean_after, const BatchStates& passed, const BatchStates& own);

  Engine& engine_;
  const Variant& reference_;
  const Variant& quantized_;
  const TokenizedCorpus& corpus_;
  std::span<const SequenceId> ids_;
  std::vector<Batch> batches_;
  std::vector<Place> places_;                        // by sequence
  std::vector<std::vector<Covariates>> covariates_;  // [sequence][scored position]
  size_t blocks_;
  std::vector<double> sums_;  // [sequence][block][column]
};

// Places of the covariates; the residual norm differs from block to block.
enum Covariate : size_t { kResidualNorm, kNll, kEntropy, kFrequency, kTokenBytes };

void GainRun::add_token_covariates() {
  const Tokenizer tokenizer(reference_.model->vocabulary(), reference_.model->path().string());
  std::map<size_t, std::map<int32_t, size_t>> counts;
  for (const SequenceId id : ids_) {
    if (!counts.contains(id.language)) {
      counts[id.language] = count_tokens(corpus_.languages[id.language]);
    }
    const Sequence& sequence = get_sequence(corpus_, id);
    auto& rows = covariates_.emplace_back(sequence.scored());
    for (size_t i = 0; i < rows.size(); ++i) {
      const int32_t token = sequence.tokens[sequence.first_scored + i - 1];
      const auto count = static_cast<double>(counts[id.language].at(token));
      rows[i][kFrequency] = std::log(count);
      rows[i][kTokenBytes] = static_cast<double>(tokenizer.piece_bytes(token));
    }
  }
}

void GainRun::add_score_covariates(const ScoringOptions& options) {
  ScoringOptions every_position = options;
  every_position.positions = 1;
  std::map<std::pair<size_t, size_t>, size_t> sequence_of;
  for (size_t s = 0; s < ids_.size(); ++s) sequence_of[{ids_[s].language, ids_[s].index}] = s;
  std::vector<size_t> next(ids_.size());
  const ScoreSink sink{[&](size_t, SequenceId id, const TokenScore& score) {
                         const size_t s = sequence_of.at({id.language, id.index});
                         Covariates& row = covariates_[s][next[s]++];
                         row[kNll] = score.nll_reference;
                         row[kEntropy] = static_cast<double>(score.entropy_reference);
                       },
                       {}};
  const Configuration itself{"reference", reference_};
  Meter meter(1, {});
  score_slice(engine_, reference_, std::span(&itself, 1), corpus_, ids_, every_position, meter,
              sink);
}

void GainRun::add_sums(size_t block, const BatchStates& clean, const BatchStates& wrong,
                       const BatchStates& clean_after, const BatchStates& passed,
                       const BatchStates& own) {
  const double scale = std::sqrt(static_cast<double>(reference_.model->config().width));
  const auto count = static_cast<std::ptrdiff_t>(ids_.size());
#pragma omp parallel for schedule(dynamic)
  for (std::ptrdiff_t i = 0; i < count; ++i) {
    const auto s = static_cast<size_t>(i);
    const size_t first = get_sequence(corpus_, ids_[s]).first_scored - 1;
    const Place& place = places_[s];
    for (size_t p = 0; p < covariates_[s].size(); ++p) {
      const size_t row = place.row + first + p;
      const auto at = [&](const BatchStates& states) { return states[place.batch].row(row); };
      const auto sums =
          std::span(sums_).subspan((s * blocks_ + block) * kGainColumns, kGainColumns);
      const double before = relative_error(at(wrong), at(clean));
      const double after = relative_error(at(passed), at(clean_after));
      const double added = relative_error(at(own), at(clean_after));
      if (before > 0 && after > 0) {
        Covariates x = covariates_[s][p];
        x[kResidualNorm] = std::log(norm_of(at(clean)) / scale);
        add_gain_position(sums, std::log(after / before), x);
      }
      if (added > 0) {
        sums[kOwnCount] += 1;
        sums[kOwn] += std::log(added);
      }
    }
  }
}

// A x = b by Gauss's elimination with pivots; 0 for unknowns that nothing determines (a covariate
// that is constant).
Covariates solve(std::array<Covariates, kCovariates> a, Covariates b) {
  constexpr double kSingular = 1e-12;  // of the largest entry of the matrix
  double largest = 0;
  for (const Covariates& row : a) {
    for (const double value : row) largest = std::max(largest, std::abs(value));
  }
  std::array<bool, kCovariates> determined{};
  std::array<size_t, kCovariates> row_of{};
  size_t used = 0;
  for (size_t column = 0; column < kCovariates; ++column) {
    size_t pivot = used;
    for (size_t row = used; row < kCovariates; ++row) {
      if (std::abs(a[row][column]) > std::abs(a[pivot][column])) pivot = row;
    }
    if (used == kCovariates || std::abs(a[pivot][column]) <= kSingular * largest) continue;
    std::swap(a[pivot], a[used]);
    std::swap(b[pivot], b[used]);
    for (size_t row = 0; row < kCovariates; ++row) {
      if (row == used) continue;
      const double factor = a[row][column] / a[used][column];
      for (size_t k = 0; k < kCovariates; ++k) a[row][k] -= factor * a[used][k];
      b[row] -= factor * b[used];
    }
    determined[column] = true;
    row_of[column] = used++;
  }
  Covariates x{};
  for (size_t column = 0; column < kCovariates; ++column) {
    if (determined[column]) x[column] = b[row_of[column]] / a[row_of[column]][column];
  }
  return x;
}

// What the sums of all languages say of one block: of the sample or of a draw.
struct GainFit {
  std::vector<double> gain, own;         // by language: means of logarithms
  std::vector<double> effect, adjusted;  // minus their mean over languages
};

// `totals` are a block's columns, by language. The slopes are those within languages, pooled, so
// that the differences between languages do not enter them (analysis of covariance).
GainFit fit(const std::vector<std::span<const double>>& totals) {
  const size_t languages = totals.size();
  GainFit result;
  std::array<Covariates, kCovariates> within{};
  Covariates with_y{};
  std::vector<Covariates> means(languages);
  Covariates mean_of_means{};
  for (size_t l = 0; l < languages; ++l) {
    const auto t = totals[l];
    const double n = t[kCount];
    result.gain.push_back(t[kY] / n);
    result.own.push_back(t[kOwn] / t[kOwnCount]);
    for (size_t i = 0; i < kCovariates; ++i) {
      means[l][i] = t[kX + i] / n;
      mean_of_means[i] += means[l][i] / static_cast<double>(languages);
      with_y[i] += t[kXy + i] - t[kX + i] * t[kY] / n;
      for (size_t j = 0; j < kCovariates; ++j) {
        within[i][j] += t[kXx + i * kCovariates + j] - t[kX + i] * t[kX + j] / n;
      }
    }
  }
  const Covariates slopes = solve(within, with_y);
  for (size_t l = 0; l < languages; ++l) {
    double adjusted = result.gain[l];
    for (size_t i = 0; i < kCovariates; ++i) {
      adjusted -= slopes[i] * (means[l][i] - mean_of_means[i]);
    }
    result.adjusted.push_back(adjusted);
  }
  const double mean = mean_of(result.gain), adjusted_mean = mean_of(result.adjusted);
  for (size_t l = 0; l < languages; ++l) {
    result.effect.push_back(result.gain[l] - mean);
    result.adjusted[l] -= adjusted_mean;
  }
  return result;
}

// exp of a mean of logarithms, with its interval.
Measured geometric_mean(double logarithm, std::vector<double> draws, const char* status) {
  for (double& draw : draws) draw = std::exp(draw);
  Measured result = measured_of(std::exp(logarithm), std::move(draws));
  if (!result.estimate) result.status = status;
  return result;
}

void analyse_block(const TokenizedCorpus& corpus, std::span<const double> all, size_t block,
                   size_t blocks, const SweepOptions& options, PatchedBlock& result) {
  const size_t languages = corpus.languages.size();
  std::vector<BootstrapStream> streams;
  std::vector<std::vector<double>> sample;
  for (size_t l = 0; l < languages; ++l) {
    const size_t first = first_sequence(corpus, l);
    UnitSums sums{corpus.languages[l].sequences.size(), kGainColumns, {}};
    for (size_t u = 0; u < sums.units; ++u) {
      const auto own = all.subspan(((first + u) * blocks + block) * kGainColumns, kGainColumns);
      sums.values.insert(sums.values.end(), own.begin(), own.end());
    }
    sample.push_back(column_totals(sums));
    streams.emplace_back(sums, draw_seed(corpus, options.seed, l));
  }
  const GainFit point = fit({sample.begin(), sample.end()});
  // [language][draw]
  using Draws = std::vector<std::vector<double>>;
  Draws gain(languages), own(languages), effect(languages), adjusted(languages);
  for (size_t d = 0; d < options.draws; ++d) {
    std::vector<std::span<const double>> totals;
    for (BootstrapStream& stream : streams) totals.push_back(stream.next(1));
    const GainFit drawn = fit(totals);
    for (size_t l = 0; l < languages; ++l) {
      gain[l].push_back(drawn.gain[l]);
      own[l].push_back(drawn.own[l]);
      effect[l].push_back(drawn.effect[l]);
      adjusted[l].push_back(drawn.adjusted[l]);
    }
  }
  for (size_t l = 0; l < languages; ++l) {
    result.gain.push_back(
        geometric_mean(point.gain[l], std::move(gain[l]), "UNDEFINED: no error reaches the block"));
    result.own_error.push_back(geometric_mean(point.own[l], std::move(own[l]),
                                              "UNDEFINED: nothing of the block is quantized"));
    result.gain_effect.push_back(effect_of(point.effect[l], std::move(effect[l])));
    result.adjusted_gain_effect.push_back(effect_of(point.adjusted[l], std::move(adjusted[l])));
  }
}

}  // namespace

std::vector<std::string> covariate_names() {
  return {"ln residual norm", "nll of the reference", "entropy of the reference",
          "ln frequency of the token", "bytes of the token"};
}

void add_gain_position(std::span<double> columns, double ln_gain, const Covariates& covariates) {
  columns[kCount] += 1;
  columns[kY] += ln_gain;
  for (size_t i = 0; i < kCovariates; ++i) {
    columns[kX + i] += covariates[i];
    columns[kXy + i] += covariates[i] * ln_gain;
    for (size_t j = 0; j < kCovariates; ++j) {
      columns[kXx + i * kCovariates + j] += covariates[i] * covariates[j];
    }
  }
}

std::vector<double> measure_gains(Engine& engine, const Variant& reference,
                                  const Variant& quantized, const TokenizedCorpus& corpus,
                                  std::span<const SequenceId> ids, const ScoringOptions& options) {
  return GainRun(engine, reference, quantized, corpus, ids, options).run();
}

size_t gain_columns() {
  return kGainColumns;
}

void analyse_gains(const TokenizedCorpus& corpus, std::span<const double> sums,
                   const SweepOptions& options, std::vector<PatchedBlock>& blocks) {
  const auto count = static_cast<std::ptrdiff_t>(blocks.size());
#pragma omp parallel for schedule(dynamic)
  for (std::ptrdiff_t b = 0; b < count; ++b) {
    const auto block = static_cast<size_t>(b);
    analyse_block(corpus, sums, block, blocks.size(), options, blocks[block]);
  }
  for (const auto member : {&PatchedBlock::gain_effect, &PatchedBlock::adjusted_gain_effect}) {
    std::vector<Effect*> family;
    for (PatchedBlock& block : blocks) {
      for (Effect& effect : block.*member) family.push_back(&effect);
    }
    adjust(family);
  }
}

}  // namespace isogloss
