// A directory that appears whole, in the place of an earlier one.
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "isogloss/base/error.h"
#include "isogloss/base/file.h"
#include "isogloss/base/json.h"
#include "isogloss/write/directory_impl.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kOpenToAll = 0755;

// Beside `target`, so that renaming does not leave the disk.
fs::path make_beside(const fs::path& target) {
  std::string name = target.string() + ".XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) {
    fail(ErrorCode::kIo, "{}: cannot create a directory beside it: {}", target.string(),
         system_message(errno));
  }
  return name;
}

// Without a slash at its end, and the directory that a link leads to.
fs::path plain_path(const fs::path& path) {
  std::error_code not_there;
  const fs::path whole = fs::weakly_canonical(fs::absolute(path), not_there);
  return whole.has_filename() ? whole : whole.parent_path();
}

bool is_of_a_model(const std::string& name) {
  if (name == "config.json" || name == "quantize_config.json" || name.ends_with(".safetensors") ||
      name == "model.safetensors.index.json") {
    return true;
  }
  const auto copied = copied_files();
  return std::ranges::find(copied, name) != copied.end();
}

// What is written over goes for good: nothing but a quantized model may.
void check_replaceable(const fs::path& target) {
  bool empty = true;
  for (const auto& entry : fs::directory_iterator(target)) {
    empty = false;
    const std::string name = entry.path().filename().string();
    if (is_of_a_model(name) && entry.is_regular_file()) continue;
    fail(ErrorCode::kBadArgument,
         "{}: is there, and holds '{}', which no quantized model has; name a new directory",
         target.string(), name);
  }
  if (empty) return;
  const fs::path config = target / "config.json";
  std::error_code unreadable;
  const bool quantized =
      fs::exists(config, unreadable) &&
      JsonObject::parse(read_text_file(config), config.string()).has("quantization_config");
  if (quantized) return;
  fail(ErrorCode::kBadArgument,
       "{}: is there, and is no quantized model, which alone is written over; name a new directory",
       target.string());
}

void check_target(const fs::path& target, const fs::path& source) {
  std::error_code error;
  const fs::file_status status = fs::status(target, error);
  if (!fs::exists(status)) return;
  if (!fs::is_directory(status)) {
    fail(ErrorCode::kBadArgument, "{}: is a file; a directory is written there", target.string());
  }
  if (fs::equivalent(target, source, error)) {
    fail(ErrorCode::kBadArgument, "{}: is the model that is quantized; name another directory",
         target.string());
  }
  try {
    check_replaceable(target);
  } catch (const fs::filesystem_error& unreadable) {
    fail(ErrorCode::kIo, "{}: cannot be read: {}", target.string(), unreadable.code().message());
  }
}

void rename_or_fail(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (!error) return;
  fail(ErrorCode::kIo, "{}: cannot get the name {}: {}", from.string(), to.string(),
       error.message());
}

}  // namespace

NewDirectory::NewDirectory(const fs::path& target, const fs::path& source)
    : target_(plain_path(target)) {
  check_target(target_, source);
  temporary_ = make_beside(target_);
}

NewDirectory::~NewDirectory() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

void NewDirectory::commit() {
  if (::chmod(temporary_.c_str(), kOpenToAll) != 0) {
    fail(ErrorCode::kIo, "{}: cannot finish writing: {}", target_.string(), system_message(errno));
  }
  std::error_code none;
  if (!fs::exists(target_, none) || fs::is_empty(target_, none)) {
    rename_or_fail(temporary_, target_);
    temporary_.clear();
    return;
  }
  const fs::path old = make_beside(target_);
  rename_or_fail(target_, old);
  try {
    rename_or_fail(temporary_, target_);
  } catch (const Error&) {
    fs::rename(old, target_, none);
    throw;
  }
  temporary_.clear();
  fs::remove_all(old, none);
}

std::vector<std::string> copied_files() {
  return {"tokenizer.json",
          "tokenizer_config.json",
          "special_tokens_map.json",
          "added_tokens.json",
          "generation_config.json",
          "vocab.json",
          "vocab.txt",
          "merges.txt",
          "tokenizer.model",
          "sentencepiece.model",
          "sentencepiece.bpe.model",
          "spiece.model",
          "chat_template.jinja",
          "chat_template.json"};
}

}  // namespace isogloss
