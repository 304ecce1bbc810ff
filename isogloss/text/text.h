// Text: languages, and corpora of units that mean the same in each of them.
//
// A unit is what statistics resample: one or two sentences (a line of a file). In a parallel corpus
// unit i says the same thing in every language.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace isogloss {

// One row of the table of languages.
struct LanguageInfo {
  std::string_view code;    // BCP-47, what users type and results show: "de"
  std::string_view flores;  // FLORES-200 code: "deu_Latn"; its first three letters are ISO 639-3
  std::string_view name;    // English name: "German"
};

// Every language the program knows, sorted by code.
std::span<const LanguageInfo> known_languages();

// The row of `code`, given as BCP-47 ("de"), FLORES ("deu_Latn") or ISO 639-3 ("deu"); nullptr when
// there is none. Case is ignored.
const LanguageInfo* find_language(std::string_view code);

// As find_language; throws Error(kNotFound) with near matches.
const LanguageInfo& get_language(std::string_view code);

// The units of one language. `unit_ids[i]` names units[i] across languages and runs: the line
// number from 0 in files, the `unit` field in JSONL.
struct LanguageText {
  std::string code;  // BCP-47
  std::vector<std::string> units = {};
  std::vector<std::string> unit_ids = {};
};

struct Corpus {
  std::string name;      // "builtin" or the path as given
  bool parallel = true;  // the same unit ids in the same order in every language
  std::vector<LanguageText> languages;
};

struct CorpusOptions {
  std::vector<std::string> languages = {};  // codes to read, in this order; empty: all there are
  bool parallel = true;                     // false: languages may have different units
  size_t max_units = 0;                     // keep the first N units of each language; 0: all
};

// The directory of the corpus that ships with the program, under `data_directory`.
std::filesystem::path builtin_corpus_directory(const std::filesystem::path& data_directory);

// Reads a corpus from one of:
//   a directory with <language>.txt, <flores code>.{txt,dev,devtest} (FLORES-200) or
//     <anything>.<iso 639-3>.txt (NTREX-128); one unit a line;
//   a file *.jsonl, a line each {"unit": "..", "lang": "..", "text": ".."}.
// Languages come in the order asked for, or sorted by code with "en" first.
//
// Throws Error when nothing is found, a language is unknown or asked for and missing, a file is
// empty, a line is blank or not valid UTF-8 (file, line and byte named), or options.parallel and
// languages differ in their units (the file with fewer lines is named).
Corpus read_corpus(const std::filesystem::path& path, const CorpusOptions& options);

// Disjoint parts of a corpus: what methods are calibrated on, what choices are made on, and what
// the result is reported on.
enum class CorpusPart { kAll, kCalibration, kSelect, kTest };

// The units of one part: half of them, a quarter, a quarter, by a hash of seed and unit id, so that
// a unit is in the same part in every language and run. Throws Error(kBadArgument) where a
// language is left without a unit.
Corpus select_part(const Corpus& corpus, CorpusPart part, uint64_t seed);

}  // namespace isogloss
