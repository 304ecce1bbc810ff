// A GGUF file about to be written.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "isogloss/model/model.h"

namespace isogloss {

// A value of a key, in the types that llama.cpp's keys have.
using GgufField =
    std::variant<bool, uint32_t, float, std::string, std::vector<uint8_t>, std::vector<bool>,
                 std::vector<int32_t>, std::vector<float>, std::vector<std::string>>;

// By name.
using GgufFields = std::map<std::string, GgufField>;

struct GgufTensor {
  std::string name;
  std::vector<uint64_t> shape;  // outermost first
  TensorType type = TensorType::kF32;
  std::function<std::vector<float>()> numbers;  // of the whole tensor, row-major

  uint64_t count() const;
  uint64_t size_bytes() const;
};

GgufFields gguf_fields(const Model& model, TensorType type);
std::vector<GgufTensor> gguf_tensors(const Model& model, TensorType type);

// Header, keys and list of tensors, padded to where the data begins.
std::string gguf_header(const GgufFields& fields, const std::vector<GgufTensor>& tensors);

inline constexpr uint64_t kGgufAlignment = 32;
uint64_t gguf_padding(uint64_t size);  // bytes up to the next multiple of kGgufAlignment

}  // namespace isogloss
