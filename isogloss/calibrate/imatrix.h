// Importance matrices: mean squares of what each column of a matrix multiplies, in the files that
// llama.cpp's tools write and read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "isogloss/model/model.h"

namespace isogloss {

// Sums over tokens: for each of `counts.size()` matrices (one; experts are several) as many squares
// as it has columns.
struct ImatrixEntry {
  std::vector<float> squares;  // [matrices][cols], sums of x^2
  std::vector<float> counts;   // [matrices], tokens seen; from a .dat file one, of calls

  bool operator==(const ImatrixEntry&) const = default;
};

struct Imatrix {
  std::map<std::string, ImatrixEntry> entries;  // by the GGUF name of the weight
  std::vector<std::string> datasets;
  uint32_t chunk_count = 0;
  uint32_t chunk_size = 0;  // tokens; 0: from a .dat file, whose counts are of chunks ("calls")

  bool operator==(const Imatrix&) const = default;

  // Mean squares of a weight's columns, [matrices][cols]; a matrix that no token reached has ones,
  // as llama-quantize takes it. Empty where there is no entry or nothing was counted at all.
  std::vector<float> means(const std::string& name) const;
};

// A GGUF file of llama-imatrix (general.type "imatrix"), or the older .dat; told apart by their
// first bytes. Throws Error(kCorrupt, kUnsupported, kNotFinite, kNotFound) that names file and
// entry.
Imatrix read_imatrix(const std::filesystem::path& path);

// The GGUF form, byte for byte as llama-imatrix writes it; llama-quantize reads it. Throws
// Error(kIo), and for what no reader takes: kBadArgument without entries and for a name beyond 55
// characters, kCorrupt and kNotFinite as read_imatrix().
void write_imatrix(const Imatrix& imatrix, const std::filesystem::path& path);
// The older form: mean times calls, as llama-imatrix wrote it. Entries where nothing was counted
// are left out; of several data sets the last is named. Throws as write_imatrix().
void write_imatrix_dat(const Imatrix& imatrix, const std::filesystem::path& path);

// Sums and counts added up, as llama-imatrix merges files: each counts by its tokens. Throws
// Error(kMismatch) where two have an entry of different size, or counts of chunks and of tokens.
Imatrix merge(std::span<const Imatrix> parts);

}  // namespace isogloss
