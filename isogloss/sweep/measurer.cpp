// Measuring is cut into tasks: some configurations on a slice of the corpus. A task's numbers are
// the same whoever computes it and whatever else is computed, so that neither the size of the team
// nor an interruption can be seen in a result.
#include <algorithm>

#include "isogloss/base/error.h"
#include "isogloss/sweep/measurer_impl.h"

namespace isogloss {
namespace {

struct Task {
  size_t slice = 0;
  std::vector<size_t> places;  // of configurations
};

std::vector<double> to_doubles(std::span<const size_t> numbers) {
  return {numbers.begin(), numbers.end()};
}

// One call of Measurer::measure().
class PhaseRun {
 public:
  PhaseRun(std::string name, std::span<const Configuration> configurations,
           const TokenizedCorpus& corpus, const ScoringOptions& options, Histograms histograms,
           Team& team, Journal* journal)
      : name_(std::move(name)),
        configurations_(configurations),
        corpus_(corpus),
        options_(options),
        team_(team),
        journal_(journal),
        ids_(all_sequences(corpus)) {
    table_.nll_reference.resize(ids_.size());
    table_.configurations.assign(configurations.size(), std::vector<UnitScore>(ids_.size()));
    if (histograms == Histograms::kKlPerToken) {
      table_.kl_per_token.assign(configurations.size(),
                                 std::vector<KlHistogram>(corpus.languages.size()));
    }
    for (size_t i = 0; i < ids_.size(); ++i) place_of_[{ids_[i].language, ids_[i].index}] = i;
  }

  void choose_slices(const Record::Phase* recorded, const Variant& reference);
  void take_recorded(const Record::Phase* recorded);
  ScoreTable run(Engine& engine, const Variant& reference, const Progress& progress);

 private:
  struct Slice {
    size_t first = 0, count = 0;  // of ids_
    bool has_reference = false;
    std::vector<bool> done;  // by configuration
  };

  std::span<const SequenceId> sequences_of(const Slice& slice) const {
    return std::span(ids_).subspan(slice.first, slice.count);
  }
  std::vector<Task> make_tasks(const Variant& reference) const;
  void run_task(const Task& task, Engine& engine, const Variant& reference, Meter& meter);
  void scale_up(const Slice& slice, std::span<const size_t> places, bool reference);
  bool has_histograms() const { return !table_.kl_per_token.empty(); }
  LanguageHistograms take_unkept(size_t slice, size_t place);
  void add_histograms(size_t place, const LanguageHistograms& histograms);
  void check_recorded(const Slice& slice, const std::string& configuration,
                      const LanguageHistograms& histograms) const;
  void deliver(size_t slice, std::span<const size_t> places);
  void keep(size_t slice, std::span<const size_t> places, bool reference);
  std::vector<double> pack(size_t slice, std::span<const size_t> places);
  void unpack(std::span<const double> message);
  void share_table();

  std::string name_;
  std::span<const Configuration> configurations_;
  const TokenizedCorpus& corpus_;
  const ScoringOptions& options_;
  Team& team_;
  Journal* journal_;
  std::vector<SequenceId> ids_;
  std::map<std::pair<size_t, size_t>, size_t> place_of_;  // language, index -> place in ids_
  std::vector<Slice> slices_;
  // Not yet in the table: by slice and place, for ranks deliver the same place of other slices.
  std::map<std::pair<size_t, size_t>, LanguageHistograms> unkept_;
  size_t pending_ = 0;  // measurements that rank 0 does not have
  ScoreTable table_;
};

void PhaseRun::choose_slices(const Record::Phase* recorded, const Variant& reference) {
  std::vector<size_t> sizes;
  if (recorded) {
    sizes = recorded->slices;
  } else if (team_.rank() == 0) {
    const ScoringPlan plan = plan_scoring(reference, configurations_, options_);
    for (const auto slice : cut_slices(corpus_, ids_, *reference.model, plan, options_)) {
      sizes.push_back(slice.size());
    }
    if (journal_) journal_->append(std::vector{phase_entry(name_, options_.positions, sizes)});
  }
  std::vector<double> shared = to_doubles(sizes);
  team_.broadcast(shared);
  size_t first = 0;
  for (const double size : shared) {
    const auto count = static_cast<size_t>(size);
    slices_.push_back({first, count, false, std::vector<bool>(configurations_.size())});
    first += count;
  }
  if (first != ids_.size()) {
    fail(ErrorCode::kMismatch, "phase '{}': the journal's slices hold {} sequences, the corpus {}",
         name_, first, ids_.size());
  }
  pending_ = slices_.size() * configurations_.size();
}

void PhaseRun::take_recorded(const Record::Phase* recorded) {
  std::vector<double> done;
  if (recorded) {
    std::map<std::string, size_t> places;
    for (size_t c = 0; c < configurations_.size(); ++c) places[configurations_[c].name] = c;
    for (const auto& [slice, nll] : recorded->references) {
      std::ranges::copy(
          nll, table_.nll_reference.begin() + static_cast<std::ptrdiff_t>(slices_[slice].first));
      slices_[slice].has_reference = true;
    }
    for (const auto& [key, scores] : recorded->scores) {
      const auto place = places.find(key.second);
      if (place == places.end()) {
        fail(ErrorCode::kMismatch,
             "phase '{}': the journal has a measurement of '{}', which this sweep does not make",
             name_, key.second);
      }
      Slice& slice = slices_[key.first];
      std::ranges::copy(scores.sequences, table_.configurations[place->second].begin() +
                                              static_cast<std::ptrdiff_t>(slice.first));
      check_recorded(slice, key.second, scores.kl_per_token);
      add_histograms(place->second, scores.kl_per_token);
      slice.done[place->second] = true;
      --pending_;
    }
  }
  for (const Slice& slice : slices_) done.insert(done.end(), slice.done.begin(), slice.done.end());
  team_.broadcast(done);
  auto flag = done.begin();
  for (Slice& slice : slices_) {
    for (size_t c = 0; c < slice.done.size(); ++c) slice.done[c] = *flag++ != 0;
  }
}

std::vector<Task> PhaseRun::make_tasks(const Variant& reference) const {
  // As few pieces of the schedule as there are ranks, for each computes its beginning again.
  const size_t pieces = (team_.size() + slices_.size() - 1) / slices_.size();
  const std::vector<size_t> order = scoring_order(reference, configurations_);
  std::vector<Task> tasks;
  for (size_t s = 0; s < slices_.size(); ++s) {
    std::vector<size_t> open;
    std::ranges::copy_if(order, std::back_inserter(open),
                         [&](size_t place) { return !slices_[s].done[place]; });
    for (size_t piece = 0; piece < pieces; ++piece) {
      const auto first = open.begin() + static_cast<std::ptrdiff_t>(open.size() * piece / pieces);
      const auto last =
          open.begin() + static_cast<std::ptrdiff_t>(open.size() * (piece + 1) / pieces);
      if (first != last) tasks.push_back({s, {first, last}});
    }
  }
  return tasks;
}

void PhaseRun::run_task(const Task& task, Engine& engine, const Variant& reference, Meter& meter) {
  const Slice& slice = slices_[task.slice];
  std::vector<Configuration> configurations;
  for (const size_t place : task.places) configurations.push_back(configurations_[place]);
  // Every configuration comes with the reference's scores; those of the first are taken.
  constexpr size_t kNobody = static_cast<size_t>(-1);
  size_t witness = kNobody;
  std::fill_n(table_.nll_reference.begin() + static_cast<std::ptrdiff_t>(slice.first), slice.count,
              0.0);
  const ScoreSink sink{[&](size_t local, SequenceId id, const TokenScore& score) {
                         const size_t sequence = place_of_.at({id.language, id.index});
                         UnitScore& sums = table_.configurations[task.places[local]][sequence];
                         sums.nll += score.nll;
                         sums.kl += static_cast<double>(score.kl);
                         sums.flips += score.flipped ? 1 : 0;
                         if (has_histograms()) {
                           unkept_[{task.slice, task.places[local]}][id.language].add(score.kl);
                         }
                         if (witness == kNobody) witness = local;
                         if (witness == local)
                           table_.nll_reference[sequence] += score.nll_reference;
                       },
                       [&](std::span<const size_t> finished) {
                         std::vector<size_t> places;
                         for (const size_t local : finished) places.push_back(task.places[local]);
                         const bool first = std::ranges::find(finished, witness) != finished.end();
                         scale_up(slice, places, first);
                         deliver(task.slice, places);
                       }};
  score_slice(engine, reference, configurations, corpus_, sequences_of(slice), options_, meter,
              sink);
}

LanguageHistograms PhaseRun::take_unkept(size_t slice, size_t place) {
  auto node = unkept_.extract({slice, place});
  return node ? std::move(node.mapped()) : LanguageHistograms();
}

void PhaseRun::add_histograms(size_t place, const LanguageHistograms& histograms) {
  for (const auto& [language, histogram] : histograms) {
    table_.kl_per_token[place][language].merge(histogram);
  }
}

// Histograms of a journal have to count the positions of the slice.
void PhaseRun::check_recorded(const Slice& slice, const std::string& configuration,
                              const LanguageHistograms& histograms) const {
  std::map<size_t, uint64_t> expected;
  if (has_histograms()) {
    for (const SequenceId id : sequences_of(slice)) {
      expected[id.language] += scored_offsets(corpus_, id, options_).size();
    }
  }
  const bool same = std::ranges::equal(expected, histograms, [](const auto& a, const auto& b) {
    return a.first == b.first && a.second == b.second.count();
  });
  if (same) return;
  fail(ErrorCode::kCorrupt,
       "phase '{}': the journal's histograms of '{}' do not count the positions of their slice",
       name_, configuration);
}

void PhaseRun::scale_up(const Slice& slice, std::span<const size_t> places, bool reference) {
  if (options_.positions >= 1) return;
  for (size_t i = slice.first; i < slice.first + slice.count; ++i) {
    const auto all = static_cast<double>(get_sequence(corpus_, ids_[i]).scored());
    const double scale =
        all / static_cast<double>(scored_offsets(corpus_, ids_[i], options_).size());
    if (reference) table_.nll_reference[i] *= scale;
    for (const size_t place : places) {
      UnitScore& sums = table_.configurations[place][i];
      sums = {sums.nll * scale, sums.kl * scale, sums.flips * scale};
    }
  }
}

// To rank 0, whoever has it.
void PhaseRun::deliver(size_t slice, std::span<const size_t> places) {
  if (team_.rank() != 0) {
    team_.send(pack(slice, places));
    return;
  }
  keep(slice, places, /*reference=*/true);
  while (const auto message = team_.receive(/*wait=*/false)) unpack(*message);
}

void PhaseRun::keep(size_t index, std::span<const size_t> places, bool reference) {
  Slice& slice = slices_[index];
  std::vector<nlohmann::json> entries;
  if (reference && !slice.has_reference) {
    entries.push_back(reference_entry(
        name_, index, std::span(table_.nll_reference).subspan(slice.first, slice.count)));
    slice.has_reference = true;
  }
  for (const size_t place : places) {
    const LanguageHistograms histograms = take_unkept(index, place);
    entries.push_back(scores_entry(
        name_, index, configurations_[place].name,
        std::span(table_.configurations[place]).subspan(slice.first, slice.count), histograms));
    add_histograms(place, histograms);
    ISOGLOSS_ASSERT(!slice.done[place]);
    slice.done[place] = true;
    --pending_;
  }
  if (journal_) journal_->append(entries);
}

// Slice, number of configurations, the reference's nats; for each its place, scores, how many
// numbers its histograms have, and those.
std::vector<double> PhaseRun::pack(size_t index, std::span<const size_t> places) {
  const Slice& slice = slices_[index];
  std::vector<double> message = {static_cast<double>(index), static_cast<double>(places.size())};
  const auto reference = std::span(table_.nll_reference).subspan(slice.first, slice.count);
  message.insert(message.end(), reference.begin(), reference.end());
  for (const size_t place : places) {
    message.push_back(static_cast<double>(place));
    for (const UnitScore& score :
         std::span(table_.configurations[place]).subspan(slice.first, slice.count)) {
      message.insert(message.end(), {score.nll, score.kl, score.flips});
    }
    const auto numbers = pack_histograms(take_unkept(index, place));
    message.push_back(static_cast<double>(numbers.size()));
    message.insert(message.end(), numbers.begin(), numbers.end());
  }
  return message;
}

void PhaseRun::unpack(std::span<const double> message) {
  auto next = message.begin();
  const auto index = static_cast<size_t>(*next++);
  const auto count = static_cast<size_t>(*next++);
  const Slice& slice = slices_[index];
  for (size_t i = 0; i < slice.count; ++i) table_.nll_reference[slice.first + i] = *next++;
  std::vector<size_t> places;
  for (size_t c = 0; c < count; ++c) {
    places.push_back(static_cast<size_t>(*next++));
    for (size_t i = 0; i < slice.count; ++i) {
      UnitScore& score = table_.configurations[places.back()][slice.first + i];
      score.nll = *next++;
      score.kl = *next++;
      score.flips = *next++;
    }
    const auto numbers = static_cast<size_t>(*next++);
    const auto histograms = unpack_histograms(std::span(next, numbers));
    ISOGLOSS_ASSERT(histograms.has_value());
    unkept_[{index, places.back()}] = *histograms;
    next += static_cast<std::ptrdiff_t>(numbers);
  }
  keep(index, places, /*reference=*/true);
}

void PhaseRun::share_table() {
  if (team_.size() == 1) return;
  team_.broadcast(table_.nll_reference);
  std::vector<double> numbers;
  for (auto& scores : table_.configurations) {
    numbers.clear();
    for (const UnitScore& score : scores) {
      numbers.insert(numbers.end(), {score.nll, score.kl, score.flips});
    }
    team_.broadcast(numbers);
    for (size_t i = 0; i < scores.size(); ++i) {
      scores[i] = {numbers[3 * i], numbers[3 * i + 1], numbers[3 * i + 2]};
    }
  }
}

ScoreTable PhaseRun::run(Engine& engine, const Variant& reference, const Progress& progress) {
  std::vector<Task> own;
  const std::vector<Task> tasks = make_tasks(reference);
  for (size_t t = team_.rank(); t < tasks.size(); t += team_.size()) own.push_back(tasks[t]);
  double work = 0;
  for (const Task& task : own) {
    std::vector<Configuration> configurations;
    for (const size_t place : task.places) configurations.push_back(configurations_[place]);
    work += scoring_work(plan_scoring(reference, configurations, options_), corpus_,
                         sequences_of(slices_[task.slice]), options_);
  }
  Meter meter(work, progress);
  for (const Task& task : own) run_task(task, engine, reference, meter);
  while (team_.rank() == 0 && pending_ > 0) {
    const auto message = team_.receive(/*wait=*/true);
    ISOGLOSS_ASSERT(message.has_value());
    unpack(*message);
  }
  share_table();
  return std::move(table_);
}

}  // namespace

Measurer::Measurer(Engine& engine, const Variant& reference, const TokenizedCorpus& corpus,
                   const SweepOptions& options, Team& team, RunDirectory* directory,
                   Progress progress)
    : engine_(engine),
      reference_(reference),
      corpus_(corpus),
      options_(options),
      team_(team),
      progress_(std::move(progress)) {
  if (!directory) return;
  journal_ = directory->impl().journal.get();
  record_ = &directory->impl().record;
}

NoiseFloor Measurer::noise_floor() {
  NoiseFloor floor;
  if (record_ && record_->noise_floor()) {
    floor = *record_->noise_floor();
  } else if (team_.rank() == 0) {
    Meter meter(noise_floor_work(reference_, corpus_), progress_);
    floor = measure_noise_floor(engine_, reference_, corpus_, options_, meter);
    if (journal_) journal_->append(std::vector{noise_floor_entry(floor)});
  }
  return floor;
}

ScoreTable Measurer::measure(const std::string& phase,
                             std::span<const Configuration> configurations, double positions,
                             Histograms histograms) {
  ScoringOptions options = options_;
  options.positions = positions;
  options.position_seed = options_.seed;
  const Record::Phase* recorded = record_ ? record_->find_phase(phase) : nullptr;
  PhaseRun run(phase, configurations, corpus_, options, histograms, team_, journal_);
  run.choose_slices(recorded, reference_);
  run.take_recorded(recorded);
  return run.run(engine_, reference_, progress_);
}

std::vector<double> Measurer::measure_sums(const std::string& phase, size_t states, size_t columns,
                                           const MeasureSums& measure) {
  if (team_.rank() != 0) return {};
  const auto ids = all_sequences(corpus_);
  const Record::Phase* recorded = record_ ? record_->find_phase(phase) : nullptr;
  std::vector<size_t> sizes;
  if (recorded) {
    sizes = recorded->slices;
  } else {
    ScoringPlan plan;
    plan.states = states;
    for (const auto slice : cut_slices(corpus_, ids, *reference_.model, plan, options_)) {
      sizes.push_back(slice.size());
    }
    if (journal_) journal_->append(std::vector{phase_entry(phase, 1, sizes)});
  }
  std::vector<double> all;
  size_t first = 0;
  for (size_t s = 0; s < sizes.size(); ++s) {
    if (progress_) {
      progress_(phase, static_cast<double>(first) / static_cast<double>(ids.size()));
    }
    std::vector<double> sums;
    if (recorded && recorded->sums.contains(s)) {
      sums = recorded->sums.at(s);
    } else {
      sums = measure(engine_, std::span(ids).subspan(first, sizes[s]));
      if (journal_) journal_->append(std::vector{sums_entry(phase, s, sums)});
    }
    if (sums.size() != sizes[s] * columns) {
      fail(ErrorCode::kCorrupt, "phase '{}': slice {} of the journal has {} sums, expected {}",
           phase, s, sums.size(), sizes[s] * columns);
    }
    all.insert(all.end(), sums.begin(), sums.end());
    first += sizes[s];
  }
  return all;
}

}  // namespace isogloss
