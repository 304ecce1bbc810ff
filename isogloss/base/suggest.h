// Help with names that were nearly right.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace isogloss {

// ASCII letters in lower case; other bytes as they are.
std::string lower_case(std::string_view text);

// " (did you mean 'x' or 'y'?)" for the candidates nearest to `name` by edit distance (at most two,
// at most a third of the name's length away), or "" when none is near. Case is ignored.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace isogloss
