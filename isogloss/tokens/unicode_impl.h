// Code points, and what they are in the versions of Unicode that Hugging Face's tokenizers knows.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace isogloss {

struct CodePoint {
  char32_t value;
  size_t bytes;  // in UTF-8
};

// The code point at `offset`, which is inside `text`; `text` is valid UTF-8.
CodePoint code_point_at(std::string_view text, size_t offset);
void append_code_point(std::string& text, char32_t code_point);

// `text` with U+FFFD in place of what is not UTF-8.
std::string repair_utf8(std::string_view text);

bool is_white_space(char32_t code_point);
bool is_numeric(char32_t code_point);
bool is_punctuation(char32_t code_point);
bool is_word(char32_t code_point);  // \w of a regular expression
std::string lower_case_of(char32_t code_point);

// `text` for a regular expression: characters younger than the oldest library's tables are replaced
// by older ones of the same category, script and size, so that matches are where they were in
// `text`.
std::string with_stand_ins(std::string_view text);

// Whether normalization leaves a character alone because it is younger than the tables it uses.
bool is_young_in_normal_forms(char32_t code_point);

// utf8proc_boundclass_t, by the tables of Unicode 17.
int grapheme_class(char32_t code_point);

// Where the grapheme cluster that begins at `offset` ends.
size_t grapheme_end(std::string_view text, size_t offset);

}  // namespace isogloss
