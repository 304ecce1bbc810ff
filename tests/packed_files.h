// Quantized Hugging Face directories built number by number: codes and scales of a matrix, and the
// tensors that stand for it, packed a bit at a time.
#pragma once

#include <ggml.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "tests/model_files.h"

namespace isogloss {

// A matrix of codes. Numbers are seeded by its place, so that none is like its neighbour.
struct CodeMatrix {
  int bits = 4;
  size_t rows = 24, cols = 16, group_size = 16;
  bool asymmetric = false;
  std::string scale_dtype = "F16";
  std::vector<int32_t> index;  // the group of each column; empty: in order
  bool one_scale = false;      // for the whole matrix

  size_t groups() const { return cols / group_size; }
  size_t group(size_t col) const {
    return index.empty() ? col / group_size : static_cast<size_t>(index[col]);
  }
  uint32_t code(size_t row, size_t col) const {
    return static_cast<uint32_t>(row * 31 + col * 7 + row * col) % (1U << bits);
  }
  uint32_t zero(size_t row, size_t g) const {
    if (!asymmetric) return 1U << (bits - 1);
    return 1 + static_cast<uint32_t>(row * 3 + g) % ((1U << bits) - 1);
  }
  // Of few bits, so that every type holds it.
  float scale(size_t row, size_t g) const {
    if (one_scale) return 0.375F;
    return static_cast<float>(1 + (row + 5 * g) % 60) / 64;
  }
  std::vector<float> numbers() const {
    std::vector<float> numbers;
    for (size_t row = 0; row < rows; ++row) {
      for (size_t col = 0; col < cols; ++col) {
        const size_t g = group(col);
        const int difference = static_cast<int>(code(row, col)) - static_cast<int>(zero(row, g));
        numbers.push_back(static_cast<float>(difference) * scale(row, g));
      }
    }
    return numbers;
  }
};

// Codes as one stream of bits in words of 32, low bits first.
inline std::vector<uint32_t> packed(size_t count, int bits,
                                    const std::function<uint32_t(size_t)>& code) {
  const auto width = static_cast<size_t>(bits);
  std::vector<uint32_t> words((count * width + 31) / 32);
  for (size_t bit = 0; bit < count * width; ++bit) {
    words[bit / 32] |= (code(bit / width) >> bit % width & 1) << bit % 32;
  }
  return words;
}

// [lines][words] to [words][lines].
inline std::vector<uint32_t> transposed(const std::vector<uint32_t>& words, size_t lines) {
  std::vector<uint32_t> result;
  const size_t length = words.size() / lines;
  for (size_t i = 0; i < length; ++i) {
    for (size_t line = 0; line < lines; ++line) result.push_back(words[line * length + i]);
  }
  return result;
}

inline std::string as_dtype(float value, const std::string& dtype) {
  if (dtype == "F32") return bytes_of(value);
  if (dtype == "F16") return bytes_of(ggml_fp32_to_fp16(value));
  return bytes_of(ggml_fp32_to_bf16(value));
}

inline std::vector<uint32_t> packed_rows(const CodeMatrix& m) {
  std::vector<uint32_t> all;
  for (size_t row = 0; row < m.rows; ++row) {
    const auto words = packed(m.cols, m.bits, [&](size_t col) { return m.code(row, col); });
    all.insert(all.end(), words.begin(), words.end());
  }
  return all;
}

inline std::vector<uint32_t> packed_zeros(const CodeMatrix& m, uint32_t less) {
  std::vector<uint32_t> all;
  for (size_t g = 0; g < m.groups(); ++g) {
    const auto words = packed(m.rows, m.bits, [&](size_t row) { return m.zero(row, g) - less; });
    all.insert(all.end(), words.begin(), words.end());
  }
  return all;
}

inline std::vector<int32_t> group_index(const CodeMatrix& m) {
  std::vector<int32_t> index;
  for (size_t col = 0; col < m.cols; ++col) index.push_back(static_cast<int32_t>(m.group(col)));
  return index;
}

inline void replace_weight(HfDirectory& hf, const std::string& module,
                           std::vector<SafetensorsTensor> parts) {
  std::erase_if(hf.tensors, [&](const auto& tensor) { return tensor.name == module + ".weight"; });
  for (SafetensorsTensor& part : parts) {
    part.name = module + "." + part.name;
    hf.tensors.push_back(std::move(part));
  }
}

// In place of the module's weight, in compressed-tensors' layout.
inline void put_compressed(HfDirectory& hf, const std::string& module, const CodeMatrix& m) {
  const auto words = packed_rows(m);
  std::string scales;
  for (size_t i = 0; i < (m.one_scale ? 1 : m.rows * m.groups()); ++i) {
    scales += as_dtype(m.scale(i / m.groups(), i % m.groups()), m.scale_dtype);
  }
  const std::vector<int64_t> shape = {static_cast<int64_t>(m.rows), static_cast<int64_t>(m.cols)};
  const auto scale_shape =
      m.one_scale ? std::vector<uint64_t>{1} : std::vector<uint64_t>{m.rows, m.groups()};
  std::vector<SafetensorsTensor> parts = {
      {{"weight_packed", {m.rows, words.size() / m.rows}, bytes_of(words)}, "I32"},
      {{"weight_scale", scale_shape, scales}, m.scale_dtype},
      {{"weight_shape", {2}, bytes_of(shape)}, "I64"}};
  if (m.asymmetric) {
    const auto zeros = transposed(packed_zeros(m, 0), m.groups());
    parts.push_back(
        {{"weight_zero_point", {zeros.size() / m.groups(), m.groups()}, bytes_of(zeros)}, "I32"});
  }
  if (!m.index.empty()) {
    parts.push_back({{"weight_g_idx", {m.cols}, bytes_of(group_index(m))}, "I32"});
  }
  replace_weight(hf, module, std::move(parts));
}

// ... in GPTQ's, version 1 or 2.
inline void put_gptq(HfDirectory& hf, const std::string& module, const CodeMatrix& m,
                     int version = 1) {
  const auto words = transposed(packed_rows(m), m.rows);
  const auto zeros = packed_zeros(m, version == 1 ? 1 : 0);
  std::string scales;
  for (size_t i = 0; i < m.rows * m.groups(); ++i) {
    scales += as_dtype(m.scale(i % m.rows, i / m.rows), m.scale_dtype);
  }
  replace_weight(hf, module,
                 {{{"qweight", {words.size() / m.rows, m.rows}, bytes_of(words)}, "I32"},
                  {{"qzeros", {m.groups(), zeros.size() / m.groups()}, bytes_of(zeros)}, "I32"},
                  {{"scales", {m.groups(), m.rows}, scales}, m.scale_dtype},
                  {{"g_idx", {m.cols}, bytes_of(group_index(m))}, "I32"}});
}

inline nlohmann::ordered_json compressed_config(const std::vector<int>& bits) {
  nlohmann::ordered_json groups;
  for (const int b : bits) {
    groups["group_" + std::to_string(b)] = {
        {"targets", {"re:.*"}},
        {"weights", {{"num_bits", b}, {"type", "int"}, {"symmetric", true}}},
        {"input_activations", nullptr}};
  }
  return {{"quant_method", "compressed-tensors"},
          {"format", "pack-quantized"},
          {"config_groups", groups}};
}

inline nlohmann::ordered_json gptq_config(int bits, const std::string& format = "gptq") {
  return {{"quant_method", "gptq"}, {"bits", bits}, {"group_size", 16},
          {"desc_act", false},      {"sym", true},  {"checkpoint_format", format}};
}

}  // namespace isogloss
