// Scores of a Unigram vocabulary with the bits that tokenizers gives them. Of two ways to cut
// "aaa" into the same tokens that one wins whose rounded sum is greater, so the last bit counts;
// and serde_json, which tokenizers reads with, does not round to the nearest number.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "isogloss/tokens/json_impl.h"

namespace isogloss {
namespace {

using nlohmann::json;

// 10^0 to 10^308, correctly rounded.
double power_of_ten(int exponent) {
  static const auto powers = [] {
    std::array<double, std::numeric_limits<double>::max_exponent10 + 1> table{};
    for (size_t i = 0; i < table.size(); ++i) table[i] = std::stod(fmt::format("1e{}", i));
    return table;
  }();
  return powers[static_cast<size_t>(exponent)];
}

double scale(double value, int exponent) {
  constexpr int kMost = std::numeric_limits<double>::max_exponent10;
  if (exponent >= 0) return exponent <= kMost ? value * power_of_ten(exponent) : value;
  for (; exponent < -kMost && value != 0; exponent += kMost) value /= power_of_ten(kMost);
  return value == 0 ? value : value / power_of_ten(-exponent);
}

// A number as JSON spells it. Digits that 64 bits have no room for are dropped.
double parse_as_serde_json(std::string_view text) {
  constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();
  constexpr int kFarExponent = 1 << 20;  // beyond every double
  const bool negative = text.starts_with('-');
  uint64_t digits = 0;
  int exponent = 0;
  bool after_point = false;
  bool full = false;
  size_t i = negative ? 1 : 0;
  for (; i < text.size() && text[i] != 'e' && text[i] != 'E'; ++i) {
    if (text[i] == '.') {
      after_point = true;
      continue;
    }
    const auto digit = static_cast<uint64_t>(text[i] - '0');
    full = full || digits > (kMost - digit) / 10;
    if (full) {
      exponent += after_point ? 0 : 1;
    } else {
      digits = digits * 10 + digit;
      exponent -= after_point ? 1 : 0;
    }
  }
  if (i < text.size()) {
    const bool down = text[i + 1] == '-';
    int written = 0;
    for (++i; i < text.size(); ++i) {
      if (text[i] < '0') continue;  // the sign
      written = std::min(kFarExponent, written * 10 + (text[i] - '0'));
    }
    exponent += down ? -written : written;
  }
  const double value = scale(static_cast<double>(digits), exponent);
  return negative ? -value : value;
}

// Collects the numbers of model.vocab[i][1].
class ScoreCollector final : public nlohmann::json_sax<json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t value) override { return add(static_cast<double>(value)); }
  bool number_unsigned(number_unsigned_t value) override { return add(static_cast<double>(value)); }
  bool number_float(number_float_t, const string_t& text) override {
    return add(parse_as_serde_json(text));
  }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return open(); }
  bool key(string_t& name) override {
    path_.back() = name;
    return true;
  }
  bool end_object() override { return close(); }
  bool start_array(size_t) override { return open(); }
  bool end_array() override { return close(); }
  bool parse_error(size_t, const std::string&, const json::exception&) override { return false; }

  std::vector<double> scores;

 private:
  bool open() {
    path_.emplace_back();
    return true;
  }
  bool close() {
    path_.pop_back();
    return true;
  }
  bool add(double value) {
    const bool is_score = path_.size() == 4 && path_[0] == "model" && path_[1] == "vocab";
    if (is_score) scores.push_back(value);
    return true;
  }

  std::vector<std::string> path_;  // the key in each open object; "" in arrays
};

}  // namespace

std::vector<double> read_unigram_scores(std::string_view text) {
  ScoreCollector collector;
  json::sax_parse(text, &collector);
  return std::move(collector.scores);
}

}  // namespace isogloss
