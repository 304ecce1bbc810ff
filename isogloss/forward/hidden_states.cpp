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

HiddenStates::HiddenStates(size_t tokens, size_t width) : tokens_(tokens), width_(width) {
  constexpr size_t kAlignment = 64;
  const size_t bytes = (tokens * width * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment;
  data_.reset(static_cast<float*>(std::aligned_alloc(kAlignment, bytes)));
  if (!data_ && bytes != 0) throw std::bad_alloc();
}

HiddenStates::HiddenStates(const HiddenStates& other) : HiddenStates(other.tokens_, other.width_) {
  std::memcpy(data_.get(), other.data_.get(), tokens_ * width_ * sizeof(float));
}

HiddenStates& HiddenStates::operator=(const HiddenStates& other) {
  if (this != &other) *this = HiddenStates(other);
  return *this;
}

void HiddenStates::Free::operator()(float* data) const {
  std::free(data);
}

}  // namespace isogloss
