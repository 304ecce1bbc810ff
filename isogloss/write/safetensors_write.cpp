#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <nlohmann/json.hpp>

#include "isogloss/base/error.h"
#include "isogloss/base/file.h"
#include "isogloss/write/safetensors_impl.h"

namespace isogloss {
namespace {

struct Dtype {
  TensorType type;
  std::string_view name;
  uint64_t bytes;
};

// In the order in which their tensors lie.
constexpr Dtype kDtypes[] = {{TensorType::kI64, "I64", 8},
                             {TensorType::kF32, "F32", 4},
                             {TensorType::kI32, "I32", 4},
                             {TensorType::kBf16, "BF16", 2},
                             {TensorType::kF16, "F16", 2}};

const Dtype& get_dtype(TensorType type) {
  const auto* const found = std::ranges::find(kDtypes, type, &Dtype::type);
  ISOGLOSS_ASSERT(found != std::end(kDtypes));
  return *found;
}

// Text as JSON; what is not UTF-8 is replaced.
std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string entry_text(const SafetensorsEntry& entry, uint64_t begin, uint64_t end) {
  return fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                     quoted(entry.name), get_dtype(entry.type).name, fmt::join(entry.shape, ","),
                     begin, end);
}

std::string metadata_text(const SafetensorsMetadata& metadata) {
  std::vector<std::string> items;
  for (const auto& [key, text] : metadata) items.push_back(quoted(key) + ":" + quoted(text));
  return fmt::format(R"("__metadata__":{{{}}})", fmt::join(items, ","));
}

constexpr size_t kHeadAlignment = 8;

std::string padded_head(std::string json) {
  json.resize((json.size() + kHeadAlignment - 1) / kHeadAlignment * kHeadAlignment, ' ');
  const uint64_t length = json.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + json;
}

}  // namespace

uint64_t SafetensorsEntry::size_bytes() const {
  uint64_t bytes = get_dtype(type).bytes;
  for (const uint64_t size : shape) bytes *= size;
  return bytes;
}

SafetensorsLayout safetensors_layout(std::vector<SafetensorsEntry> entries,
                                     const SafetensorsMetadata& metadata) {
  std::ranges::sort(entries, {}, [](const SafetensorsEntry& entry) {
    return std::pair(&get_dtype(entry.type) - kDtypes, entry.name);
  });
  SafetensorsLayout layout;
  std::string json = fmt::format("{{{}", metadata_text(metadata));
  uint64_t offset = 0;
  for (const SafetensorsEntry& entry : entries) {
    const uint64_t end = offset + entry.size_bytes();
    json += fmt::format(",{}", entry_text(entry, offset, end));
    const bool added = layout.offsets.emplace(entry.name, offset).second;
    ISOGLOSS_ASSERT(added);
    offset = end;
  }
  layout.head = padded_head(std::move(json) + '}');
  for (auto& [name, place] : layout.offsets) place += layout.head.size();
  layout.file_bytes = layout.head.size() + offset;
  return layout;
}

uint64_t most_file_bytes(const SafetensorsMetadata& metadata) {
  return padded_head(fmt::format("{{{}}}", metadata_text(metadata))).size() + kHeadAlignment;
}

uint64_t most_entry_bytes(const SafetensorsEntry& entry) {
  constexpr uint64_t kWidest = std::numeric_limits<uint64_t>::max();
  return entry_text(entry, kWidest, kWidest).size() + 1 + entry.size_bytes();
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     const SafetensorsLayout& layout)
    : path_(path.string()),
      layout_(layout),
      file_(open_regular_file(path, O_WRONLY | O_CREAT | O_EXCL)) {
  write_at(0, std::as_bytes(std::span(layout_.head)));
}

void SafetensorsWriter::write(const SafetensorsEntry& entry, std::span<const std::byte> bytes) {
  ISOGLOSS_ASSERT(bytes.size() == entry.size_bytes());
  write_at(layout_.offsets.at(entry.name), bytes);
}

void SafetensorsWriter::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  written_ += bytes.size();
  while (!bytes.empty()) {
    const ssize_t count =
        ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(ErrorCode::kIo, "{}: cannot write: {}", path_, system_message(errno));
    bytes = bytes.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
}

void SafetensorsWriter::finish() {
  ISOGLOSS_ASSERT(written_ == layout_.file_bytes);
  if (::fsync(file_.get()) == 0) return;
  fail(ErrorCode::kIo, "{}: cannot finish writing: {}", path_, system_message(errno));
}

}  // namespace isogloss
