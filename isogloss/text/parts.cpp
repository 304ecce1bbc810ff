// Disjoint parts of a corpus.
#include "isogloss/base/error.h"
#include "isogloss/base/random.h"
#include "isogloss/text/text.h"

namespace isogloss {
namespace {

// FNV-1a (Fowler, Noll & Vo), then mixed: its own high bits depend little on the last letters.
double hash_to_unit_interval(std::string_view id, uint64_t seed) {
  uint64_t hash = 0xcbf29ce484222325 ^ seed;
  for (const char c : id) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return Random(hash).uniform();
}

CorpusPart part_of(std::string_view unit_id, uint64_t seed) {
  const double place = hash_to_unit_interval(unit_id, seed);
  if (place < 0.5) return CorpusPart::kCalibration;
  return place < 0.75 ? CorpusPart::kSelect : CorpusPart::kTest;
}

}  // namespace

Corpus select_part(const Corpus& corpus, CorpusPart part, uint64_t seed) {
  if (part == CorpusPart::kAll) return corpus;
  Corpus selected{corpus.name, corpus.parallel, {}};
  for (const LanguageText& language : corpus.languages) {
    LanguageText kept{.code = language.code};
    for (size_t i = 0; i < language.units.size(); ++i) {
      if (part_of(language.unit_ids[i], seed) != part) continue;
      kept.units.push_back(language.units[i]);
      kept.unit_ids.push_back(language.unit_ids[i]);
    }
    if (kept.units.empty()) {
      fail(ErrorCode::kBadArgument,
           "{}: language {} has {} units, and the part asked for has none of them; give more text, "
           "another seed, or measure on all of it",
           corpus.name, language.code, language.units.size());
    }
    selected.languages.push_back(std::move(kept));
  }
  return selected;
}

}  // namespace isogloss
