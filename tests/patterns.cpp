#include "patterns.h"

#include <regex>

namespace isogloss {

bool matches(const std::string& text, const std::string& pattern) {
  return std::regex_match(text, std::regex(pattern));
}

bool starts_with_match(const std::string& text, const std::string& pattern) {
  return std::regex_search(text, std::regex(pattern), std::regex_constants::match_continuous);
}

bool contains_match(const std::string& text, const std::string& pattern) {
  return std::regex_search(text, std::regex(pattern, std::regex::icase));
}

std::string replace_matches(const std::string& text, const std::string& pattern,
                            const std::string& by) {
  return std::regex_replace(text, std::regex(pattern), by);
}

}  // namespace isogloss
