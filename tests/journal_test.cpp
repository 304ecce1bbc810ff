// The journal keeps what was appended through kills, torn writes and full disks, and refuses what
// it did not write.
#include "isogloss/base/journal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <csignal>
#include <limits>
#include <thread>

#include "isogloss/base/sha256.h"
#include "model_files.h"
#include "tests/file_size_limit.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Entries = std::vector<json>;
using std::chrono_literals::operator""ms;

const std::string kRun = "5f0c";

std::string content_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

Strings lines_of(const std::string& content) {
  Strings lines;
  for (size_t start = 0; start < content.size(); start = content.find('\n', start) + 1) {
    lines.push_back(content.substr(start, content.find('\n', start) - start));
  }
  return lines;
}

std::string joined(const Strings& lines) {
  std::string content;
  for (const std::string& line : lines) content += line + '\n';
  return content;
}

// The line that the journal would write for `body` after a line that ends with `previous`.
std::string line_after(const std::string& previous, std::string body) {
  Sha256 hash;
  hash.update(previous.substr(previous.size() - 18, 16));
  hash.update(body);
  body.pop_back();
  return body + (body == "{" ? "" : ",") + "\"check\":\"" + hash.hex().substr(0, 16) + "\"}";
}

Entries numbered(size_t count) {
  Entries entries;
  for (size_t i = 0; i < count; ++i) entries.push_back({{"n", i}});
  return entries;
}

class Journals : public testing::Test {
 protected:
  Entries entries_in(const fs::path& path, const std::string& identity = kRun) {
    Entries entries;
    const Journal journal(path, identity, [&](size_t line, const JsonObject& entry) {
      EXPECT_EQ(line, entries.size() + 2);
      EXPECT_EQ(entry.path(), path.string() + ": line " + std::to_string(line));
      entries.push_back(entry.value());
    });
    EXPECT_EQ(journal.entries(), entries.size());
    return entries;
  }
  Entries entries_of(const std::string& content) {
    return entries_in(directory_.write("journal", content));
  }
  // Of opening a file, which must stay as it is.
  Failure failure_with(const std::string& content, const std::string& identity = kRun) {
    directory_.write("journal", content);
    const Failure failure = failure_of([&] { entries_in(path_, identity); });
    EXPECT_EQ(content_of(path_), content);
    return failure;
  }
  void append(const Entries& entries, const std::string& identity = kRun) {
    Journal(path_, identity, ignore_).append(entries);
  }
  // What a journal of these entries is as a file.
  std::string content_with(const Entries& entries, const std::string& identity = kRun) {
    fs::remove(path_);
    append(entries, identity);
    return content_of(path_);
  }

  TemporaryDirectory directory_;
  const fs::path path_ = directory_.path() / "journal";
  const Journal::Read ignore_ = [](size_t, const JsonObject&) {};
};

TEST_F(Journals, AreLinesThatEndWithAHashOfThemselvesAndTheLineBefore) {
  const Entries entries = {{{"n", 1}, {"zone", "a\nb"}}, json::object(), {{"check2", 0.5}}};
  // Computed with Python's hashlib.
  EXPECT_EQ(content_with(entries), R"({"identity":"5f0c","journal":1,"check":"0d8dcda172388246"}
{"n":1,"zone":"a\nb","check":"fc86e95d31978f45"}
{"check":"a8d0223cb82ef4f6"}
{"check2":0.5,"check":"36c7f7011690f585"}
)");
  EXPECT_EQ(entries_in(path_), entries);
}

TEST_F(Journals, ReadBackWhatWasAppended) {
  const Entries entries = {
      {{"text", std::string("\0\x01\x7f\"\\/\r\n\t", 9)}, {"more", "Grüße \u2028 日本 \U0001f600"}},
      {{"", ""}, {"\n", "\n"}, {"check ", "\"check\":\"0123456789abcdef\"}"}},
      {{"list", {1, "two", {{"check", 3}}, nullptr, true, json::array()}}},
      json::object()};
  EXPECT_TRUE(entries_in(path_).empty());
  append(entries);
  EXPECT_EQ(entries_in(path_), entries);
  EXPECT_EQ(entries_in(path_), entries);
}

TEST_F(Journals, KeepEveryBitOfANumber) {
  using Limits = std::numeric_limits<double>;
  std::vector<double> numbers = {0.0,
                                 -0.0,
                                 0.1,
                                 1e308,
                                 -1e308,
                                 1.0 / 3,
                                 1e23,
                                 9007199254740993.0,
                                 Limits::min(),
                                 Limits::max(),
                                 Limits::lowest(),
                                 Limits::denorm_min(),
                                 -Limits::denorm_min(),
                                 Limits::min() - Limits::denorm_min(),
                                 1 + Limits::epsilon()};
  Random random(1);
  while (numbers.size() < 50'000) {
    const auto number = std::bit_cast<double>(random.next());
    if (std::isfinite(number)) numbers.push_back(number);
  }
  append({{{"numbers", numbers},
           {"least", std::numeric_limits<int64_t>::min()},
           {"most", std::numeric_limits<uint64_t>::max()}}});
  const json found = entries_in(path_).at(0);
  ASSERT_EQ(found["numbers"].size(), numbers.size());
  for (size_t i = 0; i < numbers.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint64_t>(found["numbers"][i].get<double>()),
              std::bit_cast<uint64_t>(numbers[i]));
  }
  EXPECT_EQ(found["least"], std::numeric_limits<int64_t>::min());
  EXPECT_EQ(found["most"], std::numeric_limits<uint64_t>::max());
}

TEST_F(Journals, AreTheSameBytesHoweverTheyWereAppended) {
  const Entries entries = numbered(7);
  const std::string content = content_with(entries);
  fs::remove(path_);
  append({entries[0]});
  append({});
  append({entries[1], entries[2], entries[3]});
  {
    Journal journal(path_, kRun, ignore_);
    journal.append(std::span(entries).subspan(4, 2));
    EXPECT_EQ(journal.entries(), 6U);
    journal.append({});
    journal.append(std::span(entries).subspan(6));
    EXPECT_EQ(journal.entries(), 7U);
  }
  EXPECT_EQ(content_of(path_), content);
}

TEST_F(Journals, HaveLinesOfAnyLengthUpToTheLongest) {
  Random random(2);
  Entries entries;
  for (size_t n = 0; n < 60; ++n) {
    entries.push_back({{"n", n}, {"text", std::string(random.below(200'000), 'x')}});
  }
  entries.push_back({{"text", std::string(3'000'000, 'y')}});
  append(entries);
  EXPECT_EQ(entries_in(path_), entries);
}

TEST_F(Journals, DropALastLineTornAnywhere) {
  const Entries entries = numbered(3);
  const std::string content = content_with(entries);
  const size_t start = content.rfind('\n', content.size() - 2) + 1;
  const std::string kept = content.substr(0, start);
  for (size_t size = start; size < content.size(); ++size) {
    for (const size_t zeros : {0, 1, 5000}) {
      SCOPED_TRACE(testing::Message() << size << " bytes, then zeros: " << zeros);
      const std::string torn = content.substr(0, size) + std::string(zeros, '\0');
      ASSERT_EQ(entries_of(torn), numbered(2));
      ASSERT_EQ(content_of(path_), kept);
    }
    append({entries[2]});
    ASSERT_EQ(content_of(path_), content);
  }
  EXPECT_EQ(entries_of(content + std::string(5000, '\0')), entries);
  EXPECT_EQ(content_of(path_), content);
}

TEST_F(Journals, BeginAgainWhenTheirFirstLineIsTorn) {
  const std::string head = content_with({});
  for (size_t size = 0; size < head.size(); ++size) {
    std::string zeros = head.substr(0, size);
    zeros.resize(head.size());
    for (const std::string& torn : {head.substr(0, size), zeros}) {
      ASSERT_TRUE(entries_of(torn).empty()) << size;
      ASSERT_EQ(content_of(path_), head) << size;
    }
  }
  append(numbered(2));
  EXPECT_EQ(content_of(path_), content_with(numbered(2)));
}

TEST_F(Journals, RefuseZerosInPlaceOfALine) {
  const std::string content = content_with(numbered(3));
  std::string zeroed = content;
  const size_t second = content.find('\n') + 1;
  zeroed.replace(second, 10, 10, '\0');
  EXPECT_TRUE(says(failure_with(zeroed), ErrorCode::kCorrupt,
                   {path_.string(), "line 2", "power lost", "zero bytes"}));
  EXPECT_EQ(entries_of(content), numbered(3));
}

TEST_F(Journals, RefuseAnyEditedByteAndNameItsLine) {
  const std::string content = content_with({{{"n", 1}}, json::object(), {{"x", 0.25}}});
  size_t line = 1;
  for (size_t place = 0; place + 1 < content.size(); ++place) {
    const char old = content[place];
    for (const char edited : {static_cast<char>(old ^ 1), '\n', '\0', ' ', ',', '0'}) {
      if (edited == old) continue;
      std::string other = content;
      other[place] = edited;
      ASSERT_TRUE(says(failure_with(other), ErrorCode::kCorrupt,
                       {path_.string() + ": line " + std::to_string(line) + ":", "expected"}))
          << "byte " << place << " became " << static_cast<int>(edited);
    }
    std::string longer = content;
    longer.insert(place, ",");
    ASSERT_EQ(failure_with(longer).code, ErrorCode::kCorrupt) << "a comma at byte " << place;
    std::string shorter = content;
    shorter.erase(place, 1);
    ASSERT_EQ(failure_with(shorter).code, ErrorCode::kCorrupt) << "without byte " << place;
    if (old == '\n') ++line;
  }
  EXPECT_EQ(entries_of(content).size(), 3U);
}

TEST_F(Journals, RefuseLinesOutOfOrder) {
  const std::string content = content_with(numbered(4));
  const Strings lines = lines_of(content);
  for (size_t i = 1; i + 1 < lines.size(); ++i) {
    const std::string name = "line " + std::to_string(i + 1);
    Strings swapped = lines;
    std::swap(swapped[i], swapped[i + 1]);
    EXPECT_TRUE(says(failure_with(joined(swapped)), ErrorCode::kCorrupt,
                     {name, "does not follow from line " + std::to_string(i), "expected check",
                      "found", "moved"}));
    Strings removed = lines;
    removed.erase(removed.begin() + static_cast<ptrdiff_t>(i));
    EXPECT_TRUE(says(failure_with(joined(removed)), ErrorCode::kCorrupt, {name, "removed"}));
  }
  for (size_t i = 0; i < lines.size(); ++i) {
    Strings repeated = lines;
    repeated.insert(repeated.begin() + static_cast<ptrdiff_t>(i), lines[i]);
    EXPECT_TRUE(says(failure_with(joined(repeated)), ErrorCode::kCorrupt,
                     {"line " + std::to_string(i + 2), "repeated"}));
  }
  EXPECT_EQ(entries_of(content), numbered(4));
}

TEST_F(Journals, AreShorterJournalsWithoutTheirLastLines) {
  Strings lines = lines_of(content_with(numbered(4)));
  lines.resize(3);
  EXPECT_EQ(entries_of(joined(lines)), numbered(2));
}

TEST_F(Journals, OfAnotherRunAreRefusedAndSoAreTheirLines) {
  const std::string other = content_with(numbered(3), "another");
  const std::string content = content_with(numbered(3));
  EXPECT_TRUE(says(failure_with(other), ErrorCode::kMismatch,
                   {path_.string(), "run another", "expected run " + kRun, "likely cause"}));
  for (size_t i = 1; i < 4; ++i) {
    Strings mixed = lines_of(content);
    mixed[i] = lines_of(other)[i];
    EXPECT_TRUE(says(failure_with(joined(mixed)), ErrorCode::kCorrupt,
                     {"line " + std::to_string(i + 1), "does not follow"}));
  }
  EXPECT_EQ(entries_in(directory_.write("journal", other), "another"), numbered(3));
  EXPECT_EQ(entries_of(content), numbered(3));
}

TEST_F(Journals, OfAnotherVersionAreRefused) {
  Sha256 hash;
  const std::string body = R"({"identity":")" + kRun + R"(","journal":2})";
  hash.update(body);
  const std::string head =
      body.substr(0, body.size() - 1) + ",\"check\":\"" + hash.hex().substr(0, 16) + "\"}\n";
  EXPECT_TRUE(says(failure_with(head), ErrorCode::kUnsupported, {"version 2", "expected 1"}));
  EXPECT_TRUE(entries_of(content_with({})).empty());
}

TEST_F(Journals, RefuseLinesThatAreNoneOfTheirs) {
  const std::string content = content_with(numbered(3));
  const Strings lines = lines_of(content);
  for (const std::string text :
       {"", "hello", "\xff\xfe", "3", "[1,2]", "{}", R"({"n":1})",
        R"({"check":"0123456789abcdef"})", R"("check":"0123456789abcdef"})",
        R"({"n":1,"check":"0123456789ABCDEF"})", R"({"check":"0123456789abcdef","n":1})"}) {
    for (size_t i = 0; i <= lines.size(); ++i) {
      Strings more = lines;
      more.insert(more.begin() + static_cast<ptrdiff_t>(i), text);
      EXPECT_TRUE(says(failure_with(joined(more)), ErrorCode::kCorrupt,
                       {path_.string() + ": line " + std::to_string(i + 1), "expected"}));
    }
  }
  EXPECT_EQ(entries_of(content), numbered(3));
}

TEST_F(Journals, RefuseLinesThatAreNoObjectsWhateverTheirCheck) {
  const std::string content = content_with(numbered(3));
  const std::string last = lines_of(content).back();
  const std::string deep = R"({"a":)" + std::string(70, '[') + std::string(70, ']') + "}";
  for (const std::string body : {"hello}", "[1}", R"({"a":nan})", R"({"a":1,"a":2})",
                                 "{\"\xff\":1}", R"({"a":1e999})", deep.c_str()}) {
    EXPECT_TRUE(says(failure_with(content + line_after(last, body) + "\n"), ErrorCode::kCorrupt,
                     {path_.string() + ": line 5"}))
        << body;
  }
  EXPECT_EQ(entries_of(content + line_after(last, R"({"n":3})") + "\n"), numbered(4));
}

TEST_F(Journals, RefuseALineLongerThanTheLongest) {
  const std::string content = content_with({});
  const std::string too_long(Journal::kLongestLine + 1, 'x');
  for (const char* const end : {"\n", ""}) {
    EXPECT_TRUE(says(failure_with(content + too_long + end), ErrorCode::kCorrupt,
                     {path_.string() + ": line 2", "longer than 67108864 bytes"}));
  }
  const std::string around = line_after(lines_of(content).back(), R"({"text":""})");
  const Entries longest = {{{"text", std::string(Journal::kLongestLine - around.size(), 'x')}}};
  EXPECT_EQ(content_with(longest).size(), content.size() + Journal::kLongestLine + 1);
  EXPECT_EQ(entries_in(path_), longest);
}

TEST_F(Journals, NeverChangeAFileThatIsNone) {
  const std::string head = content_with({});
  const std::string almost = head.substr(0, 10);
  for (const std::string& content :
       {std::string(R"({"vocab_size": 64})"), std::string("hello"), almost + "x", "\n" + almost,
        almost + std::string(1, '\0') + "x", std::string(200, '\0'),
        std::string("GGUF\0\0\0\x03", 8), head.substr(0, head.size() - 1) + " "}) {
    EXPECT_TRUE(says(failure_with(content), ErrorCode::kCorrupt, {path_.string() + ": line 1"}));
  }
  EXPECT_TRUE(entries_of(almost).empty());
}

TEST_F(Journals, RefuseWhatCannotBeAFile) {
  const auto failure_at = [&](const fs::path& path) {
    return failure_of([&] { entries_in(path); });
  };
  EXPECT_TRUE(says(failure_at(directory_.path()), ErrorCode::kIo, {"cannot open", "directory"}));
  EXPECT_TRUE(says(failure_at(directory_.path() / "no" / "journal"), ErrorCode::kNotFound,
                   {"no/journal", "cannot open", "No such file"}));
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_TRUE(says(failure_at(path_), ErrorCode::kIo, {"not a regular file"}));
  fs::remove(path_);
  EXPECT_TRUE(entries_in(path_).empty());
}

TEST_F(Journals, HaveOneWriterAtATime) {
  const auto reopened = [&] { return failure_of([&] { entries_in(path_); }); };
  {
    Journal journal(path_, kRun, ignore_);
    EXPECT_TRUE(says(reopened(), ErrorCode::kIo, {path_.string(), "by another process"}));
    const pid_t child = fork();
    if (child == 0) _exit(reopened().code == ErrorCode::kIo ? 0 : 1);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    journal.append(numbered(1));
  }
  EXPECT_EQ(entries_in(path_), numbered(1));
}

TEST_F(Journals, PassOnWhatTheReaderThrowsAndCanBeOpenedAgain) {
  const std::string content = content_with(numbered(3)) + "torn";
  directory_.write("journal", content);
  const auto failure = failure_of([&] {
    Journal(path_, kRun, [](size_t, const JsonObject& entry) { entry.get_string("name"); });
  });
  EXPECT_TRUE(says(failure, ErrorCode::kCorrupt, {path_.string() + ": line 2: \"name\""}));
  EXPECT_EQ(content_of(path_), content);
  EXPECT_EQ(entries_in(path_), numbered(3));
}

using JournalsDeathTest = Journals;

TEST_F(JournalsDeathTest, TakeNothingThatWouldNotReadBack) {
  Journal journal(path_, kRun, ignore_);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  json deep = json::object();
  for (int i = 0; i < 70; ++i) deep = {{"a", deep}};
  const std::string longest(Journal::kLongestLine, 'x');
  for (const json& entry : Entries{{{"a", std::nan("")}},
                                   {{"a", {{"b", {1, kInfinity}}}}},
                                   {{"a", -kInfinity}},
                                   {{"check", "mine"}},
                                   {{"a", "\xff"}},
                                   {{"a", json::binary({1, 2})}},
                                   json::array({1}),
                                   nullptr,
                                   deep,
                                   {{"a", longest}}}) {
    EXPECT_DEATH(journal.append(std::span(&entry, 1)), "internal error");
  }
  journal.append(numbered(1));
  EXPECT_EQ(journal.entries(), 1U);
}

Failure failure_within(size_t bytes, const std::function<void()>& action) {
  const FileSizeLimit limit(bytes);
  return failure_of(action);
}

TEST_F(Journals, KeepTheirLinesWhenAnAppendStopsHalfway) {
  const Entries entries = numbered(5);
  const std::string content = content_with(entries);
  const std::string before = content_with(numbered(2));
  // Stopped at once, within the first new line, after it, and before the last newline.
  const size_t line = lines_of(before).back().size() + 1;
  for (const size_t written : {size_t{0}, size_t{5}, line, content.size() - before.size() - 1}) {
    directory_.write("journal", before);
    Journal journal(path_, kRun, ignore_);
    const auto rest = std::span(entries).subspan(2);
    EXPECT_TRUE(says(failure_within(before.size() + written, [&] { journal.append(rest); }),
                     ErrorCode::kIo,
                     {path_.string(), "cannot write", "File too large", "keeps its 2 entries"}));
    EXPECT_EQ(content_of(path_), before);
    EXPECT_EQ(journal.entries(), 2U);
    journal.append(rest);
    EXPECT_EQ(content_of(path_), content);
    EXPECT_TRUE(says(failure_within(content.size() + 9, [&] { journal.append(rest); }),
                     ErrorCode::kIo, {"keeps its 5 entries"}));
    EXPECT_EQ(content_of(path_), content);
  }
  EXPECT_EQ(entries_in(path_), entries);
}

TEST_F(Journals, ThatCannotBeCreatedForLackOfSpaceCanBeLater) {
  const auto failure = failure_within(20, [&] { entries_in(path_); });
  EXPECT_TRUE(says(failure, ErrorCode::kIo, {path_.string(), "File too large"}));
  EXPECT_EQ(content_of(path_), "");
  EXPECT_TRUE(entries_in(path_).empty());
}

// A file that can grow and cannot shrink.
TEST_F(Journals, WriteNothingBehindALineThatTheyCouldNotCutOff) {
  const std::string before = content_with(numbered(1));
  const int file = memfd_create("journal", MFD_ALLOW_SEALING);
  ASSERT_GE(file, 0);
  ASSERT_EQ(write(file, before.data(), before.size()), static_cast<ssize_t>(before.size()));
  ASSERT_EQ(fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK), 0);
  const fs::path path = "/proc/self/fd/" + std::to_string(file);
  const Entries entries = numbered(2);
  const auto next = std::span(entries).subspan(1);
  {
    Journal journal(path, kRun, ignore_);
    EXPECT_EQ(failure_within(before.size() + 7, [&] { journal.append(next); }).code,
              ErrorCode::kIo);
    for (int i = 0; i < 2; ++i) {
      EXPECT_TRUE(says(failure_of([&] { journal.append(next); }), ErrorCode::kIo,
                       {path.string(), "cannot cut off"}));
    }
  }
  const std::string torn = content_of(path);
  close(file);
  EXPECT_EQ(torn.size(), before.size() + 7);
  EXPECT_EQ(entries_of(torn), numbered(1));
}

// A disk of 64 KiB, where the system lets us mount one.
class SmallDisk {
 public:
  explicit SmallDisk(fs::path path) : path_(std::move(path)) {
    fs::create_directory(path_);
    mounted_ = mount("isogloss", path_.c_str(), "tmpfs", 0, "size=64k") == 0;
  }
  ~SmallDisk() {
    if (mounted_) umount2(path_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  bool mounted() const { return mounted_; }

 private:
  fs::path path_;
  bool mounted_ = false;
};

TEST_F(Journals, KeepTheirLinesOnAFullDisk) {
  const SmallDisk disk(directory_.path() / "disk");
  if (!disk.mounted()) GTEST_SKIP() << "mounting is not permitted";
  const fs::path path = directory_.path() / "disk" / "journal";
  directory_.write("disk/filler", std::string(30'000, 'x'));
  const Entries large = {{{"text", std::string(20'000, 'y')}},
                         {{"text", std::string(20'000, 'z')}}};
  {
    Journal journal(path, kRun, ignore_);
    journal.append(numbered(2));
    const std::string before = content_of(path);
    EXPECT_TRUE(says(failure_of([&] { journal.append(large); }), ErrorCode::kIo,
                     {path.string(), "cannot write", "No space left", "keeps its 2 entries"}));
    EXPECT_EQ(content_of(path), before);
  }
  EXPECT_EQ(entries_in(path), numbered(2));
  fs::remove(directory_.path() / "disk" / "filler");
  Journal(path, kRun, ignore_).append(large);
  EXPECT_EQ(entries_in(path), (Entries{{{"n", 0}}, {{"n", 1}}, large[0], large[1]}));
}

// What a process that will be killed says of itself.
struct Signs {
  std::atomic<bool> opened = false;
  std::atomic<bool> failed = false;
  std::atomic<size_t> appended = 0;  // entries whose append returned
};

json padded(size_t n) {
  return {{"n", n}, {"text", std::string(n * 7919 % 60'000, 'x')}};
}

// Appends numbered entries, one to seven at a time, until it is killed.
void append_endlessly(const fs::path& path, Signs& signs) {
  Journal journal(path, kRun, [](size_t, const JsonObject&) {});
  signs.appended = journal.entries();
  signs.opened = true;
  for (;;) {
    Entries entries;
    const size_t count = 1 + journal.entries() % 7;
    for (size_t i = 0; i < count; ++i) entries.push_back(padded(journal.entries() + i));
    journal.append(entries);
    signs.appended = journal.entries();
  }
}

class Killed : public Journals {
 protected:
  Killed()
      : shared_(mmap(nullptr, sizeof(Signs), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                     0)) {}
  ~Killed() override { munmap(shared_, sizeof(Signs)); }

  // When a process is killed: any time after its start or its opening of the journal, or as soon
  // as the journal grows.
  enum class Moment { kStarted, kOpened, kWriting };

  // How many entries of the journal the process knew to be written when it was killed.
  size_t kill_one(const fs::path& path, Moment moment, std::chrono::microseconds delay) {
    auto* const signs = new (shared_) Signs;
    const pid_t child = fork();
    if (child == 0) {
      failure_of([&] { append_endlessly(path, *signs); });
      signs->opened = signs->failed = true;
      _exit(1);
    }
    while (moment != Moment::kStarted && !signs->opened) std::this_thread::yield();
    std::this_thread::sleep_for(delay);
    if (moment == Moment::kWriting) {
      const auto size = fs::file_size(path);
      while (fs::file_size(path) == size && !signs->failed) continue;
    }
    kill(child, SIGKILL);
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status)) << "the process failed to append";
    return signs->appended;
  }

  // Opens the journal after a kill: it has the entries `known`, and some more without a gap. How
  // many these are.
  size_t check(const fs::path& path, size_t known) {
    const std::string left = content_of(path);
    size_t found = 0;
    {
      const Journal journal(path, kRun, [&](size_t, const JsonObject& entry) {
        ASSERT_EQ(entry.value(), padded(found));
        ++found;
      });
      EXPECT_GE(journal.entries(), known);
      EXPECT_EQ(journal.entries(), found);
    }
    // Cut off at most, but for a head that was not finished.
    const std::string kept = content_of(path);
    EXPECT_TRUE(left.starts_with(kept) || (found == 0 && kept.starts_with(left)));
    torn_ += left.size() > kept.size() ? 1 : 0;
    return found;
  }

  void kill_again_and_again(const fs::path& path, std::chrono::microseconds latest) {
    constexpr int kRounds = 50;
    Random random(4);
    size_t entries = 0;
    for (int round = 0; round < kRounds && !HasFailure(); ++round) {
      SCOPED_TRACE(testing::Message() << "round " << round);
      const std::chrono::microseconds delay(random.below(static_cast<uint64_t>(latest.count())));
      entries =
          check(path, std::max(entries, kill_one(path, static_cast<Moment>(round % 3), delay)));
    }
    EXPECT_GT(entries, 0U);
    RecordProperty("entries", std::to_string(entries));
    RecordProperty("torn", std::to_string(torn_));
  }

 private:
  void* shared_;
  int torn_ = 0;  // journals that a kill left with an unfinished line
};

TEST_F(Killed, LeaveAllEntriesWithoutAGapUpToSomeOne) {
  kill_again_and_again(path_, 8ms);
}

// Where syncing takes no time.
TEST_F(Killed, LeaveThemInMemoryToo) {
  if (!fs::is_directory("/dev/shm")) GTEST_SKIP() << "no file system in memory";
  const fs::path place = fs::path("/dev/shm") / directory_.path().filename();
  fs::create_directory(place);
  kill_again_and_again(place / "journal", 3ms);
  fs::remove_all(place);
}

}  // namespace
}  // namespace isogloss
