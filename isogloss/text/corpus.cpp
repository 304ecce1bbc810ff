// Reads corpora: a directory with a file for each language, or JSON lines.
#include <algorithm>
#include <map>
#include <optional>

#include "isogloss/base/error.h"
#include "isogloss/base/file.h"
#include "isogloss/base/json.h"
#include "isogloss/text/text.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr const char* kJsonlShape = R"({"unit": "..", "lang": "..", "text": ".."})";
constexpr const char* kParallelRule =
    "in a parallel corpus line N of every file is the same unit (--not-parallel reads them apart)";

// Keys are rows of one table sorted by code: the order of the pointers is the order of the codes.
template <typename Value>
using ByLanguage = std::map<const LanguageInfo*, Value>;

using Languages = std::vector<const LanguageInfo*>;

std::string describe(const LanguageInfo& language) {
  return fmt::format("{} ({})", language.name, language.code);
}

// The offset of the first byte at which no well-formed sequence starts (Unicode, table 3-7).
std::optional<size_t> find_invalid_utf8(std::string_view text) {
  const auto byte = [&](size_t at) { return static_cast<unsigned char>(text[at]); };
  for (size_t at = 0; at < text.size();) {
    const unsigned lead = byte(at);
    if (lead < 0x80) {
      ++at;
      continue;
    }
    if (lead < 0xC2 || lead > 0xF4) return at;
    const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (length > text.size() - at) return at;
    // The second byte is bounded further: no overlong forms, no surrogates, none past U+10FFFF.
    const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (byte(at + 1) < low || byte(at + 1) > high) return at;
    for (size_t i = 2; i < length; ++i) {
      if (byte(at + i) < 0x80 || byte(at + i) > 0xBF) return at;
    }
    at += length;
  }
  return std::nullopt;
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\v\f\n") == std::string_view::npos;
}

// `place` names file and line.
void check_line(std::string_view line, const std::string& place) {
  if (const auto at = find_invalid_utf8(line)) {
    fail(ErrorCode::kCorrupt,
         "{}, byte {}: found 0x{:02X}, expected UTF-8; is the file in another encoding?", place,
         *at + 1, static_cast<unsigned char>(line[*at]));
  }
  if (is_blank(line)) {
    fail(ErrorCode::kCorrupt, "{} is blank, expected a unit: every line counts as one", place);
  }
}

std::string line_place(const fs::path& path, size_t index) {
  return fmt::format("{}: line {}", path.string(), index + 1);
}

// The checked lines of a file, without line ends.
std::vector<std::string> read_lines(const fs::path& path) {
  const std::string bytes = read_text_file(path);
  std::string_view rest = bytes;
  if (rest.starts_with(kByteOrderMark)) rest.remove_prefix(kByteOrderMark.size());
  if (rest.empty()) fail(ErrorCode::kCorrupt, "{} is empty, expected a unit a line", path.string());
  std::vector<std::string> lines;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    check_line(line, line_place(path, lines.size()));
    lines.emplace_back(line);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return lines;
}

// Codes asked for, as rows; one that is unknown although its file is there is named with the file.
Languages resolve_languages(const fs::path& path, const std::vector<std::string>& codes) {
  Languages languages;
  for (const std::string& code : codes) {
    const fs::path file = path / (code + ".txt");
    std::error_code error;
    if (!find_language(code) && fs::is_regular_file(file, error)) {
      fail(ErrorCode::kNotFound,
           "{}: '{}' is no language code known here; name the file by BCP-47 (de), FLORES "
           "(deu_Latn) or ISO 639-3 (deu)",
           file.string(), code);
    }
    const LanguageInfo* language = &get_language(code);
    if (std::ranges::count(languages, language) != 0) {
      fail(ErrorCode::kBadArgument, "language '{}' is {}, which was asked for before", code,
           describe(*language));
    }
    languages.push_back(language);
  }
  return languages;
}

// What to read of the languages present, in the order of the contract.
template <typename Value>
Languages choose_languages(const fs::path& path, const Languages& wanted,
                           const ByLanguage<Value>& present) {
  Languages all;
  std::vector<std::string_view> codes;
  for (const auto& [language, value] : present) {
    all.push_back(language);
    codes.push_back(language->code);
  }
  for (const LanguageInfo* language : wanted) {
    if (present.contains(language)) continue;
    fail(ErrorCode::kNotFound, "{}: nothing in {}; there are: {}", path.string(),
         describe(*language), fmt::join(codes, ", "));
  }
  std::stable_partition(all.begin(), all.end(),
                        [](const auto* info) { return info->code == "en"; });
  return wanted.empty() ? all : wanted;
}

// "newstest2019-ref.deu" -> German. Three letters at least, so that "README.de" is no corpus.
const LanguageInfo* find_ntrex_language(std::string_view stem) {
  const size_t dot = stem.rfind('.');
  if (dot == std::string_view::npos) return nullptr;
  const std::string_view code = stem.substr(dot + 1);
  const bool second_reference = stem.substr(0, dot).ends_with("-ref-2");  // Spanish has two
  const bool iso_639_3 = code.find_first_of("-_") == 3 || code.size() == 3;
  return iso_639_3 && !second_reference ? find_language(code) : nullptr;
}

const LanguageInfo* find_file_language(const fs::path& path) {
  const std::string stem = path.stem().string();
  const std::string extension = path.extension().string();
  const LanguageInfo* language = find_language(stem);
  if (extension == ".txt") return language ? language : find_ntrex_language(stem);
  const bool flores = stem.find('_') != std::string::npos;
  return flores && (extension == ".dev" || extension == ".devtest") ? language : nullptr;
}

ByLanguage<std::vector<fs::path>> find_language_files(const fs::path& directory) {
  ByLanguage<std::vector<fs::path>> files;
  std::error_code error;
  fs::directory_iterator entry(directory, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const LanguageInfo* language = find_file_language(entry->path());
    std::error_code unreadable;
    if (language && entry->is_regular_file(unreadable)) files[language].push_back(entry->path());
  }
  if (error) fail(ErrorCode::kIo, "{}: cannot list: {}", directory.string(), error.message());
  for (auto& [language, paths] : files) std::ranges::sort(paths);
  return files;
}

LanguageText read_language_file(const LanguageInfo& language, const std::vector<fs::path>& paths) {
  if (paths.size() > 1) {
    fail(ErrorCode::kMismatch, "{} and {} are both {}; keep one of them in the directory",
         paths[0].string(), paths[1].filename().string(), describe(language));
  }
  LanguageText text{.code = std::string(language.code), .units = read_lines(paths[0])};
  for (size_t i = 0; i < text.units.size(); ++i) text.unit_ids.push_back(std::to_string(i));
  return text;
}

void check_same_line_counts(const std::vector<LanguageText>& texts,
                            const std::vector<fs::path>& paths) {
  const auto count = [](const LanguageText& text) { return text.units.size(); };
  const auto [fewest, most] = std::ranges::minmax_element(texts, {}, count);
  if (count(*fewest) == count(*most)) return;
  const auto path = [&](auto text) { return paths[static_cast<size_t>(text - texts.begin())]; };
  fail(ErrorCode::kMismatch, "{}: {} lines, but {} has {}: {}", path(fewest).string(),
       count(*fewest), path(most).filename().string(), count(*most), kParallelRule);
}

[[noreturn]] void fail_without_files(const fs::path& directory) {
  std::error_code error;
  const bool flores = fs::is_directory(directory / "devtest", error);
  fail(ErrorCode::kNotFound,
       "{}: found no language, expected files such as de.txt, deu_Latn.devtest or "
       "newstest2019-ref.deu.txt{}",
       directory.string(), flores ? "; of FLORES-200, give its folder dev or devtest" : "");
}

std::vector<LanguageText> read_directory(const fs::path& directory, const Languages& wanted,
                                         bool parallel) {
  const auto files = find_language_files(directory);
  if (files.empty()) fail_without_files(directory);
  std::vector<LanguageText> texts;
  std::vector<fs::path> paths;
  for (const LanguageInfo* language : choose_languages(directory, wanted, files)) {
    texts.push_back(read_language_file(*language, files.at(language)));
    paths.push_back(files.at(language).front());
  }
  if (parallel) check_same_line_counts(texts, paths);
  return texts;
}

json parse_json_line(const std::string& line, const std::string& place) {
  try {
    return parse_json_object(line, place);
  } catch (const Error& error) {
    fail(error.code(), "{}; expected {}", error.what(), kJsonlShape);
  }
}

std::string get_json_text(const json& object, const char* name, bool number_allowed,
                          const std::string& place) {
  const auto field = object.find(name);
  if (field == object.end()) {
    fail(ErrorCode::kCorrupt, "{}: no \"{}\"; expected {}", place, name, kJsonlShape);
  }
  if (number_allowed && field->is_number()) return field->dump();
  if (!field->is_string()) {
    fail(ErrorCode::kCorrupt, "{}: \"{}\" is {}, expected a string{}", place, name,
         field->type_name(), number_allowed ? " or a number" : "");
  }
  std::string text = field->get<std::string>();
  if (is_blank(text)) fail(ErrorCode::kCorrupt, "{}: \"{}\" is blank", place, name);
  return text;
}

const LanguageInfo& get_json_language(const std::string& code, const std::string& place) {
  try {
    return get_language(code);
  } catch (const Error& error) {
    fail(error.code(), "{}: {}", place, error.what());
  }
}

struct JsonlLanguage {
  LanguageText text;
  std::map<std::string, size_t> line_of_unit;  // index from 0
};

void add_json_unit(const json& object, const std::string& place, const Languages& wanted,
                   size_t line_index, ByLanguage<JsonlLanguage>& languages) {
  std::string id = get_json_text(object, "unit", true, place);
  const std::string code = get_json_text(object, "lang", false, place);
  std::string unit = get_json_text(object, "text", false, place);
  if (!wanted.empty() && !find_language(code)) return;
  const LanguageInfo& language = get_json_language(code, place);
  auto& [text, line_of_unit] = languages[&language];
  if (!wanted.empty() && std::ranges::count(wanted, &language) == 0) return;
  const auto [before, is_new] = line_of_unit.emplace(id, line_index);
  if (!is_new) {
    fail(ErrorCode::kCorrupt, "{}: unit '{}' of {} is in line {} already", place, id,
         describe(language), before->second + 1);
  }
  text.code = language.code;
  text.units.push_back(std::move(unit));
  text.unit_ids.push_back(std::move(id));
}

[[noreturn]] void fail_fewer_units(const fs::path& path, const JsonlLanguage& fewer,
                                   const JsonlLanguage& more) {
  const auto lacks = [&](const std::string& id) { return !fewer.line_of_unit.contains(id); };
  fail(ErrorCode::kMismatch,
       "{}: {} has {} units, but {} has {}, of which the first it lacks is '{}'; in a parallel "
       "corpus every language has every unit (--not-parallel reads them apart)",
       path.string(), describe(get_language(fewer.text.code)), fewer.text.units.size(),
       describe(get_language(more.text.code)), more.text.units.size(),
       *std::ranges::find_if(more.text.unit_ids, lacks));
}

void check_same_units(const fs::path& path, const Languages& order,
                      const ByLanguage<JsonlLanguage>& languages) {
  const auto get = [&](const LanguageInfo* info) -> const auto& {
    return languages.at(info);
  };
  const auto count = [&](const LanguageInfo* info) { return get(info).text.units.size(); };
  const auto [fewest, most] = std::ranges::minmax_element(order, {}, count);
  if (count(*fewest) != count(*most)) fail_fewer_units(path, get(*fewest), get(*most));
  const std::vector<std::string>& expected = get(order[0]).text.unit_ids;
  for (const LanguageInfo* info : order) {
    const auto [other, id] = std::ranges::mismatch(get(info).text.unit_ids, expected);
    if (id == expected.end()) continue;
    fail(ErrorCode::kMismatch,
         "{}: unit {} of {} is '{}', but of {} it is '{}'; in a parallel corpus every language "
         "has the same units in the same order (--not-parallel reads them apart)",
         path.string(), id - expected.begin() + 1, describe(*info), *other, describe(*order[0]),
         *id);
  }
}

std::vector<LanguageText> read_jsonl(const fs::path& path, const Languages& wanted, bool parallel) {
  ByLanguage<JsonlLanguage> languages;
  const std::vector<std::string> lines = read_lines(path);
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string place = line_place(path, i);
    add_json_unit(parse_json_line(lines[i], place), place, wanted, i, languages);
  }
  const Languages order = choose_languages(path, wanted, languages);
  if (parallel) check_same_units(path, order, languages);
  std::vector<LanguageText> texts;
  for (const LanguageInfo* language : order) texts.push_back(std::move(languages[language].text));
  return texts;
}

void keep_first_units(std::vector<LanguageText>& texts, size_t max_units) {
  for (LanguageText& text : texts) {
    const size_t kept = std::min(max_units, text.units.size());
    text.units.resize(kept);
    text.unit_ids.resize(kept);
  }
}

// False: a file of JSON lines.
bool is_corpus_directory(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) {
    fail(ErrorCode::kNotFound,
         "{}: no such corpus; give a directory of <language>.txt or a file *.jsonl", path.string());
  }
  if (error) fail(ErrorCode::kIo, "{}: cannot read: {}", path.string(), error.message());
  if (fs::is_directory(status)) return true;
  if (fs::is_regular_file(status) && path.extension() == ".jsonl") return false;
  fail(ErrorCode::kUnsupported,
       "{}: expected a directory with a file for each language, or a file *.jsonl of lines {}",
       path.string(), kJsonlShape);
}

}  // namespace

fs::path builtin_corpus_directory(const fs::path& data_directory) {
  return data_directory / "parallel";
}

Corpus read_corpus(const fs::path& path, const CorpusOptions& options) {
  const auto read = is_corpus_directory(path) ? read_directory : read_jsonl;
  const Languages wanted = resolve_languages(path, options.languages);
  Corpus corpus{.name = path.string(),
                .parallel = options.parallel,
                .languages = read(path, wanted, options.parallel)};
  if (options.max_units != 0) keep_first_units(corpus.languages, options.max_units);
  return corpus;
}

}  // namespace isogloss
