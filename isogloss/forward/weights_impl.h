// Weights as a pass computes with them, made from the model when they are first needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <tuple>

#include "isogloss/device/device.h"
#include "isogloss/forward/forward.h"

namespace isogloss {

// 64-byte aligned memory.
class AlignedBuffer {
 public:
  explicit AlignedBuffer(size_t bytes);
  ~AlignedBuffer();
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;

  void* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  void* data_;
  size_t size_;
};

// A tensor ready to compute with: row-major [rows][cols], F32 or BF16. What lies in the model's
// file in that form is used from there, and `buffer` is null.
struct Weight {
  std::shared_ptr<const AlignedBuffer> buffer;
  const std::byte* data = nullptr;
  TensorType type = TensorType::kF32;
  size_t rows = 0, cols = 0;

  const std::byte* row(size_t index) const {
    return data + index * cols * (type == TensorType::kF32 ? sizeof(float) : sizeof(uint16_t));
  }
};

// Decoded weights by (model, tensor, scheme), least recently used dropped first. A Weight that is
// held stays alive whatever the cache drops. Overridden weights are not kept, and live as long as
// the override.
class WeightCache {
 public:
  WeightCache(ComputeType compute, uint64_t memory) : compute_(compute), memory_(memory) {}

  // The tensor of `role` at `layer`, which must be there.
  Weight get(const Variant& variant, Role role, size_t layer = kNoLayer);
  bool has(const Variant& variant, Role role, size_t layer = kNoLayer) const;

  ComputeType compute() const { return compute_; }

 private:
  using Key = std::tuple<const Model*, size_t, std::string>;
  struct Entry {
    Weight weight;
    std::list<Key>::iterator place;
  };

  Weight make(const TensorView& tensor, const Scheme& scheme) const;
  Weight make(const TensorView& tensor, const std::vector<float>& numbers) const;
  void drop_beyond_memory();

  ComputeType compute_;
  uint64_t memory_;
  uint64_t held_bytes_ = 0;
  std::map<Key, Entry> entries_;
  std::list<Key> by_use_;  // most recent first
};

}  // namespace isogloss
