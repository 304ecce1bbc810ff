// Importance matrices: means, files merged, and what both forms of files check.
#include "isogloss/calibrate/imatrix.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "isogloss/base/error.h"
#include "isogloss/calibrate/imatrix_impl.h"

namespace isogloss {
namespace {

void check_same_size(const std::string& name, const ImatrixEntry& a, const ImatrixEntry& b) {
  if (a.squares.size() == b.squares.size() && a.counts.size() == b.counts.size()) return;
  fail(ErrorCode::kMismatch,
       "importance matrices: entry '{}' has {} numbers of {} matrices in one and {} of {} in "
       "another; they are of different models",
       name, a.squares.size(), a.counts.size(), b.squares.size(), b.counts.size());
}

// Data sets and chunks of all parts; an entry for each name, with nothing counted.
Imatrix merged_frame(std::span<const Imatrix> parts) {
  Imatrix result;
  uint64_t tokens = 0;  // chunks, where no chunk has a size
  for (const Imatrix& part : parts) {
    for (const std::string& dataset : part.datasets) {
      if (std::ranges::find(result.datasets, dataset) == result.datasets.end()) {
        result.datasets.push_back(dataset);
      }
    }
    for (const auto& [name, entry] : part.entries) {
      const ImatrixEntry empty{std::vector<float>(entry.squares.size()),
                               std::vector<float>(entry.counts.size())};
      const auto [place, is_new] = result.entries.try_emplace(name, empty);
      if (!is_new) check_same_size(name, place->second, entry);
    }
    result.chunk_size = std::max(result.chunk_size, part.chunk_size);
    tokens += uint64_t{part.chunk_count} * std::max(part.chunk_size, 1U);
  }
  const uint64_t size = std::max(result.chunk_size, 1U);
  constexpr uint64_t kMost = std::numeric_limits<uint32_t>::max();
  result.chunk_count = static_cast<uint32_t>(std::min((tokens + size - 1) / size, kMost));
  return result;
}

// Numbers of one matrix of an entry.
struct MatrixView {
  std::span<const float> squares;
  double count = 0;
};

MatrixView matrix_of(const ImatrixEntry& entry, size_t matrix) {
  const size_t cols = entry.squares.size() / entry.counts.size();
  return {std::span(entry.squares).subspan(matrix * cols, cols),
          static_cast<double>(entry.counts[matrix])};
}

// `parts` have the matrix, and counted something.
void set_sums(std::span<const MatrixView> parts, size_t matrix, ImatrixEntry& entry) {
  double count = 0;
  for (const MatrixView& part : parts) count += part.count;
  if (count == 0) return;
  // The count is a float in files, and means are over the float.
  entry.counts[matrix] = static_cast<float>(count);
  const double scale = static_cast<double>(entry.counts[matrix]) / count;
  const size_t cols = entry.squares.size() / entry.counts.size();
  for (size_t i = 0; i < cols; ++i) {
    double sum = 0;
    for (const MatrixView& part : parts) sum += static_cast<double>(part.squares[i]);
    entry.squares[matrix * cols + i] = static_cast<float>(scale * sum);
  }
}

void check_numbers(const std::string& path, const std::string& name,
                   const std::vector<float>& numbers) {
  const auto bad = std::ranges::find_if_not(
      numbers, [](float number) { return std::isfinite(number) && number >= 0; });
  if (bad == numbers.end()) return;
  fail(std::isfinite(*bad) ? ErrorCode::kCorrupt : ErrorCode::kNotFinite,
       "{}: entry '{}' holds {} at place {}; sums of squares and counts are numbers from 0 on",
       path, name, *bad, bad - numbers.begin());
}

}  // namespace

std::vector<float> Imatrix::means(const std::string& name) const {
  const auto found = entries.find(name);
  if (found == entries.end()) return {};
  const ImatrixEntry& entry = found->second;
  if (std::ranges::all_of(entry.counts, [](float count) { return count == 0; })) return {};
  std::vector<float> means;
  for (size_t matrix = 0; matrix < entry.counts.size(); ++matrix) {
    const MatrixView view = matrix_of(entry, matrix);
    for (const float square : view.squares) {
      const double mean = view.count == 0 ? 1 : static_cast<double>(square) / view.count;
      means.push_back(static_cast<float>(mean));
    }
  }
  return means;
}

Imatrix read_imatrix(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  const bool gguf = bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0;
  return gguf ? read_imatrix_gguf(*file) : read_imatrix_dat(*file);
}

void check_entry(const std::string& path, const std::string& name, const ImatrixEntry& entry) {
  const size_t matrices = entry.counts.size();
  if (matrices == 0 || entry.squares.empty() || entry.squares.size() % matrices != 0) {
    fail(ErrorCode::kCorrupt, "{}: entry '{}' has {} sums for {} counts", path, name,
         entry.squares.size(), matrices);
  }
  check_numbers(path, name, entry.squares);
  check_numbers(path, name, entry.counts);
}

void check_name(const std::string& path, const std::string& name) {
  if (!name.empty() && name.size() <= kMostNameBytes && name.find('\0') == name.npos) return;
  fail(ErrorCode::kCorrupt,
       "{}: the name of an entry has {} bytes; names have 1 to {}, and no zero bytes", path,
       name.size(), kMostNameBytes);
}

void check_writable(const Imatrix& imatrix, const std::filesystem::path& path,
                    size_t suffix_bytes) {
  const auto refuse = [&](const std::string& what) {
    fail(ErrorCode::kBadArgument, "{}: cannot write an importance matrix {}", path.string(), what);
  };
  if (imatrix.entries.empty()) refuse("without entries; llama-quantize would not read it");
  for (const auto& [name, entry] : imatrix.entries) {
    if (name.empty() || name.size() + suffix_bytes > kMostNameBytes) {
      refuse(fmt::format("of '{}': its name has {} bytes, and can have {}", name, name.size(),
                         kMostNameBytes - suffix_bytes));
    }
    check_entry(path.string(), name, entry);
  }
}

Imatrix merge(std::span<const Imatrix> parts) {
  const auto of_chunks = [](const Imatrix& part) { return part.chunk_size == 0; };
  if (std::ranges::any_of(parts, of_chunks) && !std::ranges::all_of(parts, of_chunks)) {
    fail(ErrorCode::kMismatch,
         "importance matrices: some count tokens and others, from .dat files, chunks of unknown "
         "size, so that they cannot be added up; llama-imatrix --in-file makes GGUF of .dat");
  }
  Imatrix result = merged_frame(parts);
  for (auto& [name, merged] : result.entries) {
    for (size_t matrix = 0; matrix < merged.counts.size(); ++matrix) {
      std::vector<MatrixView> counted;
      for (const Imatrix& part : parts) {
        const auto found = part.entries.find(name);
        if (found == part.entries.end()) continue;
        const MatrixView view = matrix_of(found->second, matrix);
        if (view.count > 0) counted.push_back(view);
      }
      set_sums(counted, matrix, merged);
    }
  }
  return result;
}

}  // namespace isogloss
