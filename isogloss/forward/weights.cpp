#include <ggml.h>

#include <algorithm>
#include <cstdlib>
#include <new>

#include "isogloss/base/error.h"
#include "isogloss/base/half.h"
#include "isogloss/device/device_impl.h"
#include "isogloss/forward/weights_impl.h"

namespace isogloss {
namespace {

constexpr size_t kAlignment = 64;  // a cache line, and the widest vector

bool multiplies(const TensorView& tensor) {
  return get_role_info(tensor.role).kind == TensorKind::kMatrix ||
         tensor.role == Role::kTokenEmbedding;
}

TensorType decoded_type(const TensorView& tensor, ComputeType compute) {
  return multiplies(tensor) ? product_type(compute) : TensorType::kF32;
}

size_t bytes_held(const Weight& weight) {
  return weight.buffer ? weight.buffer->size() : 0;
}

std::shared_ptr<AlignedBuffer> narrowed(std::span<const float> numbers) {
  auto narrow = std::make_shared<AlignedBuffer>(numbers.size() * sizeof(ggml_bf16_t));
  auto* out = static_cast<ggml_bf16_t*>(narrow->data());
  constexpr size_t kAtOnce = 1 << 14;
#pragma omp parallel for schedule(static)
  for (size_t first = 0; first < numbers.size(); first += kAtOnce) {
    const size_t count = std::min(kAtOnce, numbers.size() - first);
    ggml_fp32_to_bf16_row_ref(&numbers[first], out + first, static_cast<int64_t>(count));
  }
  return narrow;
}

void round_all_to_bf16(std::span<float> numbers) {
#pragma omp parallel for simd schedule(static)
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = round_to_bf16(numbers[i]);
}

}  // namespace

uint64_t decoded_bytes(const Model& model, ComputeType compute) {
  uint64_t bytes = 0;
  for (const TensorView& tensor : model.tensors()) {
    const bool wide = decoded_type(tensor, compute) == TensorType::kF32;
    bytes += tensor.count() * (wide ? sizeof(float) : sizeof(ggml_bf16_t));
  }
  return bytes;
}

AlignedBuffer::AlignedBuffer(size_t bytes)
    : data_(std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment)),
      size_(bytes) {
  if (!data_) throw std::bad_alloc();
}

AlignedBuffer::~AlignedBuffer() {
  std::free(data_);
}

bool WeightCache::has(const Variant& variant, Role role, size_t layer) const {
  return variant.model->find_tensor(role, layer).has_value();
}

Weight WeightCache::get(const Variant& variant, Role role, size_t layer) {
  const auto index = variant.model->find_tensor(role, layer);
  ISOGLOSS_ASSERT(index.has_value());
  if (variant.overrides) {
    if (const auto own = variant.overrides->find(*index); own != variant.overrides->end()) {
      return make(variant.model->tensors()[*index], *own->second);
    }
  }
  const Scheme& scheme = variant.assignment->schemes[*index];
  const Key key{variant.model, *index, to_string(scheme)};
  if (const auto found = entries_.find(key); found != entries_.end()) {
    by_use_.splice(by_use_.begin(), by_use_, found->second.place);
    return found->second.weight;
  }
  Weight weight = make(variant.model->tensors()[*index], scheme);
  if (weight.buffer) variant.model->forget(variant.model->tensors()[*index]);
  by_use_.push_front(key);
  entries_.emplace(key, Entry{weight, by_use_.begin()});
  held_bytes_ += bytes_held(weight);
  drop_beyond_memory();
  return weight;
}

void WeightCache::drop_beyond_memory() {
  while (held_bytes_ > memory_ && by_use_.size() > 1) {
    const auto oldest = entries_.find(by_use_.back());
    held_bytes_ -= bytes_held(oldest->second.weight);
    entries_.erase(oldest);
    by_use_.pop_back();
  }
}

Weight WeightCache::make(const TensorView& tensor, const Scheme& scheme) const {
  const bool rounds = multiplies(tensor) && compute_ == ComputeType::kBf16;
  Weight weight{nullptr, nullptr, decoded_type(tensor, compute_), tensor.rows, tensor.cols};
  const bool is_aligned = reinterpret_cast<uintptr_t>(tensor.bytes.data()) % alignof(float) == 0;
  const bool as_stored =
      is_aligned && lies_as(tensor, weight.type) && scheme.kind == SchemeKind::kNone;
  if (as_stored && (!rounds || weight.type == TensorType::kBf16)) {
    check_finite(tensor);
    weight.data = tensor.bytes.data();
    return weight;
  }
  auto values = std::make_shared<AlignedBuffer>(tensor.count() * sizeof(float));
  const std::span<float> numbers(static_cast<float*>(values->data()), tensor.count());
  decode(tensor, numbers);
  round_trip(scheme, numbers, tensor.rows, tensor.cols);
  if (weight.type == TensorType::kBf16) {
    values = narrowed(numbers);
  } else if (rounds) {
    round_all_to_bf16(numbers);
  }
  weight.data = static_cast<const std::byte*>(values->data());
  weight.buffer = std::move(values);
  return weight;
}

Weight WeightCache::make(const TensorView& tensor, const std::vector<float>& numbers) const {
  ISOGLOSS_ASSERT(numbers.size() == tensor.count());
  const bool rounds = multiplies(tensor) && compute_ == ComputeType::kBf16;
  Weight weight{nullptr, reinterpret_cast<const std::byte*>(numbers.data()),
                decoded_type(tensor, compute_), tensor.rows, tensor.cols};
  if (!rounds) return weight;
  std::shared_ptr<AlignedBuffer> values;
  if (weight.type == TensorType::kBf16) {
    values = narrowed(numbers);
  } else {
    values = std::make_shared<AlignedBuffer>(numbers.size() * sizeof(float));
    const std::span<float> rounded(static_cast<float*>(values->data()), numbers.size());
    std::ranges::copy(numbers, rounded.begin());
    round_all_to_bf16(rounded);
  }
  weight.data = static_cast<const std::byte*>(values->data());
  weight.buffer = std::move(values);
  return weight;
}

}  // namespace isogloss
