// Journal entries: one kind for each member that names it.
#include "isogloss/base/error.h"
#include "isogloss/sweep/measurer_impl.h"

namespace isogloss {
namespace {

using Json = nlohmann::json;

constexpr const char* kHistograms = "kl_per_token";

std::vector<double> get_numbers(const JsonObject& entry, const char* key) {
  std::vector<double> numbers;
  const auto found = entry.value().find(key);
  const bool is_list = found != entry.value().end() && found->is_array();
  if (is_list) {
    for (const Json& number : *found) {
      if (!number.is_number()) break;
      numbers.push_back(number.get<double>());
    }
  }
  if (!is_list || numbers.size() != found->size()) {
    fail(ErrorCode::kCorrupt, "{}: \"{}\" is no list of numbers", entry.path(), key);
  }
  return numbers;
}

// One number for each sequence of the slice.
std::vector<double> get_sums(const JsonObject& entry, const char* key, size_t sequences) {
  std::vector<double> sums = get_numbers(entry, key);
  if (sums.size() != sequences) {
    fail(ErrorCode::kCorrupt,
         "{}: \"{}\" holds {} numbers, expected {}, one a sequence of the slice", entry.path(), key,
         sums.size(), sequences);
  }
  return sums;
}

// Of each language that the slice has something of; none where the sweep keeps none.
LanguageHistograms get_histograms(const JsonObject& entry) {
  if (!entry.has(kHistograms)) return {};
  const auto histograms = unpack_histograms(get_numbers(entry, kHistograms));
  if (histograms) return *histograms;
  fail(ErrorCode::kCorrupt, "{}: \"{}\" holds no histograms", entry.path(), kHistograms);
}

size_t get_slice(const JsonObject& entry, const Record::Phase& phase) {
  const size_t slice = entry.get_size("slice");
  if (slice < phase.slices.size()) return slice;
  fail(ErrorCode::kCorrupt, "{}: slice {}, expected one below {}", entry.path(), slice,
       phase.slices.size());
}

NoiseFloor to_noise_floor(const JsonObject& object) {
  NoiseFloor floor;
  floor.tokens = object.get_size("tokens");
  floor.kl_per_token_mean = object.get_number("kl_per_token_mean");
  floor.kl_per_token_max = object.get_number("kl_per_token_max");
  floor.flip_rate = object.get_number("flip_rate");
  floor.nll_per_token_max = object.get_number("nll_per_token_max");
  return floor;
}

}  // namespace

std::vector<double> pack_histograms(const LanguageHistograms& histograms) {
  std::vector<double> all;
  for (const auto& [language, histogram] : histograms) {
    const auto numbers = histogram.to_numbers();
    all.insert(all.end(), {static_cast<double>(language), static_cast<double>(numbers.size())});
    all.insert(all.end(), numbers.begin(), numbers.end());
  }
  return all;
}

std::optional<LanguageHistograms> unpack_histograms(std::span<const double> numbers) {
  LanguageHistograms histograms;
  while (!numbers.empty()) {
    if (numbers.size() < 2 || !(numbers[0] >= 0 && numbers[0] < 0x1p32)) return std::nullopt;
    const auto language = static_cast<size_t>(numbers[0]);
    const double length = numbers[1];
    numbers = numbers.subspan(2);
    if (!(length >= 0 && length <= static_cast<double>(numbers.size()))) return std::nullopt;
    const auto count = static_cast<size_t>(length);
    const auto histogram = KlHistogram::from_numbers(numbers.first(count));
    if (!histogram || !histograms.emplace(language, *histogram).second) return std::nullopt;
    numbers = numbers.subspan(count);
  }
  return histograms;
}

void Record::read(const JsonObject& entry) {
  if (const auto floor = entry.find_object("noise_floor")) {
    noise_floor_ = to_noise_floor(*floor);
    return;
  }
  const std::string name = entry.get_string("phase");
  if (entry.has("slices")) {
    read_phase(entry);
    return;
  }
  const auto phase = phases_.find(name);
  if (phase == phases_.end()) {
    fail(ErrorCode::kCorrupt, "{}: a measurement of phase '{}', which has not begun", entry.path(),
         name);
  }
  if (entry.has("sums")) {
    read_sums(entry, phase->second);
  } else {
    read_scores(entry, phase->second);
  }
}

void Record::read_phase(const JsonObject& entry) {
  Phase phase;
  phase.positions = entry.get_number("positions");
  for (const uint64_t size : entry.get_sizes("slices")) phase.slices.push_back(size);
  const std::string name = entry.get_string("phase");
  if (!phases_.emplace(name, std::move(phase)).second) {
    fail(ErrorCode::kCorrupt, "{}: phase '{}' begins again", entry.path(), name);
  }
}

void Record::read_sums(const JsonObject& entry, Phase& phase) {
  const size_t slice = get_slice(entry, phase);
  if (!phase.sums.emplace(slice, get_numbers(entry, "sums")).second) {
    fail(ErrorCode::kCorrupt, "{}: the sums of slice {} are there already", entry.path(), slice);
  }
}

void Record::read_scores(const JsonObject& entry, Phase& phase) {
  const size_t slice = get_slice(entry, phase);
  const size_t sequences = phase.slices[slice];
  const std::string configuration = entry.get_string("configuration");
  const std::vector<double> nll = get_sums(entry, "nll", sequences);
  bool is_new = false;
  if (!entry.has("kl")) {
    is_new = phase.references.emplace(slice, nll).second;
  } else {
    const auto kl = get_sums(entry, "kl", sequences);
    const auto flips = get_sums(entry, "flips", sequences);
    SliceScores scores{std::vector<UnitScore>(sequences), get_histograms(entry)};
    for (size_t s = 0; s < sequences; ++s) scores.sequences[s] = {nll[s], kl[s], flips[s]};
    is_new = phase.scores.emplace(std::pair(slice, configuration), std::move(scores)).second;
  }
  if (!is_new) {
    fail(ErrorCode::kCorrupt, "{}: '{}' in slice {} is there already", entry.path(), configuration,
         slice);
  }
}

const Record::Phase* Record::find_phase(const std::string& name) const {
  const auto found = phases_.find(name);
  return found == phases_.end() ? nullptr : &found->second;
}

Json noise_floor_entry(const NoiseFloor& floor) {
  return {{"noise_floor",
           {{"tokens", floor.tokens},
            {"kl_per_token_mean", floor.kl_per_token_mean},
            {"kl_per_token_max", floor.kl_per_token_max},
            {"flip_rate", floor.flip_rate},
            {"nll_per_token_max", floor.nll_per_token_max}}}};
}

Json phase_entry(const std::string& phase, double positions, std::span<const size_t> slices) {
  return {{"phase", phase},
          {"positions", positions},
          {"slices", std::vector<size_t>(slices.begin(), slices.end())}};
}

Json reference_entry(const std::string& phase, size_t slice,
                     std::span<const double> nll_reference) {
  return {{"phase", phase},
          {"slice", slice},
          {"configuration", "reference"},
          {"nll", std::vector<double>(nll_reference.begin(), nll_reference.end())}};
}

Json sums_entry(const std::string& phase, size_t slice, std::span<const double> sums) {
  return {
      {"phase", phase}, {"slice", slice}, {"sums", std::vector<double>(sums.begin(), sums.end())}};
}

Json scores_entry(const std::string& phase, size_t slice, const std::string& configuration,
                  std::span<const UnitScore> scores, const LanguageHistograms& kl_per_token) {
  std::vector<double> nll, kl, flips;
  for (const UnitScore& score : scores) {
    nll.push_back(score.nll);
    kl.push_back(score.kl);
    flips.push_back(score.flips);
  }
  Json entry = {{"phase", phase}, {"slice", slice}, {"configuration", configuration},
                {"nll", nll},     {"kl", kl},       {"flips", flips}};
  if (!kl_per_token.empty()) entry[kHistograms] = pack_histograms(kl_per_token);
  return entry;
}

}  // namespace isogloss
