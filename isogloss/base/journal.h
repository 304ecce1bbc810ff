// A file that a long run writes its results to as they come, and from which a later process goes on
// after the first was killed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "isogloss/base/descriptor.h"
#include "isogloss/base/json.h"

namespace isogloss {

// JSON objects, one a line. The last member of each, "check", is a hash of the line and of the
// check before it; the first line is a head that names the run. So a line that was edited, moved,
// repeated or removed, or that comes from another run, is noticed and named. A journal that lost
// whole lines at its end is a shorter journal.
//
// Only an append that was cut short is repaired: what follows the last newline is dropped. A system
// that lost power may have kept the end of an append and zeros in place of its start: that is an
// error, for it looks like a damaged disk.
class Journal {
 public:
  // Bytes of a line, without its newline.
  static constexpr size_t kLongestLine = size_t{64} << 20;

  // Gets the entries that are there, in their order. `line` is that of the file: the first entry's
  // is 2. The entry is named "PATH: line 2" in its messages. May throw.
  using Read = std::function<void(size_t line, const JsonObject& entry)>;

  // Opens the journal of the run that `identity` (a hash) names, or creates it, and keeps others
  // from opening it. A file is changed only if it is this run's journal. Throws Error:
  // kMismatch for the journal of another run, kUnsupported for one of another version, kCorrupt for
  // bad lines and other files, kNotFound when there is no such directory, kIo also when the journal
  // is open elsewhere. Entries before a bad line have been passed to `read` by then.
  Journal(const std::filesystem::path& path, std::string_view identity, const Read& read);

  // Writes the entries at once, and returns when they are on the disk. They are objects without a
  // member "check", of finite numbers and UTF-8. Throws Error(kIo), for a full disk for instance;
  // then none of the entries is there, and append() may be called again.
  void append(std::span<const nlohmann::json> entries);

  size_t entries() const { return entries_; }

 private:
  void read_head(const std::string& text, std::string_view identity);
  void write_head(const std::string& found, std::string_view identity);
  void append_text(const std::string& text);
  void cut();

  std::string path_;
  Descriptor file_;
  std::string check_;   // of the last line
  uint64_t size_ = 0;   // of the file up to the last line's end, in bytes
  size_t entries_ = 0;  // lines without the head
  bool torn_ = false;   // the file is longer than size_
};

}  // namespace isogloss
