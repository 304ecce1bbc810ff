#include "isogloss/base/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "isogloss/base/error.h"
#include "isogloss/base/sha256.h"

namespace isogloss {
namespace {

using nlohmann::json;

constexpr size_t kVersion = 1;
constexpr size_t kCheckDigits = 16;
constexpr std::string_view kBeforeCheck = "\"check\":\"";
constexpr std::string_view kAfterCheck = "\"}";

Descriptor open_and_lock(const std::filesystem::path& path) {
  Descriptor file = open_regular_file(path, O_RDWR | O_CREAT | O_APPEND);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) == 0) return file;
  if (errno == EWOULDBLOCK) {
    fail(ErrorCode::kIo,
         "{}: is being written by another process; perhaps the same run, started twice",
         path.string());
  }
  fail(ErrorCode::kIo, "{}: cannot lock: {}", path.string(), system_message(errno));
}

void sync_directory_of(const std::filesystem::path& path) {
  std::error_code unresolved;
  const auto directory = std::filesystem::canonical(path, unresolved).parent_path();
  const Descriptor opened(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // EINVAL: a file system that does not sync directories.
  if (opened.get() < 0 || (::fsync(opened.get()) != 0 && errno != EINVAL)) {
    fail(ErrorCode::kIo, "{}: cannot sync its directory: {}", path.string(), system_message(errno));
  }
}

std::string check_of(std::string_view previous, std::string_view body) {
  Sha256 hash;
  hash.update(previous);
  hash.update(body);
  return hash.hex().substr(0, kCheckDigits);
}

// Puts a last member into the text of an object. By hand: json sorts its keys.
std::string with_check(std::string body, std::string_view check) {
  body.pop_back();
  if (body != "{") body += ',';
  return body.append(kBeforeCheck).append(check).append(kAfterCheck);
}

struct Line {
  std::string body, check;
};

// Undoes with_check(); for what it cannot have made, `check` is empty.
Line split(const std::string& text) {
  constexpr size_t kEnding = kBeforeCheck.size() + kCheckDigits + kAfterCheck.size();
  if (text.size() <= kEnding) return {};
  const size_t end = text.size() - kEnding;
  Line line{text.substr(0, end), text.substr(end + kBeforeCheck.size(), kCheckDigits)};
  if (line.body.back() == ',') line.body.pop_back();
  line.body += '}';
  const bool digits = line.check.find_first_not_of("0123456789abcdef") == std::string::npos;
  return digits && with_check(line.body, line.check) == text ? line : Line{};
}

// The end of bytes that may be anything, as text for a message.
std::string end_of(const std::string& text) {
  constexpr size_t kMost = 48;
  const json last = text.substr(text.size() - std::min(text.size(), kMost));
  return last.dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace);
}

std::string why_bad(const std::string& text) {
  if (text.find('\0') != std::string::npos) {
    return "power lost while the line was written, or a damaged disk (it has zero bytes); without "
           "this line and those after it the journal can be used";
  }
  return "a line edited, moved, repeated or removed, or one of another file";
}

// The entry of line `number` and its check, which must follow from the check `previous`.
Line checked(const std::string& text, size_t number, const std::string& previous,
             const std::string& path) {
  Line line = split(text);
  if (line.check.empty()) {
    fail(ErrorCode::kCorrupt,
         "{}: line {}: ends with {}, expected \"check\" of {} hex digits as last member of an "
         "object; "
         "likely cause: {}",
         path, number, end_of(text), kCheckDigits, why_bad(text));
  }
  const std::string expected = check_of(previous, line.body);
  if (line.check != expected) {
    const std::string fault = number == 1 ? "is not as it was written"
                                          : fmt::format("does not follow from line {}", number - 1);
    fail(ErrorCode::kCorrupt, "{}: line {}: {}: expected check {}, found {}; likely cause: {}",
         path, number, fault, expected, line.check, why_bad(text));
  }
  return line;
}

// Reads a file's lines, of which one is in memory at a time.
class LineReader {
 public:
  LineReader(const Descriptor& file, const std::string& path)
      : file_(file), path_(path), block_(kBlock) {}

  // Whether there is one more line that ends with a newline. text() is then that line without it,
  // otherwise what follows the last newline.
  bool next() {
    text_.clear();
    for (;;) {
      const size_t length = rest_.find('\n');
      text_.append(rest_.substr(0, length));
      if (text_.size() > Journal::kLongestLine) {
        fail(ErrorCode::kCorrupt, "{}: line {}: is longer than {} bytes; likely cause: {}", path_,
             number_ + 1, Journal::kLongestLine, why_bad(text_));
      }
      if (length != std::string_view::npos) {
        rest_.remove_prefix(length + 1);
        end_ += text_.size() + 1;
        ++number_;
        return true;
      }
      rest_ = {block_.data(), read_some(file_, block_, path_)};
      if (rest_.empty()) return false;
    }
  }

  const std::string& text() const { return text_; }
  size_t number() const { return number_; }  // of the last line that ended
  uint64_t end() const { return end_; }      // of that line with its newline, in bytes

 private:
  static constexpr size_t kBlock = size_t{1} << 20;

  const Descriptor& file_;
  const std::string& path_;
  std::vector<char> block_;
  std::string_view rest_;  // of block_
  std::string text_;
  size_t number_ = 0;
  uint64_t end_ = 0;
};

// Not so for what is no object, for numbers that are not finite, for text that is not UTF-8, for
// binary values, and for nesting too deep to be read.
bool reads_back(const std::string& text, const json& entry) {
  try {
    return parse_json_object(text, "entry") == entry;
  } catch (const Error&) {
    return false;
  }
}

// What append() writes for an entry, without its check.
std::string body_of(const json& entry) {
  ISOGLOSS_ASSERT(!entry.contains("check"));
  std::string body = entry.dump(-1, ' ', /*ensure_ascii=*/false, json::error_handler_t::replace);
  ISOGLOSS_ASSERT(reads_back(body, entry));
  return body;
}

Line head_of(std::string_view identity) {
  const std::string body = body_of({{"journal", kVersion}, {"identity", identity}});
  return {body, check_of("", body)};
}

}  // namespace

Journal::Journal(const std::filesystem::path& path, std::string_view identity, const Read& read)
    : path_(path.string()), file_(open_and_lock(path)) {
  LineReader lines(file_, path_);
  if (!lines.next()) {
    write_head(lines.text(), identity);
    sync_directory_of(path);
    return;
  }
  read_head(lines.text(), identity);
  size_ = lines.end();
  while (lines.next()) {
    Line line = checked(lines.text(), lines.number(), check_, path_);
    read(lines.number(),
         JsonObject::parse(line.body, fmt::format("{}: line {}", path_, lines.number())));
    check_ = std::move(line.check);
    size_ = lines.end();
    ++entries_;
  }
  torn_ = !lines.text().empty();
  if (torn_) cut();
}

void Journal::read_head(const std::string& text, std::string_view identity) {
  Line line = checked(text, 1, "", path_);
  const auto head = JsonObject::parse(line.body, path_ + ": line 1");
  if (const size_t version = head.get_size("journal"); version != kVersion) {
    fail(ErrorCode::kUnsupported, "{}: is a journal of version {}, expected {}", path_, version,
         kVersion);
  }
  if (const std::string found = head.get_string("identity"); found != identity) {
    fail(ErrorCode::kMismatch,
         "{}: is the journal of run {}, expected run {}; likely cause: a run with other inputs or "
         "settings, which needs a journal of its own",
         path_, found, identity);
  }
  check_ = std::move(line.check);
}

// `found` is the whole file. If it is not the start of a head it is someone's, and must not be
// lost.
void Journal::write_head(const std::string& found, std::string_view identity) {
  const Line head = head_of(identity);
  const std::string text = with_check(head.body, head.check) + '\n';
  const std::string written = found.substr(0, found.find_last_not_of('\0') + 1);
  if (found.size() > text.size() || !text.starts_with(written)) {
    fail(ErrorCode::kCorrupt,
         "{}: line 1: ends with {} and no newline, expected the head of this run's journal; likely "
         "cause: another file",
         path_, end_of(found));
  }
  torn_ = !found.empty();
  if (torn_) cut();
  append_text(text);
  check_ = head.check;
}

void Journal::append(std::span<const json> entries) {
  std::string text;
  std::string check = check_;
  for (const json& entry : entries) {
    const std::string body = body_of(entry);
    check = check_of(check, body);
    const std::string line = with_check(body, check);
    ISOGLOSS_ASSERT(line.size() <= kLongestLine);
    text += line + '\n';
  }
  append_text(text);
  check_ = std::move(check);
  entries_ += entries.size();
}

void Journal::append_text(const std::string& text) {
  if (torn_) cut();
  try {
    write_all(file_, text, path_);
    if (::fdatasync(file_.get()) != 0) {
      fail(ErrorCode::kIo, "{}: cannot sync: {}", path_, system_message(errno));
    }
  } catch (const Error& error) {
    torn_ = ::ftruncate(file_.get(), static_cast<off_t>(size_)) != 0;
    fail(error.code(), "{}; the journal keeps its {} entries, from which the run can go on",
         error.what(), entries_);
  }
  size_ += text.size();
}

// Takes off what is behind the last line.
void Journal::cut() {
  if (::ftruncate(file_.get(), static_cast<off_t>(size_)) != 0) {
    fail(ErrorCode::kIo, "{}: cannot cut off an unfinished line: {}", path_, system_message(errno));
  }
  torn_ = false;
}

}  // namespace isogloss
