#include "isogloss/base/error.h"
#include "isogloss/base/file.h"
#include "isogloss/base/sha256.h"
#include "isogloss/sweep/measurer_impl.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// What measurements depend on.
constexpr const char* kParts[] = {"inputs", "settings"};

// Differences between two JSON values, leaf by leaf, under a name like "settings/scheme".
void list_differences(const Json& found, const Json& wanted, const std::string& name,
                      std::vector<std::string>& differences) {
  if (found == wanted) return;
  if (!found.is_object() || !wanted.is_object()) {
    differences.push_back(
        fmt::format("{} is {}, the directory's run has {}", name, shorten(wanted), shorten(found)));
    return;
  }
  Json keys = found;
  keys.update(wanted);
  for (const auto& [key, value] : keys.items()) {
    const std::string member = name.empty() ? key : name + "/" + key;
    list_differences(found.value(key, Json()), wanted.value(key, Json()), member, differences);
  }
}

Json identity_of(const Json& run) {
  Json identity;
  for (const char* part : kParts) identity[part] = run.value(part, Json());
  return identity;
}

void check_same_run(const fs::path& path, const Json& run) {
  const Json found = parse_json_object(read_text_file(path), path.string());
  std::vector<std::string> differences;
  list_differences(identity_of(found), identity_of(run), "", differences);
  if (differences.empty()) return;
  fail(ErrorCode::kMismatch,
       "{}: --resume goes on with the same inputs and settings only: {}; take another --out for "
       "another run",
       path.string(), fmt::join(differences, "; "));
}

void make_run(const fs::path& directory, const Json& run) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) {
    fail(ErrorCode::kIo, "{}: cannot be made a directory: {}", directory.string(), error.message());
  }
  write_file(directory / "run.json",
             run.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace

RunDirectory::RunDirectory(const fs::path& directory, const Json& run, bool resume)
    : path_(directory), impl_(std::make_unique<Impl>()) {
  const fs::path description = directory / "run.json";
  std::error_code error;
  const bool there = fs::exists(description, error);
  if (there && !resume) {
    fail(ErrorCode::kBadArgument,
         "{}: holds a run already; --resume goes on with it, another --out begins one",
         directory.string());
  }
  if (there) {
    check_same_run(description, run);
  } else {
    make_run(directory, run);
  }
  Sha256 identity;
  identity.update(identity_of(run).dump());
  impl_->journal = std::make_unique<Journal>(
      directory / "journal.jsonl", identity.hex(),
      [this](size_t, const JsonObject& entry) { impl_->record.read(entry); });
}

RunDirectory::~RunDirectory() = default;

size_t RunDirectory::recorded() const {
  return impl_->journal->entries();
}

}  // namespace isogloss
