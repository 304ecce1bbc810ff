// How tests look at reports: JSON's names, CSV as RFC 4180 defines it, lines of tables.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "isogloss/base/file.h"
#include "tests/patterns.h"

namespace isogloss {

using Strings = std::vector<std::string>;

using Fields = std::vector<std::pair<std::string, std::string>>;  // name, type

inline void expect_fields(const nlohmann::json& object, const std::string& where,
                          const Fields& fields) {
  ASSERT_TRUE(object.is_object()) << where;
  for (const auto& [name, type] : fields) {
    ASSERT_TRUE(object.contains(name)) << where << " has no " << name;
    EXPECT_EQ(object[name].type_name(), type) << where << "." << name;
  }
}

inline void collect_names(const nlohmann::json& value, std::set<std::string>& names) {
  for (const auto& [name, part] : value.items()) {
    if (value.is_object()) names.insert(name);
    if (part.is_structured()) collect_names(part, names);
  }
}

// Names in `value`, except for `codes`, that docs/json.md lacks.
inline Strings undocumented_names(const nlohmann::json& value, const Strings& codes) {
  std::set<std::string> names;
  collect_names(value, names);
  for (const auto& code : codes) names.erase(code);
  const std::string page = read_text_file(ISOGLOSS_SOURCE_DIR "/docs/json.md");
  Strings missing;
  std::ranges::copy_if(names, std::back_inserter(missing), [&](const std::string& name) {
    return page.find('`' + name + '`') == page.npos && page.find('"' + name + '"') == page.npos;
  });
  return missing;
}

// Rows of fields, read as RFC 4180 defines them.
inline std::vector<Strings> parse_csv(const std::string& csv) {
  std::vector<Strings> rows(1, Strings(1));
  bool quoted = false;
  for (size_t i = 0; i < csv.size(); ++i) {
    std::string& field = rows.back().back();
    if (csv[i] == '"') {
      const bool escaped = quoted && i + 1 < csv.size() && csv[i + 1] == '"';
      if (escaped) field += csv[++i];
      if (!escaped) quoted = !quoted;
    } else if (!quoted && csv[i] == ',') {
      rows.back().emplace_back();
    } else if (!quoted && csv.compare(i, 2, "\r\n") == 0) {
      rows.emplace_back(1);
      ++i;
    } else {
      field += csv[i];
    }
  }
  EXPECT_EQ(rows.back(), Strings{""}) << "the last line has no end";
  rows.pop_back();
  return rows;
}

inline std::string csv_field(const std::vector<Strings>& rows, size_t row,
                             const std::string& column) {
  const auto place = std::ranges::find(rows[0], column);
  if (place == rows[0].end()) return "no column " + column;
  return rows[row][static_cast<size_t>(place - rows[0].begin())];
}

inline std::string without_color(const std::string& text) {
  return replace_matches(text, "\x1b\\[[0-9;]*m", "");
}

inline Strings lines_of(const std::string& text) {
  Strings lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// Code points, as far as the text is UTF-8.
inline size_t columns(const std::string& line) {
  return static_cast<size_t>(std::ranges::count_if(
      without_color(line), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace isogloss
