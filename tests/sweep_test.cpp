// Contract of isogloss/sweep/sweep.h, with models that run: what interventions measure, that it is
// what plain audits measure, and that it can be interrupted and shared.
#include "isogloss/sweep/sweep.h"

#include <gtest/gtest.h>

#include <cmath>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>
#include <thread>

#include "isogloss/base/random.h"
#include "isogloss/sweep/sets_impl.h"
#include "tests/failure.h"
#include "tests/loaded_model.h"
#include "tests/temporary_directory.h"

namespace isogloss {
namespace {

// Relative: another packing sums in another order (as in audit_test).
constexpr double kPackingTolerance = 1e-6;
// Nats of a unit: what rounding alone gives a KL that is nothing.
constexpr double kNothing = 1e-5;

const std::vector<std::string> kLanguages = {"en", "hi", "zh"};

SweepOptions few_draws() {
  SweepOptions options;
  options.draws = 200;
  return options;
}

class Swept : public LoadedModel {
 public:
  Swept(const std::string& place, size_t units, size_t threads)
      : LoadedModel(repository_path(place), threads),
        corpus(tokenize(builtin_corpus(kLanguages, units), Tokenizer(model.vocabulary(), place),
                        model.config().context_length)) {}

  Assignment quantized(const std::string& scheme) const {
    AssignmentRequest request;
    request.scheme = parse_scheme(scheme);
    return assign(model, request);
  }

  ScoreTable measure(std::span<const Configuration> configurations,
                     const SweepOptions& options = few_draws(), RunDirectory* directory = nullptr,
                     const Progress& progress = {}) {
    SoloTeam team;
    Measurer measurer(engine, stored(), corpus, options, team, directory, progress);
    return measurer.measure("test", configurations, options.search_positions);
  }

  SweepResult swept(const SweepRequest& request, const SweepOptions& options = few_draws(),
                    RunDirectory* directory = nullptr, const Progress& progress = {}) {
    SoloTeam team;
    return sweep(engine, model, corpus, request, options, team, directory, progress);
  }

  TokenizedCorpus corpus;
};

struct Polyglot : Swept {
  explicit Polyglot(size_t units = 3, size_t threads = 1)
      : Swept("models/polyglot-12", units, threads) {}
};

// Two layers, for what does not depend on what is computed.
struct Tiny : Swept {
  explicit Tiny(size_t units = 3) : Swept("tests/data/families/llama", units, 1) {}
};
constexpr const char* kTinyScheme = "rtn-int4-g32";

SweepRequest request_of(const std::string& scheme, SweepMode mode,
                        UnitKind unit = UnitKind::kLayer) {
  SweepRequest request;
  request.quantize.scheme = parse_scheme(scheme);
  request.mode = mode;
  request.unit = unit;
  return request;
}

std::vector<const SweepUnit*> pointers(const std::vector<SweepUnit>& units,
                                       const std::vector<size_t>& places) {
  std::vector<const SweepUnit*> chosen;
  for (const size_t place : places) chosen.push_back(&units[place]);
  return chosen;
}

void expect_same(const ScoreTable& found, const ScoreTable& expected) {
  EXPECT_EQ(found.nll_reference, expected.nll_reference);
  ASSERT_EQ(found.configurations.size(), expected.configurations.size());
  for (size_t c = 0; c < expected.configurations.size(); ++c) {
    EXPECT_EQ(found.configurations[c], expected.configurations[c]) << "configuration " << c;
  }
}

TEST(SweepUnits, AreWhatTheSchemeQuantizes) {
  const Polyglot ours;
  const auto names = [&](const std::string& scheme, UnitKind kind) {
    std::vector<std::string> found;
    for (const auto& unit : sweep_units(ours.model, ours.quantized(scheme), kind)) {
      found.push_back(unit.name);
    }
    return found;
  };
  const auto layers = names("q4_0", UnitKind::kLayer);
  ASSERT_EQ(layers.size(), 12U);
  EXPECT_EQ(layers.front(), "L0");
  EXPECT_EQ(layers.back(), "L11");
  EXPECT_EQ(names("q4_0", UnitKind::kHalf).size(), 24U);
  EXPECT_EQ(names("q4_0", UnitKind::kHalf)[1], "L0.mlp");
  const auto seed = names("seed-int4", UnitKind::kLayer);
  EXPECT_EQ(std::vector<std::string>(seed.begin() + 12, seed.end()),
            (std::vector<std::string>{"embeddings", "head", "norms"}));
  for (const std::string& name : names("q4_0", UnitKind::kTensor)) {
    EXPECT_TRUE(name.starts_with("blk.")) << name;
  }
}

TEST(SweepUnits, SayWhatRestoringThemWeighs) {
  const Polyglot ours;
  const Assignment quantized = ours.quantized("q4_0");
  uint64_t sum = 0;
  for (const auto& unit : sweep_units(ours.model, quantized, UnitKind::kTensor)) {
    sum += unit.extra_bytes;
  }
  EXPECT_EQ(sum, assigned_size(ours.model, unchanged(ours.model)).size_bytes -
                     assigned_size(ours.model, quantized).size_bytes);
}

TEST(QuantizeOnly, LeavesTheOtherTensors) {
  const Polyglot ours;
  const Assignment quantized = ours.quantized("q4_0");
  const TensorSet layer = select_tensors(ours.model, "L3");
  const Assignment only = quantize_only(quantized, layer);
  for (size_t i = 0; i < layer.size(); ++i) {
    EXPECT_EQ(only.schemes[i], layer[i] ? quantized.schemes[i] : Scheme());
  }
}

// Accepted when: every number of the trie run equals a plain audit of the same configuration.
TEST(Sweep, EqualsPlainAuditsOn200RandomConfigurations) {
  Polyglot ours(/*units=*/1, /*threads=*/0);
  ConfigurationBuilder builder(ours.model, ours.quantized("seed-int4"));
  const auto units = sweep_units(ours.model, builder.quantized(), UnitKind::kHalf);
  Random random(11);
  std::vector<Configuration> configurations;
  std::set<std::string> names;
  while (configurations.size() < 200) {
    std::vector<size_t> places;
    const uint64_t share = 1 + random.below(4);
    for (size_t u = 0; u < units.size(); ++u) {
      if (random.below(4) < share) places.push_back(u);
    }
    Configuration configuration = builder.restore(pointers(units, places));
    if (names.insert(configuration.name).second) configurations.push_back(configuration);
  }
  const ScoreTable table = ours.measure(configurations);
  for (size_t c = 0; c < configurations.size(); ++c) {
    const AuditRun run{"run", "", "", configurations[c].variant};
    AuditOptions options;
    options.draws = 100;
    const RunResult alone =
        audit(ours.engine, ours.stored(), {run}, ours.corpus, options, {}).runs[0];
    for (size_t l = 0; l < kLanguages.size(); ++l) {
      const LanguageResult& language = alone.languages[l];
      const double kl = language.kl_per_unit.estimate->value;
      const double excess = language.excess_nats_per_unit.estimate->value;
      const UnitScore& score = table.configurations[c][l];
      EXPECT_NEAR(score.kl, kl, kPackingTolerance * kl + kNothing) << configurations[c].name;
      EXPECT_NEAR(score.nll - table.nll_reference[l], excess,
                  kPackingTolerance * score.nll + kNothing)
          << configurations[c].name;
    }
  }
}

TEST(Sweep, ConfigurationsDoNotDependOnTheirCompany) {
  Tiny ours;
  ConfigurationBuilder builder(ours.model, ours.quantized(kTinyScheme));
  const auto units = sweep_units(ours.model, builder.quantized(), UnitKind::kLayer);
  std::vector<Configuration> configurations = {builder.everything()};
  for (const SweepUnit& unit : units) configurations.push_back(builder.damage(unit));
  const ScoreTable together = ours.measure(configurations);
  for (size_t c = 0; c < configurations.size(); c += 1) {
    const ScoreTable alone = ours.measure(std::span(configurations).subspan(c, 1));
    EXPECT_EQ(alone.configurations[0], together.configurations[c]) << configurations[c].name;
    EXPECT_EQ(alone.nll_reference, together.nll_reference);
  }
}

TEST(Sweep, RestoringEverythingLosesNothing) {
  Polyglot ours;
  ConfigurationBuilder builder(ours.model, ours.quantized("q4_0"));
  const auto units = sweep_units(ours.model, builder.quantized(), UnitKind::kHalf);
  std::vector<size_t> all(units.size());
  for (size_t u = 0; u < all.size(); ++u) all[u] = u;
  const std::vector<Configuration> configurations = {builder.restore(pointers(units, all)),
                                                     builder.everything()};
  const ScoreTable table = ours.measure(configurations);
  for (size_t s = 0; s < table.nll_reference.size(); ++s) {
    EXPECT_EQ(table.configurations[0][s], (UnitScore{table.nll_reference[s], 0, 0}));
    EXPECT_GT(table.configurations[1][s].kl, 100 * kNothing);
  }
}

TEST(Sweep, AFrozenBlockAddsWhatTheReferenceAdds) {
  Polyglot ours;
  ConfigurationBuilder builder(ours.model, ours.quantized("seed-int4"));
  const SweepUnit layer = make_unit(ours.model, builder.quantized(), "L4");
  std::vector<Configuration> configurations = {builder.damage(layer), builder.damage(layer),
                                               builder.damage(layer), builder.everything()};
  configurations[1].name = "its own block is frozen";
  configurations[1].frozen_blocks = {4};
  configurations[2].name = "an earlier block is frozen";
  configurations[2].frozen_blocks = {2};
  configurations[3].name = "all blocks are frozen";
  configurations[3].frozen_blocks = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  const ScoreTable table = ours.measure(configurations);
  for (size_t s = 0; s < table.nll_reference.size(); ++s) {
    const double damage = table.configurations[0][s].kl;
    EXPECT_GT(damage, 100 * kNothing);
    EXPECT_EQ(table.configurations[1][s].kl, 0);
    EXPECT_EQ(table.configurations[2][s].kl, damage);
    EXPECT_GT(table.configurations[3][s].kl, 100 * kNothing);  // embeddings and head are quantized
  }
}

TEST(Sweep, SamplesTheSamePositionsOfEachConfiguration) {
  const Polyglot ours;
  ScoringOptions options;
  options.positions = 0.25;
  size_t all = 0, taken = 0;
  for (const SequenceId id : all_sequences(ours.corpus)) {
    const auto offsets = scored_offsets(ours.corpus, id, options);
    const size_t scored = get_sequence(ours.corpus, id).scored();
    EXPECT_EQ(offsets.size(), (scored + 3) / 4);
    EXPECT_TRUE(std::ranges::is_sorted(offsets));
    EXPECT_EQ(std::set<size_t>(offsets.begin(), offsets.end()).size(), offsets.size());
    EXPECT_LT(offsets.back(), get_sequence(ours.corpus, id).tokens.size());
    EXPECT_GE(offsets.front(), get_sequence(ours.corpus, id).first_scored);
    EXPECT_EQ(offsets, scored_offsets(ours.corpus, id, options));
    all += scored;
    taken += offsets.size();
  }
  EXPECT_LT(taken, all);
  options.positions = 1;
  EXPECT_EQ(scored_offsets(ours.corpus, {0, 0}, options).size(),
            get_sequence(ours.corpus, {0, 0}).scored());
}

// Of the first configuration.
double kl_sum(const ScoreTable& table) {
  double sum = 0;
  for (const UnitScore& score : table.configurations[0]) sum += score.kl;
  return sum;
}

// Sums over sampled positions are scaled up, so that their mean over seeds is that of all.
TEST(Sweep, SampledSumsAreRightOnAverage) {
  Tiny ours(/*units=*/1);
  ConfigurationBuilder builder(ours.model, ours.quantized(kTinyScheme));
  const std::vector<Configuration> configurations = {builder.everything()};
  const double expected = kl_sum(ours.measure(configurations));
  std::vector<double> sums;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    SweepOptions options = few_draws();
    options.search_positions = 0.25;
    options.seed = seed;
    sums.push_back(kl_sum(ours.measure(configurations, options)));
  }
  const double mean = mean_of(sums);
  double squares = 0;
  for (const double sum : sums) squares += (sum - mean) * (sum - mean);
  const auto count = static_cast<double>(sums.size());
  const double error = std::sqrt(squares / (count - 1) / count);
  EXPECT_GT(error, 0);
  EXPECT_LE(std::abs(mean - expected), 4 * error);
}

// In the order of cell_metrics(); NaN where there is none.
std::vector<double> audited_metrics(const LanguageResult& language) {
  const auto of = [](const Measured& measured) {
    return measured.estimate ? measured.estimate->value : std::nan("");
  };
  return {of(language.excess_nats_per_unit),
          of(language.excess_bits_per_byte),
          of(language.kl_per_unit),
          language.kl_per_token.mean.value,
          of(language.kl_per_byte),
          of(language.flip_rate),
          language.ppl - language.ppl_reference,
          of(language.rho),
          of(language.ln_rho),
          of(language.seed_disparity)};
}

void expect_audited(const CellEffect& cell, const LanguageResult& audited,
                    const std::vector<double>& expected) {
  ASSERT_EQ(cell.metrics.size(), expected.size());
  for (size_t m = 0; m < expected.size(); ++m) {
    const std::string name(cell_metrics()[m].name);
    ASSERT_TRUE(cell.metrics[m].value.estimate.has_value())
        << name << ": " << cell.metrics[m].value.status;
    EXPECT_NEAR(cell.metrics[m].value.estimate->value, expected[m],
                kPackingTolerance * (1 + std::abs(expected[m])))
        << name;
  }
  const KlPerToken& kl = audited.kl_per_token;
  const auto expect_quantile = [](double found, double exact) {
    EXPECT_NEAR(found, exact,
                (KlHistogram::kRelativeError + kPackingTolerance) * exact + kKlRounding);
  };
  expect_quantile(cell.kl_quantiles.median, kl.median);
  expect_quantile(cell.kl_quantiles.p99, kl.p99);
  expect_quantile(cell.kl_quantiles.p999, kl.p999);
  EXPECT_NEAR(cell.kl_quantiles.max, kl.max, kPackingTolerance * kl.max + kKlRounding);
}

void expect_disparity(const DisparityEffects& found, const Disparity& expected,
                      const Disparity& less) {
  const auto expect = [](const Effect& effect, const Measured& one, const Measured& other) {
    ASSERT_TRUE(effect.value.estimate.has_value()) << effect.value.status;
    const double other_value = other.estimate ? other.estimate->value : 0;
    EXPECT_NEAR(effect.value.estimate->value, one.estimate->value - other_value,
                kPackingTolerance * (1 + one.estimate->value));
  };
  expect(found.gap, expected.gap, less.gap);
  expect(found.gini, expected.gini, less.gini);
  expect(found.seed_disparity, expected.seed_disparity_mean, less.seed_disparity_mean);
}

// Of both interventions, every number is what plain audits say.
TEST(Sweep, MatrixHasTheMetricsOfAudits) {
  Polyglot ours(/*units=*/6, /*threads=*/2);
  const Assignment quantized = ours.quantized("seed-int4");
  ConfigurationBuilder builder(ours.model, quantized);
  std::vector<SweepUnit> units;
  std::vector<UnitConfigurations> places;
  std::vector<Configuration> configurations = {builder.everything()};
  for (const std::string name : {"L0", "L1+L2+L3+L4+L5"}) {
    units.push_back(make_unit(ours.model, quantized, name));
    places.push_back({configurations.size(), configurations.size() + 1});
    const SweepUnit* const unit = &units.back();
    configurations.push_back(builder.restore(std::span(&unit, 1)));
    configurations.push_back(builder.damage(units.back()));
  }
  const SweepOptions options = few_draws();
  SoloTeam team;
  Measurer measurer(ours.engine, ours.stored(), ours.corpus, options, team, nullptr, {});
  const ScoreTable table = measurer.measure("test", configurations, 1, Histograms::kKlPerToken);
  const Baseline baseline =
      analyse_baseline(ours.corpus, table, 0, ours.model.config().vocab_size, options);
  const auto matrix =
      analyse_interventions(ours.corpus, table, 0, units, places, baseline, options).units;

  std::vector<AuditRun> runs;
  for (const Configuration& configuration : configurations) {
    runs.push_back({configuration.name, "seed-int4", "", configuration.variant});
  }
  const auto audited = audit(ours.engine, ours.stored(), runs, ours.corpus, options, {}).runs;
  for (size_t u = 0; u < units.size(); ++u) {
    SCOPED_TRACE(units[u].name);
    const RunResult &restored = audited[1 + 2 * u], &damaged = audited[2 + 2 * u];
    for (size_t l = 0; l < kLanguages.size(); ++l) {
      std::vector<double> won_back = audited_metrics(audited[0].languages[l]);
      const std::vector<double> left = audited_metrics(restored.languages[l]);
      for (size_t m = 0; m < won_back.size(); ++m) won_back[m] -= left[m];
      expect_audited(*matrix[u].languages[l].restore, restored.languages[l], won_back);
      expect_audited(*matrix[u].languages[l].damage, damaged.languages[l],
                     audited_metrics(damaged.languages[l]));
    }
    expect_disparity(*matrix[u].restore_disparity, audited[0].disparity, restored.disparity);
    expect_disparity(*matrix[u].damage_disparity, damaged.disparity, {});
  }
  for (size_t l = 0; l < kLanguages.size(); ++l) {
    EXPECT_NEAR(baseline.ppl_reference[l], audited[0].languages[l].ppl_reference, 1e-3);
    EXPECT_NEAR(baseline.kl_quantiles[l].max, audited[0].languages[l].kl_per_token.max, 1e-5);
  }
  EXPECT_NEAR(baseline.gini.estimate->value, audited[0].disparity.gini.estimate->value, 1e-6);
}

// Of two ratios over nothing there is none, and a geometric mean is no language to compare with.
TEST(Sweep, SaysWhatCannotBeCompared) {
  Tiny ours;
  SweepOptions options = few_draws();
  options.reference_language = "geomean";
  const SweepResult result = ours.swept(request_of(kTinyScheme, SweepMode::kDamage), options);
  const size_t last = cell_metrics().size() - 1;
  for (const UnitResult& unit : result.matrix->units) {
    for (const UnitLanguage& language : unit.languages) {
      const Measured& disparity = language.damage->metrics[last].value;
      EXPECT_FALSE(disparity.estimate.has_value());
      EXPECT_EQ(disparity.status, "UNDEFINED: it needs one reference language");
      EXPECT_TRUE(language.damage->metrics.front().value.estimate.has_value());
    }
    EXPECT_FALSE(unit.damage_disparity->seed_disparity.value.estimate.has_value());
    EXPECT_TRUE(unit.damage_disparity->gap.value.estimate.has_value());
  }
}

struct Stopped : std::runtime_error {
  Stopped() : std::runtime_error("stopped") {}
};

// Progress that stops the work after so many calls.
Progress stop_after(size_t calls) {
  auto left = std::make_shared<size_t>(calls);
  return [left](std::string_view, double) {
    if (*left == 0) throw Stopped();
    --*left;
  };
}

std::string result_key(const SweepResult& result) {
  std::string key;
  for (const UnitResult& unit : result.matrix->units) {
    for (const UnitLanguage& language : unit.languages) {
      for (const auto* cell : {&language.restore, &language.damage}) {
        for (const Effect& effect : (*cell)->metrics) {
          const Estimate value = effect.value.estimate.value_or(Estimate{});
          key += fmt::format("{} {} {} {} {} {}\n", value.value, value.lo, value.hi, effect.p_value,
                             effect.q_value, effect.value.status);
        }
        const KlQuantiles& kl = (*cell)->kl_quantiles;
        key += fmt::format("{} {} {} {}\n", kl.median, kl.p99, kl.p999, kl.max);
        key += fmt::format("{} {}\n", (*cell)->rank.rank, (*cell)->rank.first_frequency);
      }
    }
  }
  return key;
}

TEST(Sweep, GoesOnWhereItWasStopped) {
  Tiny ours;
  const SweepRequest request = request_of(kTinyScheme, SweepMode::kBoth, UnitKind::kTensor);
  SweepOptions options = few_draws();
  options.hidden_memory = 1 << 18;  // several slices
  options.runs_at_once = 3;
  const std::string expected = result_key(ours.swept(request, options));
  const TemporaryDirectory place;
  const nlohmann::json run = {{"inputs", "these"}, {"settings", "so"}};
  size_t stops = 0;
  size_t recorded = 0;
  for (size_t calls = 40;; calls += 40) {
    RunDirectory directory(place.path() / "run", run, /*resume=*/stops > 0);
    EXPECT_GE(directory.recorded(), recorded);
    recorded = directory.recorded();
    try {
      EXPECT_EQ(result_key(ours.swept(request, options, &directory, stop_after(calls))), expected);
      break;
    } catch (const Stopped&) {
      ++stops;
    }
  }
  EXPECT_GT(stops, 3U);
  // All of it is there: nothing is measured again, and the result is the same.
  RunDirectory directory(place.path() / "run", run, true);
  EXPECT_EQ(result_key(ours.swept(request, options, &directory, stop_after(0))), expected);
}

TEST(RunDirectory, RefusesAnotherRunAndSaysWhatDiffers) {
  const TemporaryDirectory place;
  const std::filesystem::path path = place.path() / "run";
  const nlohmann::json run = {{"inputs", {{"model", "abc"}}},
                              {"settings", {{"scheme", "q4_0"}, {"seed", 1}}},
                              {"notes", {{"threads", 2}}}};
  { RunDirectory directory(path, run, false); }
  const Failure again = failure_of([&] { RunDirectory directory(path, run, false); });
  EXPECT_EQ(again.code, ErrorCode::kBadArgument);
  EXPECT_TRUE(says(again.message, {"run", "--resume"}));
  nlohmann::json other = run;
  other["settings"]["scheme"] = "q8_0";
  other["inputs"]["model"] = "xyz";
  const Failure failure = failure_of([&] { RunDirectory directory(path, other, true); });
  EXPECT_EQ(failure.code, ErrorCode::kMismatch);
  EXPECT_TRUE(says(failure.message, {"settings/scheme", "q8_0", "q4_0", "inputs/model", "xyz"}));
  EXPECT_EQ(failure.message.find("seed"), std::string::npos);
  nlohmann::json noted = run;
  noted["notes"]["threads"] = 64;
  RunDirectory directory(path, noted, true);
}

// Ranks that are threads, each with a model of its own.
class ThreadHub {
 public:
  explicit ThreadHub(size_t size) : size_(size) {}

  size_t size() const { return size_; }

  void broadcast(size_t rank, std::vector<double>& numbers) {
    std::unique_lock lock(mutex_);
    if (rank == 0) shared_ = numbers;
    const size_t generation = generation_;
    if (++waiting_ == size_) {
      waiting_ = 0;
      ++generation_;
      changed_.notify_all();
    } else {
      changed_.wait(lock, [&] { return generation_ != generation; });
    }
    numbers = shared_;
    // Nobody gives the next one before all have this one.
    const size_t leaving = generation_;
    if (++waiting_ == size_) {
      waiting_ = 0;
      ++generation_;
      changed_.notify_all();
    } else {
      changed_.wait(lock, [&] { return generation_ != leaving; });
    }
  }

  void send(std::span<const double> numbers) {
    const std::scoped_lock lock(mutex_);
    sent_.emplace_back(numbers.begin(), numbers.end());
    changed_.notify_all();
  }

  std::optional<std::vector<double>> receive(bool wait) {
    std::unique_lock lock(mutex_);
    if (wait) changed_.wait(lock, [&] { return !sent_.empty(); });
    if (sent_.empty()) return std::nullopt;
    auto first = std::move(sent_.front());
    sent_.pop_front();
    return first;
  }

 private:
  size_t size_;
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t waiting_ = 0, generation_ = 0;
  std::vector<double> shared_;
  std::deque<std::vector<double>> sent_;
};

class ThreadTeam : public Team {
 public:
  ThreadTeam(ThreadHub& hub, size_t rank) : hub_(hub), rank_(rank) {}
  size_t rank() const override { return rank_; }
  size_t size() const override { return hub_.size(); }
  void broadcast(std::vector<double>& numbers) override { hub_.broadcast(rank_, numbers); }
  void send(std::span<const double> numbers) override { hub_.send(numbers); }
  std::optional<std::vector<double>> receive(bool wait) override { return hub_.receive(wait); }

 private:
  ThreadHub& hub_;
  size_t rank_;
};

TEST(Sweep, GivesTheSameNumbersToATeam) {
  SweepOptions options = few_draws();
  options.hidden_memory = 1 << 18;
  Tiny ours;
  ConfigurationBuilder builder(ours.model, ours.quantized(kTinyScheme));
  const auto units = sweep_units(ours.model, builder.quantized(), UnitKind::kLayer);
  std::vector<Configuration> configurations = {builder.everything()};
  for (const SweepUnit& unit : units) configurations.push_back(builder.damage(unit));
  const ScoreTable alone = ours.measure(configurations, options);
  constexpr size_t kRanks = 3;
  ThreadHub hub(kRanks);
  std::vector<ScoreTable> tables(kRanks);
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < kRanks; ++rank) {
    threads.emplace_back([&, rank] {
      Tiny own;
      ConfigurationBuilder own_builder(own.model, own.quantized(kTinyScheme));
      std::vector<Configuration> own_configurations = {own_builder.everything()};
      for (const SweepUnit& unit : units) own_configurations.push_back(own_builder.damage(unit));
      ThreadTeam team(hub, rank);
      Measurer measurer(own.engine, own.stored(), own.corpus, options, team, nullptr, {});
      tables[rank] = measurer.measure("test", own_configurations, 1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const ScoreTable& table : tables) expect_same(table, alone);
}

TEST(Sweep, EffectsAreDifferencesOfMeasuredLosses) {
  Tiny ours;
  const SweepResult result = ours.swept(request_of(kTinyScheme, SweepMode::kBoth));
  ASSERT_TRUE(result.matrix.has_value());
  ConfigurationBuilder builder(ours.model, ours.quantized(kTinyScheme));
  const auto units = sweep_units(ours.model, builder.quantized(), UnitKind::kLayer);
  const SweepUnit* second = &units[1];
  const std::vector<Configuration> configurations = {
      builder.everything(), builder.restore(std::span(&second, 1)), builder.damage(*second)};
  const ScoreTable table = ours.measure(configurations);
  for (size_t l = 0; l < kLanguages.size(); ++l) {
    std::vector<double> kl;
    for (const auto& scores : table.configurations) {
      double sum = 0;
      for (size_t u = 0; u < 3; ++u) sum += scores[3 * l + u].kl;
      kl.push_back(sum / 3);
    }
    const UnitLanguage& cell = result.matrix->units[1].languages[l];
    constexpr auto kKlPlace = static_cast<size_t>(RatioMetric::kKlPerUnit);
    const auto value = [](const Effect& effect) { return effect.value.estimate->value; };
    EXPECT_NEAR(value(cell.restore->metrics[kKlPlace]), kl[0] - kl[1], 1e-12);
    EXPECT_NEAR(value(cell.damage->metrics[kKlPlace]), kl[2], 1e-12);
    EXPECT_NEAR(value(cell.restore->share), (kl[0] - kl[1]) / kl[0], 1e-12);
    EXPECT_NEAR(value(cell.damage->share), kl[2] / kl[0], 1e-12);
    EXPECT_LE(cell.damage->metrics[kKlPlace].value.estimate->lo, kl[2]);
    EXPECT_GE(cell.damage->metrics[kKlPlace].value.estimate->hi, kl[2]);
    EXPECT_NEAR(result.baseline.languages[l][kKlPlace].estimate->value, kl[0], 1e-12);
  }
}

TEST(Sweep, RanksEveryUnitOnce) {
  Tiny ours;
  const SweepResult result =
      ours.swept(request_of(kTinyScheme, SweepMode::kDamage, UnitKind::kTensor));
  std::vector<double> places;
  double first = 0;
  for (const UnitResult& unit : result.matrix->units) {
    places.push_back(unit.damage_worst->rank.rank);
    first += unit.damage_worst->rank.first_frequency;
    EXPECT_FALSE(unit.restore_worst.has_value());
    EXPECT_LE(unit.damage_worst->rank.lo, unit.damage_worst->rank.rank);
    EXPECT_GE(unit.damage_worst->rank.hi, unit.damage_worst->rank.rank);
  }
  std::ranges::sort(places);
  for (size_t u = 0; u < places.size(); ++u) EXPECT_EQ(places[u], static_cast<double>(u + 1));
  EXPECT_NEAR(first, 1, 1e-12);
}

TEST(Sweep, SubsetsNameTheBestOfEachSize) {
  Polyglot ours(/*units=*/1, /*threads=*/0);
  SweepRequest request = request_of("q4_0", SweepMode::kSubsets);
  request.max_size = 2;
  const SweepResult result = ours.swept(request);
  ASSERT_TRUE(result.subsets.has_value());
  EXPECT_EQ(result.subsets->sets, 1U + 12U + 66U);
  EXPECT_FALSE(result.subsets->shapley.has_value());
  EXPECT_EQ(result.subsets->contrasts_at_none.size(), 66U);
  // By brute force over the same sets.
  ConfigurationBuilder builder(ours.model, ours.quantized("q4_0"));
  const auto units = sweep_units(ours.model, builder.quantized(), UnitKind::kLayer);
  std::vector<Configuration> pairs;
  for (size_t i = 0; i < 12; ++i) {
    for (size_t j = i + 1; j < 12; ++j) pairs.push_back(builder.restore(pointers(units, {i, j})));
  }
  const ScoreTable table = ours.measure(pairs);
  std::string best;
  double least = 1e9;
  for (size_t c = 0; c < pairs.size(); ++c) {
    double worst = 0;
    for (size_t l = 0; l < kLanguages.size(); ++l) {
      const auto& scores = table.configurations[c];
      worst = std::max(worst, scores[l].kl);
    }
    if (worst < least) {
      least = worst;
      best = pairs[c].name;
    }
  }
  const auto found = std::ranges::find_if(result.subsets->best, [](const BestSet& set) {
    return set.objective == "worst_loss" && set.size == 2;
  });
  ASSERT_NE(found, result.subsets->best.end());
  EXPECT_EQ("restore:" + found->set.name, best);
  EXPECT_NEAR(found->set.worst_loss.estimate->value, least, 1e-12);
  EXPECT_GE(found->lead.value.estimate->value, 0);
}

// A model of two layers, so that everything about its subsets can be written out.
struct TwoLayers : LoadedModel {
  TwoLayers()
      : LoadedModel(repository_path("tests/data/families/llama")),
        corpus(tokenize(builtin_corpus({"en", "de"}, 4), Tokenizer(model.vocabulary(), "llama"),
                        model.config().context_length)) {}
  TokenizedCorpus corpus;
};

TEST(Sweep, ShapleyValuesAddUpToWhatRestoringAllWinsBack) {
  TwoLayers ours;
  SweepRequest request = request_of("rtn-int4-g32", SweepMode::kSubsets);
  SoloTeam team;
  const SweepResult result =
      sweep(ours.engine, ours.model, ours.corpus, request, few_draws(), team, nullptr, {});
  ASSERT_TRUE(result.subsets->shapley.has_value());
  const ShapleyValues& shapley = *result.subsets->shapley;
  ASSERT_EQ(shapley.players, (std::vector<std::string>{"L0", "L1"}));
  for (size_t l = 0; l < 2; ++l) {
    const auto value = [&](size_t p) { return shapley.values[l][p].value.estimate->value; };
    const double whole =
        result.baseline.languages[l][static_cast<size_t>(RatioMetric::kKlPerUnit)].estimate->value;
    EXPECT_NEAR(value(0) + value(1), whole, 1e-9);
    const PairInteraction& pair = result.subsets->interactions[l][0];
    EXPECT_NEAR(pair.index.value.estimate->value, pair.at_none.value.estimate->value, 1e-12);
    EXPECT_NEAR(pair.index.value.estimate->value, pair.at_all.value.estimate->value, 1e-12);
  }
  // With two layers one pair of orders is every order, so that sampling is exact.
  request.mode = SweepMode::kShapley;
  request.max_permutations = 8;
  const SweepResult sampled =
      sweep(ours.engine, ours.model, ours.corpus, request, few_draws(), team, nullptr, {});
  ASSERT_TRUE(sampled.shapley.has_value());
  EXPECT_TRUE(sampled.shapley->precise);
  for (size_t l = 0; l < 2; ++l) {
    for (size_t p = 0; p < 2; ++p) {
      EXPECT_NEAR(sampled.shapley->shapley.values[l][p].value.estimate->value,
                  shapley.values[l][p].value.estimate->value, 1e-9);
    }
  }
}

TEST(Sweep, ComparesASetWithRandomOnesOfTheSameBytes) {
  Polyglot ours(/*units=*/1, /*threads=*/0);
  SweepRequest request = request_of("q4_0", SweepMode::kSets);
  request.sets = {"L0+L11"};
  request.random_sets = 20;
  const SweepResult result = ours.swept(request);
  ASSERT_EQ(result.sets.size(), 1U);
  const ComparedSet& set = result.sets[0];
  EXPECT_EQ(set.random_sets, 20U);
  std::set<std::string> names;
  size_t worse = 0;
  for (const SetResult& other : set.random) {
    EXPECT_EQ(other.units.size(), 2U);
    EXPECT_NEAR(static_cast<double>(other.extra_bytes), static_cast<double>(set.set.extra_bytes),
                0.01 * static_cast<double>(set.set.extra_bytes));
    EXPECT_NE(other.name, "L0+L11");
    names.insert(other.name);
    worse += other.worst_loss.estimate->value > set.set.worst_loss.estimate->value ? 1 : 0;
  }
  EXPECT_EQ(names.size(), 20U);
  EXPECT_EQ(set.different_sets, 65U);  // of 12 layers two, but for these two
  EXPECT_DOUBLE_EQ(set.worst_loss_percentile, static_cast<double>(worse) / 20);
}

TEST(Sweep, RefusesWhatCannotBeSwept) {
  Polyglot ours(/*units=*/1);
  const auto refused = [&](const SweepRequest& request, const SweepOptions& options,
                           const std::vector<std::string>& parts) {
    const Failure failure = failure_of([&] { ours.swept(request, options); });
    EXPECT_EQ(failure.code, ErrorCode::kBadArgument);
    EXPECT_TRUE(says(failure.message, parts));
  };
  refused(request_of("none", SweepMode::kBoth), few_draws(), {"none", "nothing"});
  SweepRequest sets = request_of("q4_0", SweepMode::kSets);
  refused(sets, few_draws(), {"--set"});
  sets.sets = {"L0+L99"};
  refused(sets, few_draws(), {"L99"});
  // Before anything is measured.
  EXPECT_EQ(failure_of([&] { plan_sweep(ours.model, ours.corpus, sets, few_draws()); }).code,
            ErrorCode::kBadArgument);
  sets.sets = {"embeddings"};
  refused(sets, few_draws(), {"embeddings", "no tensor"});
  sets.sets = {"L0"};
  EXPECT_FALSE(failure_of([&] { ours.swept(sets); }).code);
  sets.mode = SweepMode::kBoth;
  refused(sets, few_draws(), {"--set L0", "sets", "both"});
  SweepRequest shapley = request_of("q4_0", SweepMode::kShapley);
  shapley.max_permutations = 2;
  for (const double tolerance : {-0.1, std::nan("")}) {
    shapley.tolerance = tolerance;
    refused(shapley, few_draws(), {"--tolerance"});
  }
  SweepOptions none = few_draws();
  none.search_positions = 0;
  refused(request_of("q4_0", SweepMode::kSubsets), none, {"--search-positions"});
  EXPECT_TRUE(says(failure_of([] { parse_sweep_mode("subset"); }).message, {"subsets"}));
  EXPECT_TRUE(says(failure_of([] { parse_unit_kind("layers"); }).message, {"layer"}));
}

TEST(PlanSweep, CountsWhatAScheduleComputes) {
  const Polyglot ours(/*units=*/1);
  const SweepPlan subsets =
      plan_sweep(ours.model, ours.corpus, request_of("q4_0", SweepMode::kSubsets), few_draws());
  EXPECT_EQ(subsets.configurations, 4096U);
  EXPECT_EQ(subsets.half_blocks, 2U * 8190U);
  EXPECT_EQ(subsets.naive_half_blocks, 24U * 4097U);
  const SweepPlan restore =
      plan_sweep(ours.model, ours.corpus, request_of("q4_0", SweepMode::kRestore), few_draws());
  EXPECT_EQ(restore.configurations, 13U);
  EXPECT_LT(restore.multiply_adds, 0.6 * restore.naive_multiply_adds);
  SweepRequest sets = request_of("q4_0", SweepMode::kSets);
  sets.sets = {"L0+L11", "L3"};
  sets.random_sets = 5;
  EXPECT_EQ(plan_sweep(ours.model, ours.corpus, sets, few_draws()).configurations, 13U);
  SweepRequest shapley = request_of("q4_0", SweepMode::kShapley);
  shapley.max_permutations = 2;  // four orders, which share the first set and the last
  EXPECT_LE(plan_sweep(ours.model, ours.corpus, shapley, few_draws()).configurations, 46U);
}

}  // namespace
}  // namespace isogloss
