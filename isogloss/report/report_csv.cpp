#include <fmt/format.h>

#include "isogloss/report/report_impl.h"

namespace isogloss {
namespace {

std::string csv_text(std::string_view text) {
  if (text.find_first_of(",\"\n\r") == text.npos) return std::string(text);
  std::string result = "\"";
  for (const char c : text) result.append(c == '"' ? "\"\"" : std::string(1, c));
  return result + '"';
}

// value,lo,hi; empty fields where there is no number.
std::string fields(const Measured& measured) {
  if (!measured.estimate) return ",,";
  const Estimate& estimate = *measured.estimate;
  return fmt::format("{},{},{}", estimate.value, estimate.lo, estimate.hi);
}

}  // namespace

std::string to_csv(const AuditReport& report) {
  std::string csv = "run,scheme,protect,size_bytes,bits_per_weight,regime,language,tokens,units,bytes,"
                    "ppl_reference,ppl,kl_median,kl_p99,kl_p999,kl_max";
  for (const auto& column : metric_columns()) {
    csv += fmt::format(",{0},{0}_lo,{0}_hi", column.name);
  }
  csv += "\r\n";
  for (const auto& run : report.result.runs) {
    for (const auto& l : run.languages) {
      csv += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}", csv_text(run.name),
                         csv_text(run.scheme), csv_text(run.protect), run.size_bytes,
                         run.bits_per_weight, to_string(run.regime), l.code, l.tokens, l.units,
                         l.bytes, l.ppl_reference, l.ppl, l.kl_per_token.median,
                         l.kl_per_token.p99, l.kl_per_token.p999, l.kl_per_token.max);
      for (const auto& column : metric_columns()) csv += "," + fields(column.get(l));
      csv += "\r\n";
    }
  }
  return csv;
}

}  // namespace isogloss
