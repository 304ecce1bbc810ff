// Sets of restored units: their models, their losses, and sets beside random ones.
#include <algorithm>
#include <cmath>

#include "isogloss/base/error.h"
#include "isogloss/base/random.h"
#include "isogloss/sweep/sets_impl.h"

namespace isogloss {
namespace {

constexpr size_t kNoLanguage = static_cast<size_t>(-1);

size_t find_language(const TokenizedCorpus& corpus, const std::string& code) {
  for (size_t l = 0; l < corpus.languages.size(); ++l) {
    if (corpus.languages[l].code == code) return l;
  }
  return kNoLanguage;
}

// Mean over the languages other than the reference; NaN where it is undefined.
double mean_seed_disparity(std::span<const double> degradations, size_t reference) {
  if (reference == kNoLanguage || degradations.size() < 2 || !(degradations[reference] > 0)) {
    return std::nan("");
  }
  double sum = 0;
  for (size_t l = 0; l < degradations.size(); ++l) {
    if (l != reference) sum += degradations[l] / degradations[reference];
  }
  return sum / static_cast<double>(degradations.size() - 1);
}

}  // namespace

Configuration ConfigurationBuilder::make(std::string name, const TensorSet& quantized_set) {
  assignments_.push_back(quantize_only(quantized_, quantized_set));
  return {std::move(name), {&model_, &assignments_.back()}};
}

Configuration ConfigurationBuilder::everything() {
  return make("quantized", TensorSet(quantized_.schemes.size(), true));
}

Configuration ConfigurationBuilder::restore(std::span<const SweepUnit* const> units) {
  TensorSet set = union_of(quantized_.schemes.size(), units);
  set.flip();
  return make("restore:" + join_names(units), set);
}

Configuration ConfigurationBuilder::damage(const SweepUnit& unit) {
  return make("damage:" + unit.name, unit.tensors);
}

std::string join_names(std::span<const SweepUnit* const> units) {
  std::string name;
  for (const SweepUnit* unit : units) name += (name.empty() ? "" : "+") + unit->name;
  return name.empty() ? "nothing" : name;
}

TensorSet union_of(size_t tensors, std::span<const SweepUnit* const> units) {
  TensorSet all(tensors);
  for (const SweepUnit* unit : units) {
    for (size_t i = 0; i < tensors; ++i) all[i] = all[i] || unit->tensors[i];
  }
  return all;
}

uint64_t extra_bytes_of(const Model& model, const Assignment& quantized,
                        std::span<const SweepUnit* const> units) {
  TensorSet others = union_of(quantized.schemes.size(), units);
  others.flip();
  const uint64_t whole = assigned_size(model, quantized).size_bytes;
  const uint64_t restored = assigned_size(model, quantize_only(quantized, others)).size_bytes;
  return restored > whole ? restored - whole : 0;
}

std::string_view to_string(SetObjective objective) {
  switch (objective) {
    case SetObjective::kWorstLoss:
      return "worst_loss";
    case SetObjective::kMeanLoss:
      return "mean_loss";
    case SetObjective::kSeedDisparity:
      return "seed_disparity";
  }
  ISOGLOSS_ASSERT(false);
}

SetLosses::SetLosses(const TokenizedCorpus& corpus, const ScoreTable& table,
                     std::span<const size_t> configurations, const SweepOptions& options)
    : corpus_(corpus),
      languages_(corpus.languages.size()),
      draws_(options.draws),
      reference_(find_language(corpus, options.reference_language)) {
  const std::vector<double> empty((1 + draws_) * languages_);
  losses_.assign(configurations.size(), empty);
  degradations_.assign(configurations.size(), empty);
  const RatioMetric metric = loss_metric(corpus.parallel);
  for (size_t l = 0; l < languages_; ++l) {
    const LanguageSums language(corpus, table, l, configurations);
    const auto keep = [&](size_t draw, std::span<const double> row) {
      for (size_t c = 0; c < configurations.size(); ++c) {
        const auto totals = language.of(row, c);
        losses_[c][draw * languages_ + l] = ratio(metric, totals).value_or(std::nan(""));
        degradations_[c][draw * languages_ + l] = seed_degradation(totals);
      }
    };
    keep(0, column_totals(language.sums()));
    BootstrapStream stream(language.sums(), draw_seed(corpus, options.seed, l));
    for (size_t d = 0; d < draws_; ++d) keep(1 + d, stream.next(1));
  }
}

double SetLosses::objective_of(std::span<const double> losses, std::span<const double> degradations,
                               SetObjective objective) const {
  if (objective == SetObjective::kWorstLoss) return largest_of(losses);
  if (objective == SetObjective::kMeanLoss) return mean_of(losses);
  return mean_seed_disparity(degradations, reference_);
}

// The sample's value, then that of each draw.
std::vector<double> SetLosses::objective_draws(size_t place, SetObjective objective) const {
  std::vector<double> values;
  for (size_t d = 0; d <= draws_; ++d) {
    values.push_back(objective_of(
        std::span(losses_[place]).subspan(d * languages_, languages_),
        std::span(degradations_[place]).subspan(d * languages_, languages_), objective));
  }
  return values;
}

double SetLosses::value(size_t place, SetObjective objective) const {
  return objective_of(std::span(losses_[place]).first(languages_),
                      std::span(degradations_[place]).first(languages_), objective);
}

SetResult SetLosses::describe(size_t place) const {
  const auto measure = [](std::vector<double> values) {
    const double value = values.front();
    values.erase(values.begin());
    return measured_of(value, std::move(values));
  };
  SetResult result;
  for (size_t l = 0; l < languages_; ++l) {
    std::vector<double> values;
    for (size_t d = 0; d <= draws_; ++d) values.push_back(losses_[place][d * languages_ + l]);
    result.loss.push_back(measure(std::move(values)));
  }
  const auto sample = std::span(losses_[place]).first(languages_);
  const auto worst = static_cast<size_t>(std::ranges::max_element(sample) - sample.begin());
  if (sample[worst] > 0) result.worst_language = corpus_.languages[worst].code;
  result.worst_loss = measure(objective_draws(place, SetObjective::kWorstLoss));
  result.mean_loss = measure(objective_draws(place, SetObjective::kMeanLoss));
  result.seed_disparity = measure(objective_draws(place, SetObjective::kSeedDisparity));
  if (!result.seed_disparity.estimate) {
    result.seed_disparity.status =
        "DEGENERATE: the reference language's perplexity did not grow, so there is no ratio";
  }
  return result;
}

Effect SetLosses::lead(size_t place, size_t other, SetObjective objective) const {
  const auto own = objective_draws(place, objective);
  std::vector<double> draws = objective_draws(other, objective);
  for (size_t d = 0; d < draws.size(); ++d) draws[d] -= own[d];
  const double value = draws.front();
  draws.erase(draws.begin());
  return effect_of(value, std::move(draws));
}

SetResult describe_set(const SetLosses& losses, size_t place, const ConfigurationBuilder& builder,
                       std::span<const SweepUnit* const> units) {
  SetResult result = losses.describe(place);
  result.name = join_names(units);
  for (const SweepUnit* unit : units) result.units.push_back(unit->name);
  result.extra_bytes = extra_bytes_of(builder.model(), builder.quantized(), units);
  return result;
}

std::vector<std::vector<double>> sample_objectives(const TokenizedCorpus& corpus,
                                                   const ScoreTable& table,
                                                   const SweepOptions& options) {
  const size_t languages = corpus.languages.size();
  const size_t reference = find_language(corpus, options.reference_language);
  const size_t count = table.configurations.size();
  std::vector<double> losses(count * languages), degradations(count * languages);
  for (size_t l = 0; l < languages; ++l) {
    for (size_t c = 0; c < count; ++c) {
      const LanguageSums language(corpus, table, l, std::span(&c, 1));
      const auto totals = language.of(column_totals(language.sums()), 0);
      losses[c * languages + l] =
          ratio(loss_metric(corpus.parallel), totals).value_or(std::nan(""));
      degradations[c * languages + l] = seed_degradation(totals);
    }
  }
  std::vector<std::vector<double>> objectives(std::size(kSetObjectives));
  for (size_t c = 0; c < count; ++c) {
    const auto own = std::span(losses).subspan(c * languages, languages);
    objectives[0].push_back(largest_of(own));
    objectives[1].push_back(mean_of(own));
    objectives[2].push_back(
        mean_seed_disparity(std::span(degradations).subspan(c * languages, languages), reference));
  }
  return objectives;
}

}  // namespace isogloss
