#include <fmt/format.h>

#include <cmath>

#include "isogloss/report/report_impl.h"

namespace isogloss {
std::string csv_text(std::string_view text) {
  if (text.find_first_of(",\"\n\r") == text.npos) return std::string(text);
  std::string result = "\"";
  for (const char c : text) result.append(c == '"' ? "\"\"" : std::string(1, c));
  return result + '"';
}

std::string csv_number(double value) {
  return std::isfinite(value) ? fmt::format("{}", value) : std::string();
}

std::string csv_interval(const Measured& measured) {
  if (!measured.estimate) return ",,";
  const Estimate& estimate = *measured.estimate;
  return fmt::format("{},{},{}", csv_number(estimate.value), csv_number(estimate.lo),
                     csv_number(estimate.hi));
}

namespace {

std::string header() {
  std::string line =
      "run,scheme,protect,size_bytes,bits_per_weight,regime,language,tokens,units,bytes,"
      "ppl_reference,ppl,kl_median,kl_p99,kl_p999,kl_max";
  for (const auto& column : metric_columns()) {
    line += fmt::format(",{0},{0}_lo,{0}_hi", column.name);
  }
  return line;
}

std::string row(const RunResult& run, const LanguageResult& language) {
  const KlPerToken& kl = language.kl_per_token;
  std::string line = fmt::format(
      "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}", csv_text(run.name), csv_text(run.scheme),
      csv_text(run.protect), run.size_bytes, csv_number(run.bits_per_weight), to_string(run.regime),
      csv_text(language.code), language.tokens, language.units, language.bytes,
      csv_number(language.ppl_reference), csv_number(language.ppl), csv_number(kl.median),
      csv_number(kl.p99), csv_number(kl.p999), csv_number(kl.max));
  for (const auto& column : metric_columns()) {
    line += fmt::format(",{}", csv_interval(column.get(language)));
  }
  return line;
}

}  // namespace

std::string to_csv(const AuditReport& report) {
  std::string csv = header() + "\r\n";
  for (const auto& run : report.result.runs) {
    for (const auto& language : run.languages) csv += row(run, language) + "\r\n";
  }
  return csv;
}

}  // namespace isogloss
