// The two forms of importance matrices in files.
#pragma once

#include <string>

#include "isogloss/base/file.h"
#include "isogloss/calibrate/imatrix.h"

namespace isogloss {

// ggml keeps 63 characters of a tensor's name (GGML_MAX_NAME), and a GGUF file has one of a suffix.
constexpr size_t kMostNameBytes = 63;

Imatrix read_imatrix_gguf(const MappedFile& file);
Imatrix read_imatrix_dat(const MappedFile& file);

// Throws Error(kCorrupt) for sizes that contradict each other and for negative numbers,
// Error(kNotFinite) for numbers that are none.
void check_entry(const std::string& path, const std::string& name, const ImatrixEntry& entry);

// Throws Error(kCorrupt) for a name no tensor can have.
void check_name(const std::string& path, const std::string& name);

// Throws Error for what the reader of a file would refuse: kBadArgument without entries and for
// names that are too long, and as check_entry().
void check_writable(const Imatrix& imatrix, const std::filesystem::path& path, size_t suffix_bytes);

}  // namespace isogloss
