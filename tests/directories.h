// Models with integer codes, and the Hugging Face directories that they are written to.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "isogloss/write/write.h"
#include "tests/codes.h"
#include "tests/families.h"
#include "tests/model_files.h"
#include "tests/temporary_directory.h"

namespace isogloss {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr FileFormat kDirectories[] = {FileFormat::kCompressedTensors, FileFormat::kGptq};
constexpr size_t kGroup = 32;

inline Scheme integer(int bits, Granularity granularity, bool asymmetric = false) {
  return {.kind = SchemeKind::kInteger,
          .bits = bits,
          .granularity = granularity,
          .group_size = granularity == Granularity::kGroup ? kGroup : 0,
          .asymmetric = asymmetric};
}

inline bool is_block_matrix(const TensorView& view) {
  const RoleInfo& role = get_role_info(view.role);
  return role.per_layer() && role.kind == TensorKind::kMatrix;
}

// Different ones by layer and kind, equal where vLLM joins matrices.
inline Scheme mixed_scheme(const TensorView& view, FileFormat format) {
  const bool odd = view.layer % 2 == 1;
  const bool gptq = format == FileFormat::kGptq;
  switch (view.role) {
    case Role::kAttentionOutput:
      return integer(4, Granularity::kTensor);
    case Role::kFfnDown:
      if (odd) return integer(gptq ? 2 : 4, Granularity::kChannel, !gptq);
      return integer(gptq ? 3 : 8, Granularity::kGroup);
    case Role::kFfnGate:
    case Role::kFfnUp:
    case Role::kFfnGateUp:
      return odd ? Scheme{} : integer(4, Granularity::kGroup, true);
    default:
      return odd ? integer(8, Granularity::kChannel, true) : integer(4, Granularity::kGroup);
  }
}

// What GPTQ's layout cannot hold stays as it is: matrices whose outputs are not whole words.
inline bool fits_layout(const Model& model, const TensorView& view) {
  const ModelConfig& config = model.config();
  const size_t narrowest =
      view.role == Role::kQuery || view.role == Role::kKey || view.role == Role::kValue
          ? config.kv_heads * config.head_dim
          : view.rows;
  return narrowest % 32 == 0 && view.cols % 32 == 0;
}

// A model with codes for it, ready to be written.
struct Codes {
  Codes(const fs::path& path, FileFormat format_)
      : model(read_model(path)), assignment(unchanged(model)), format(format_) {
    for (size_t i = 0; i < model.tensors().size(); ++i) {
      const TensorView& view = model.tensors()[i];
      if (is_block_matrix(view) && (format != FileFormat::kGptq || fits_layout(model, view))) {
        assignment.schemes[i] = mixed_scheme(view, format);
      }
    }
  }

  std::vector<float> numbers(size_t tensor) const {
    std::vector<float> numbers(model.tensors()[tensor].count());
    decode(model.tensors()[tensor], numbers);
    return numbers;
  }
  FinishedTensor finish(size_t tensor) const {
    FinishedTensor finished{tensor, std::nullopt, {}};
    const TensorView& view = model.tensors()[tensor];
    const Scheme& scheme = assignment.schemes[tensor];
    if (scheme.kind != SchemeKind::kNone) {
      finished.encoded = nearest_codes(scheme, numbers(tensor), view.rows, view.cols);
    }
    return finished;
  }
  WriteRequest request() {
    for (Scheme& scheme : assignment.schemes) scheme.scale_type = scale_type(model, format);
    WriteRequest request{&model, &assignment, format};
    request.provenance = {{"isogloss.made", "by \"a\" test"}};
    request.shard_bytes = shard_bytes;
    return request;
  }
  void write(const fs::path& target) {
    const auto writer = open_writer(request(), target);
    for (size_t i = 0; i < model.tensors().size(); ++i) writer->write(finish(i));
    writer->commit();
  }

  Model model;
  Assignment assignment;
  FileFormat format;
  uint64_t shard_bytes = 1 << 30;
};

inline Strings names_in(const fs::path& directory) {
  Strings names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.push_back(entry.path().filename());
  }
  std::ranges::sort(names);
  return names;
}

inline std::map<std::string, std::string> contents_of(const fs::path& directory) {
  std::map<std::string, std::string> contents;
  for (const std::string& name : names_in(directory)) {
    contents[name] = read_text_file(directory / name);
  }
  return contents;
}

inline uint64_t weight_bytes(const fs::path& directory) {
  uint64_t bytes = 0;
  for (const std::string& name : names_in(directory)) {
    if (name.ends_with(".safetensors")) bytes += fs::file_size(directory / name);
  }
  return bytes;
}

inline Json json_of(const fs::path& path) {
  return Json::parse(read_text_file(path));
}

inline void expect_read_back(const Codes& codes, const fs::path& directory) {
  const Model found = read_model(directory);
  ASSERT_EQ(found.tensors().size(), codes.model.tensors().size());
  for (size_t i = 0; i < found.tensors().size(); ++i) {
    const TensorView& view = found.tensors()[i];
    const TensorView& source = codes.model.tensors()[i];
    EXPECT_EQ(view.hf_name, source.hf_name);
    std::vector<float> numbers(view.count());
    decode(view, numbers);
    const FinishedTensor finished = codes.finish(i);
    if (finished.encoded) {
      EXPECT_TRUE(view.packed) << view.hf_name;
      EXPECT_EQ(numbers, numbers_of(*finished.encoded)) << view.hf_name;
    } else {
      EXPECT_EQ(view.type, source.type) << view.hf_name;
      EXPECT_TRUE(std::ranges::equal(view.bytes, source.bytes)) << view.hf_name;
    }
  }
}

inline Json header_of(const fs::path& path) {
  const std::string file = read_text_file(path);
  uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof(length));
  EXPECT_EQ(length % 8, 0U);
  return Json::parse(file.substr(sizeof(length), length));
}

class Directory : public testing::Test {
 protected:
  Codes codes(const std::string& family, FileFormat format) const {
    return {family_path(family), format};
  }
  fs::path target() const { return directory_.path() / "out"; }

  TemporaryDirectory directory_;
};

}  // namespace isogloss
