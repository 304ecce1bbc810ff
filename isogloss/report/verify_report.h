// Report of a verification.
#pragma once

#include <string>

#include "isogloss/report/report.h"
#include "isogloss/verify/verify.h"

namespace isogloss {

struct VerifyReport {
  ModelFacts reference, written;
  AuditReport::CorpusFacts corpus;
  AuditReport::Settings settings;
  VerifyResult result;
};

// Names are stable: docs/json.md.
std::string to_json(const VerifyReport& report);

// A row for each language, and a sentence that says whether the file is what was predicted; at most
// 100 columns wide.
std::string to_table(const VerifyReport& report, bool color);

}  // namespace isogloss
