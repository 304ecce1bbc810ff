// safetensors files about to be written: a list of tensors first, numbers as they come.
//
// A file is a u64, the bytes of a JSON head; the head, {"name": {"dtype", "shape", "data_offsets":
// [begin, end]}, "__metadata__": {..}}; then the data without gaps. As the format's own library
// does, wide types come first, each in order of names, and spaces pad the head to 8 bytes: so every
// tensor is aligned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "isogloss/base/descriptor.h"
#include "isogloss/model/model.h"

namespace isogloss {

struct SafetensorsEntry {
  std::string name;
  TensorType type = TensorType::kF32;  // F32, F16, BF16, I32 or I64
  std::vector<uint64_t> shape;

  uint64_t size_bytes() const;
};

using SafetensorsMetadata = std::map<std::string, std::string>;

struct SafetensorsLayout {
  std::string head;                         // with its length and padding
  std::map<std::string, uint64_t> offsets;  // of each tensor, from the beginning of the file
  uint64_t file_bytes = 0;
};
SafetensorsLayout safetensors_layout(std::vector<SafetensorsEntry> entries,
                                     const SafetensorsMetadata& metadata);

// What a file of these tensors takes at most, without laying it out: each counts alone.
uint64_t most_file_bytes(const SafetensorsMetadata& metadata);  // without tensors
uint64_t most_entry_bytes(const SafetensorsEntry& entry);

class SafetensorsWriter {
 public:
  // Makes the file, which must not be there. Throws Error(kIo), as the others.
  SafetensorsWriter(const std::filesystem::path& path, const SafetensorsLayout& layout);

  void write(const SafetensorsEntry& entry, std::span<const std::byte> bytes);
  void finish();  // after the last one; syncs

 private:
  void write_at(uint64_t offset, std::span<const std::byte> bytes);

  std::string path_;
  SafetensorsLayout layout_;
  Descriptor file_;
  uint64_t written_ = 0;
};

}  // namespace isogloss
