#include <cstdlib>
#include <cstring>
#include <new>

#include "isogloss/base/error.h"
#include "isogloss/forward/forward.h"

namespace isogloss {

void Batch::append(std::span<const int32_t> sequence) {
  tokens.insert(tokens.end(), sequence.begin(), sequence.end());
  starts.push_back(tokens.size());
}

HiddenStates::HiddenStates(size_t tokens, size_t width)
    : tokens_(tokens), width_(width), data_(allocate(tokens * width)) {}

HiddenStates::HiddenStates(const HiddenStates& other) : HiddenStates(other.tokens_, other.width_) {
  const size_t bytes = tokens_ * width_ * sizeof(float);
  std::memcpy(data_.get(), other.data_.get(), bytes);
  if (!other.block_input_) return;
  block_input_ = allocate(tokens_ * width_);
  std::memcpy(block_input_.get(), other.block_input_.get(), bytes);
}

HiddenStates& HiddenStates::operator=(const HiddenStates& other) {
  if (this != &other) *this = HiddenStates(other);
  return *this;
}

void HiddenStates::keep_block_input() {
  if (!block_input_) block_input_ = allocate(tokens_ * width_);
  std::memcpy(block_input_.get(), data_.get(), tokens_ * width_ * sizeof(float));
}

HiddenStates::Rows HiddenStates::allocate(size_t numbers) {
  constexpr size_t kAlignment = 64;
  const size_t bytes = (numbers * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment;
  Rows rows(static_cast<float*>(std::aligned_alloc(kAlignment, bytes)));
  if (!rows && bytes != 0) throw std::bad_alloc();
  return rows;
}

void HiddenStates::Free::operator()(float* data) const {
  std::free(data);
}

}  // namespace isogloss
