// Regular expressions (ECMAScript's) for tests. <regex> is compiled once, in patterns.cpp: under
// the sanitizers it alone takes a minute.
#pragma once

#include <string>

namespace isogloss {

// `text` as a whole.
bool matches(const std::string& text, const std::string& pattern);

bool starts_with_match(const std::string& text, const std::string& pattern);

// A part of `text`; letters count as equal in either case.
bool contains_match(const std::string& text, const std::string& pattern);

std::string replace_matches(const std::string& text, const std::string& pattern,
                            const std::string& by);

}  // namespace isogloss
