// Contract of isogloss/model/model.h for directories that other programs quantized.
#include <gtest/gtest.h>

#include "isogloss/quantize/quantize.h"
#include "isogloss/study/study.h"
#include "tests/packed_files.h"

namespace isogloss {
namespace {

const std::string kModule = "h.0.mlp.c_fc";  // 24 x 16
constexpr size_t kInputs = 16, kOutputs = 24;

const TensorView& up_of(const Model& model) {
  return model.tensors()[*model.find_tensor(Role::kFfnUp, 0)];
}

std::vector<float> decoded(const TensorView& view) {
  std::vector<float> numbers(view.count());
  decode(view, numbers);
  return numbers;
}

class Packed : public Models {
 protected:
  Model read_compressed(const CodeMatrix& matrix, size_t gap = 0) const {
    HfDirectory hf = tiny_hf();
    hf.gap = gap;
    hf.config["quantization_config"] = compressed_config({matrix.bits});
    put_compressed(hf, kModule, matrix);
    return read(hf);
  }
  Model read_gptq(const CodeMatrix& matrix, int version = 1) const {
    HfDirectory hf = tiny_hf();
    hf.config["quantization_config"] = gptq_config(matrix.bits, version == 1 ? "gptq" : "gptq_v2");
    put_gptq(hf, kModule, matrix, version);
    return read(hf);
  }
};

TEST_F(Packed, ReadsCompressedTensorsOfFourAndEightBits) {
  for (const int bits : {4, 8}) {
    for (const size_t group_size : {4, 8, 16}) {
      for (const bool asymmetric : {false, true}) {
        const CodeMatrix matrix{.bits = bits, .group_size = group_size, .asymmetric = asymmetric};
        const Model model = read_compressed(matrix);
        EXPECT_EQ(decoded(up_of(model)), matrix.numbers());
        EXPECT_EQ(up_of(model).type_name(),
                  fmt::format("int{} {}{}", bits,
                              group_size == 16 ? "channel" : fmt::format("g{}", group_size),
                              asymmetric ? " asym" : ""));
      }
    }
  }
}

TEST_F(Packed, ReadsOneScaleForAWholeMatrix) {
  const CodeMatrix matrix{.one_scale = true};
  EXPECT_EQ(decoded(up_of(read_compressed(matrix))), matrix.numbers());
}

TEST_F(Packed, ReadsGptqOfEveryWidthInBothVersions) {
  for (const int bits : {2, 3, 4, 8}) {
    for (const int version : {1, 2}) {
      for (const bool asymmetric : {false, true}) {
        const CodeMatrix matrix{.bits = bits,
                                .rows = kOutputs,
                                .cols = kInputs,
                                .group_size = 8,
                                .asymmetric = asymmetric};
        const Model model = read_gptq(matrix, version);
        EXPECT_EQ(decoded(up_of(model)), matrix.numbers()) << bits << " bits";
        EXPECT_EQ(up_of(model).type_name(),
                  fmt::format("int{} g8{}", bits, asymmetric ? " asym" : ""));
      }
    }
  }
}

TEST_F(Packed, ReadsColumnsThatGoToGroupsInAnyOrder) {
  CodeMatrix matrix{.group_size = 4, .asymmetric = true};
  for (size_t col = 0; col < kInputs; ++col) {
    matrix.index.push_back(static_cast<int32_t>((col * 7 + 3) % 4));
  }
  EXPECT_EQ(decoded(up_of(read_gptq(matrix))), matrix.numbers());
  EXPECT_EQ(decoded(up_of(read_compressed(matrix))), matrix.numbers());
}

TEST_F(Packed, ReadsScalesOfEveryType) {
  for (const char* dtype : {"F16", "BF16", "F32"}) {
    const CodeMatrix matrix{.group_size = 8, .scale_dtype = dtype};
    EXPECT_EQ(decoded(up_of(read_compressed(matrix))), matrix.numbers()) << dtype;
    EXPECT_EQ(decoded(up_of(read_gptq(matrix))), matrix.numbers()) << dtype;
  }
}

TEST_F(Packed, ReadsBytesAtAnyAddress) {
  const CodeMatrix matrix{.group_size = 4, .asymmetric = true};
  for (size_t gap = 1; gap < 4; ++gap) {
    EXPECT_EQ(decoded(up_of(read_compressed(matrix, gap))), matrix.numbers()) << gap;
  }
}

TEST_F(Packed, ReadsSeveralWidthsInOneModel) {
  const CodeMatrix narrow{};
  const CodeMatrix wide{.bits = 8, .rows = kInputs, .cols = kOutputs, .group_size = 12};
  HfDirectory hf = tiny_hf();
  hf.config["quantization_config"] = compressed_config({4, 8});
  put_compressed(hf, kModule, narrow);
  put_compressed(hf, "h.1.mlp.c_proj", wide);
  Model model = read(hf);
  EXPECT_EQ(decoded(up_of(model)), narrow.numbers());
  const size_t down = *model.find_tensor(Role::kFfnDown, 1);
  EXPECT_EQ(decoded(model.tensors()[down]), wide.numbers());

  hf = tiny_hf();
  hf.config["quantization_config"] = gptq_config(4);
  hf.config["quantization_config"]["dynamic"] = {{"+:.*c_proj", {{"bits", 8}}},
                                                 {"-:.*c_attn", nlohmann::json::object()}};
  put_gptq(hf, kModule, narrow);
  put_gptq(hf, "h.1.mlp.c_proj", wide);
  model = read(hf);
  EXPECT_EQ(decoded(up_of(model)), narrow.numbers());
  EXPECT_EQ(decoded(model.tensors()[down]), wide.numbers());
}

TEST_F(Packed, KeepsTheNameOfTheWeightThatCodesStandFor) {
  HfDirectory hf = tiny_hf();
  hf.config["quantization_config"] = compressed_config({4});
  put_compressed(hf, kModule, {});
  for (auto& tensor : hf.tensors) tensor.name = "transformer." + tensor.name;
  EXPECT_EQ(up_of(read(hf)).hf_name, "transformer.h.0.mlp.c_fc.weight");
}

TEST_F(Packed, CountsEverythingThatStandsForAMatrix) {
  const CodeMatrix matrix{.group_size = 8, .asymmetric = true};
  // Codes, scales and zero points of 2 groups; the shape, or the groups of the columns.
  const uint64_t codes = kOutputs * kInputs / 2 + kOutputs * 2 * 2 + 3 * 2 * 4;
  const Model compressed = read_compressed(matrix);
  EXPECT_EQ(up_of(compressed).size_bytes(), codes + 16);
  EXPECT_EQ(up_of(read_gptq(matrix)).size_bytes(), codes + kInputs * 4);
  EXPECT_NE(compressed.quantized_blocks().find("int4 g8 asym"), std::string::npos);
  uint64_t bytes = 0;
  for (const TensorView& view : compressed.tensors()) bytes += (view.size_bytes() + 31) / 32 * 32;
  EXPECT_EQ(assigned_size(compressed, unchanged(compressed)).size_bytes, bytes);
}

TEST_F(Packed, IsDecodedByRowsAndAfterItWasForgotten) {
  const CodeMatrix matrix{.group_size = 4, .asymmetric = true};
  for (const bool gptq : {false, true}) {
    const Model model = gptq ? read_gptq(matrix) : read_compressed(matrix);
    const TensorView& view = up_of(model);
    EXPECT_FALSE(lies_as(view, TensorType::kF32));
    EXPECT_FALSE(lies_as(view, TensorType::kBf16));
    const std::vector<float> all = matrix.numbers();
    for (const auto& [first, count] : {std::pair<size_t, size_t>{0, 24}, {5, 1}, {7, 17}}) {
      const auto begin = all.begin() + static_cast<ptrdiff_t>(first * kInputs);
      const auto end = begin + static_cast<ptrdiff_t>(count * kInputs);
      const TensorView part = rows_of(rows_of(view, first, 24 - first), 0, count);
      EXPECT_EQ(decoded(part), std::vector(begin, end)) << first;
    }
    model.forget(view);
    EXPECT_EQ(decoded(view), all);
  }
}

TEST_F(Packed, HasTheStatisticsOfItsNumbers) {
  const CodeMatrix matrix{.group_size = 4, .asymmetric = true};
  const Model model = read_compressed(matrix);
  double sum = 0;
  for (const float number : matrix.numbers()) sum += static_cast<double>(number);
  const double mean = sum / static_cast<double>(kInputs * kOutputs);
  bool found = false;
  const WeightStudy study = study_weights(model, {.by_layer = false, .by_tensor = true});
  const size_t up = *model.find_tensor(Role::kFfnUp, 0);
  for (const WeightGroup& group : study.tensors) {
    if (group.tensors != std::vector{up}) continue;
    found = true;
    EXPECT_NEAR(group.statistics.mean, mean, 1e-12);
  }
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace isogloss
