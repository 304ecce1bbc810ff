#include "isogloss/sweep/effects_impl.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "isogloss/base/error.h"

namespace isogloss {

uint64_t draw_seed(const TokenizedCorpus& corpus, uint64_t seed, size_t language) {
  return corpus.parallel ? seed : seed + language;
}

size_t first_sequence(const TokenizedCorpus& corpus, size_t language) {
  size_t first = 0;
  for (size_t l = 0; l < language; ++l) first += corpus.languages[l].sequences.size();
  return first;
}

LanguageSums::LanguageSums(const TokenizedCorpus& corpus, const ScoreTable& table, size_t language,
                           std::span<const size_t> configurations) {
  const auto& sequences = corpus.languages[language].sequences;
  const size_t first = first_sequence(corpus, language);
  sums_ = {sequences.size(), kShared + kOwn * configurations.size(), {}};
  for (size_t u = 0; u < sequences.size(); ++u) {
    sums_.values.insert(sums_.values.end(),
                        {1.0, static_cast<double>(sequences[u].scored()),
                         static_cast<double>(sequences[u].bytes), table.nll_reference[first + u]});
    for (const size_t configuration : configurations) {
      const UnitScore& score = table.configurations[configuration][first + u];
      sums_.values.insert(sums_.values.end(), {score.nll, score.kl, score.flips});
    }
  }
}

std::array<double, kColumns> LanguageSums::of(std::span<const double> row, size_t place) const {
  const auto own = row.subspan(kShared + kOwn * place, kOwn);
  return {row[0], row[1], row[2], row[3], own[0], own[1], own[2]};
}

std::vector<double> column_totals(const UnitSums& sums) {
  std::vector<double> totals(sums.columns);
  for (size_t u = 0; u < sums.units; ++u) {
    for (size_t c = 0; c < sums.columns; ++c) totals[c] += sums.at(u, c);
  }
  return totals;
}

LossStream::LossStream(const TokenizedCorpus& corpus, const ScoreTable& table,
                       std::span<const size_t> configurations, uint64_t seed)
    : configurations_(configurations.size()) {
  const size_t languages = corpus.languages.size();
  sample_.resize(configurations_ * languages);
  for (size_t l = 0; l < languages; ++l) {
    const auto& sequences = corpus.languages[l].sequences;
    const size_t first = first_sequence(corpus, l);
    UnitSums sums{sequences.size(), 1 + configurations_, {}};
    for (size_t u = 0; u < sequences.size(); ++u) {
      sums.values.push_back(corpus.parallel ? 1.0 : static_cast<double>(sequences[u].bytes));
      for (const size_t configuration : configurations) {
        sums.values.push_back(table.configurations[configuration][first + u].kl);
      }
    }
    const auto totals = column_totals(sums);
    for (size_t c = 0; c < configurations_; ++c) {
      sample_[c * languages + l] = totals[1 + c] / totals[0];
    }
    streams_.emplace_back(sums, draw_seed(corpus, seed, l));
  }
}

void LossStream::next(size_t draws, const Visit& visit) {
  constexpr size_t kAtOnce = 64;
  const size_t languages = streams_.size();
  std::vector<double> losses(configurations_ * languages);
  for (size_t first = 0; first < draws; first += kAtOnce) {
    const size_t count = std::min(kAtOnce, draws - first);
    std::vector<std::span<const double>> totals;
    for (BootstrapStream& stream : streams_) totals.push_back(stream.next(count));
    for (size_t d = 0; d < count; ++d) {
      for (size_t l = 0; l < languages; ++l) {
        const auto row = totals[l].subspan(d * (1 + configurations_), 1 + configurations_);
        for (size_t c = 0; c < configurations_; ++c) {
          losses[c * languages + l] = row[1 + c] / row[0];
        }
      }
      visit(losses);
    }
  }
}

Measured measured_of(double value, std::vector<double> draws, const std::string& status) {
  const size_t asked = draws.size();
  std::erase_if(draws, [](double draw) { return !std::isfinite(draw); });
  const auto undefined = static_cast<double>(asked - draws.size());
  if (!std::isfinite(value) || draws.empty() ||
      undefined > kUndefinedShare * static_cast<double>(asked)) {
    return {std::nullopt, status};
  }
  std::ranges::sort(draws);
  const double tail = (1 - kConfidence) / 2;
  return {Estimate{value, quantile(draws, tail), quantile(draws, 1 - tail)}, ""};
}

Effect effect_of(double value, std::vector<double> draws, double value_under_null,
                 const std::string& status) {
  std::vector<double> finite = draws;
  std::erase_if(finite, [](double draw) { return !std::isfinite(draw); });
  Effect effect{measured_of(value, std::move(draws), status)};
  if (effect.value.estimate) effect.p_value = bootstrap_p_value(value_under_null, finite);
  effect.q_value = effect.p_value;
  return effect;
}

void adjust(std::span<Effect* const> family) {
  std::vector<double> p_values;
  for (const Effect* effect : family) {
    p_values.push_back(effect->value.estimate ? effect->p_value : std::nan(""));
  }
  const auto q_values = benjamini_hochberg(p_values);
  for (size_t i = 0; i < family.size(); ++i) {
    family[i]->q_value = std::isnan(q_values[i]) ? 1 : q_values[i];
  }
}

double mean_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double largest_of(std::span<const double> values) {
  return *std::ranges::max_element(values);
}

double gap_of(std::span<const double> values) {
  const auto [least, most] = std::ranges::minmax(values);
  return most - least;
}

}  // namespace isogloss
