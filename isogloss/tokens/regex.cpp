#include <oniguruma.h>

#include <algorithm>
#include <mutex>

#include "isogloss/base/error.h"
#include "isogloss/tokens/pipeline_impl.h"
#include "isogloss/tokens/unicode_impl.h"

namespace isogloss {
namespace {

const UChar* bytes_of(std::string_view text) {
  return reinterpret_cast<const UChar*>(text.data());
}

std::string message_of(int code, OnigErrorInfo* info) {
  UChar message[ONIG_MAX_ERROR_MESSAGE_LEN];
  const int size = info == nullptr ? onig_error_code_to_str(message, code)
                                   : onig_error_code_to_str(message, code, info);
  return {reinterpret_cast<const char*>(message), static_cast<size_t>(size)};
}

// Since Oniguruma 6.9.9 [[:punct:]] has symbols too; so that older ones agree it is spelled out.
std::string with_symbols_as_punctuation(std::string pattern) {
  const auto replace = [&](std::string_view name, std::string_view by) {
    for (size_t at = 0; (at = pattern.find(name, at)) != pattern.npos; at += by.size()) {
      pattern.replace(at, name.size(), by);
    }
  };
  replace("[:punct:]", "\\p{P}\\p{S}");
  replace("[:^punct:]", "[^\\p{P}\\p{S}]");
  return pattern;
}

// Characters younger than Oniguruma's tables; all of them take three bytes or more.
bool may_need_stand_ins(std::string_view text) {
  return std::ranges::any_of(text, [](char c) { return static_cast<unsigned char>(c) >= 0xe0; });
}

struct RegionDeleter {
  void operator()(OnigRegion* region) const { onig_region_free(region, 1); }
};
struct MatchParamDeleter {
  void operator()(OnigMatchParam* param) const { onig_free_match_param(param); }
};

// Searches of one text, within a number of steps. One search may take as many as tokenizers lets
// it take, but only few searches may take many.
class Searcher {
 public:
  Searcher(regex_t* compiled, std::string_view text)
      : compiled_(compiled),
        text_(text),
        region_(onig_region_new()),
        param_(onig_new_match_param()),
        long_searches_left_(kLongSearches + text.size() / kBytesALongSearch) {
    onig_initialize_match_param(param_.get());
    onig_set_match_stack_limit_size_of_match_param(param_.get(), kStackLimit);
  }

  // The first match at or after `from`.
  std::optional<Span> find(size_t from) {
    int result = search(from, kShortSearch);
    if (result == ONIGERR_RETRY_LIMIT_IN_SEARCH_OVER && long_searches_left_ > 0) {
      --long_searches_left_;
      result = search(from, kLongSearch + kLongSearchPerByte * text_.size());
    }
    if (result == ONIG_MISMATCH) return std::nullopt;
    if (result < 0) {
      fail(ErrorCode::kUnsupported, "a regular expression cannot be matched with a text ({})",
           message_of(result, nullptr));
    }
    const Span match{static_cast<size_t>(region_->beg[0]), static_cast<size_t>(region_->end[0]),
                     true};
    if (match.begin < from || match.end < match.begin) {  // \K moves the beginning
      fail(ErrorCode::kUnsupported, "a regular expression's match begins after its end");
    }
    return match;
  }

 private:
  static constexpr unsigned long kShortSearch = 100'000;    // steps
  static constexpr unsigned long kLongSearch = 10'000'000;  // Oniguruma's own limit for one match
  static constexpr unsigned long kLongSearchPerByte = 100;
  static constexpr size_t kLongSearches = 32;
  static constexpr size_t kBytesALongSearch = 10'000;
  static constexpr unsigned kStackLimit = 10'000'000;  // entries

  int search(size_t from, unsigned long limit) {
    onig_set_retry_limit_in_match_of_match_param(param_.get(), kLongSearch);
    onig_set_retry_limit_in_search_of_match_param(param_.get(), limit);
    const UChar* begin = bytes_of(text_);
    const UChar* end = begin + text_.size();
    return onig_search_with_param(compiled_, begin, end, begin + from, end, region_.get(),
                                  ONIG_OPTION_NONE, param_.get());
  }

  regex_t* compiled_;
  std::string_view text_;
  std::unique_ptr<OnigRegion, RegionDeleter> region_;
  std::unique_ptr<OnigMatchParam, MatchParamDeleter> param_;
  size_t long_searches_left_;
};

std::vector<Span> literal_spans(const std::string& literal, std::string_view text) {
  std::vector<Span> spans;
  size_t last = 0;
  for (size_t at; (at = text.find(literal, last)) != text.npos; last = at + literal.size()) {
    if (last < at) spans.push_back({last, at, false});
    spans.push_back({at, at + literal.size(), true});
  }
  if (last < text.size()) spans.push_back({last, text.size(), false});
  return spans;
}

}  // namespace

Regex::Regex(const std::string& pattern, const std::string& where) : pattern_(pattern) {
  static std::mutex one_at_a_time;  // Oniguruma compiles with shared tables
  const std::lock_guard lock(one_at_a_time);
  OnigEncoding encoding = ONIG_ENCODING_UTF8;
  static const int initialized = onig_initialize(&encoding, 1);
  ISOGLOSS_ASSERT(initialized == ONIG_NORMAL);
  const std::string adapted = with_symbols_as_punctuation(pattern);
  regex_t* compiled = nullptr;
  OnigErrorInfo info;
  const UChar* begin = bytes_of(adapted);
  const int result = onig_new(&compiled, begin, begin + adapted.size(), ONIG_OPTION_NONE, encoding,
                              ONIG_SYNTAX_ONIGURUMA, &info);
  if (result != ONIG_NORMAL) {
    fail(ErrorCode::kCorrupt, "{} '{}' is no regular expression: {}", where, pattern,
         message_of(result, &info));
  }
  compiled_.reset(compiled, onig_free);
}

// A match that is empty counts unless it touches the match before it.
std::vector<Span> Regex::spans(std::string_view text) const {
  if (text.empty()) return {};
  const std::string adapted = may_need_stand_ins(text) ? with_stand_ins(text) : std::string();
  Searcher searcher(compiled_.get(), adapted.empty() ? text : adapted);
  std::vector<Span> spans;
  size_t covered = 0;
  std::optional<size_t> last_match_end;
  for (size_t from = 0; from <= text.size();) {
    const auto match = searcher.find(from);
    if (!match) break;
    if (match->begin == match->end && last_match_end == match->end) {
      from += from < text.size() ? code_point_at(text, from).bytes : 1;
      continue;
    }
    from = match->end;
    last_match_end = match->end;
    if (covered < match->begin) spans.push_back({covered, match->begin, false});
    spans.push_back(*match);
    covered = match->end;
  }
  if (covered < text.size()) spans.push_back({covered, text.size(), false});
  return spans;
}

std::vector<Span> find_spans(const Pattern& pattern, std::string_view text) {
  if (const auto* regex = std::get_if<Regex>(&pattern)) return regex->spans(text);
  return literal_spans(std::get<std::string>(pattern), text);
}

}  // namespace isogloss
