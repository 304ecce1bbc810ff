// Contract of isogloss/write/write.h for Hugging Face directories: what they cannot hold.
#include <gtest/gtest.h>

#include "tests/directories.h"

namespace isogloss {
namespace {

Failure failure_of_planning(Codes& codes, TensorType scales = TensorType::kBf16) {
  WriteRequest request = codes.request();
  for (Scheme& scheme : codes.assignment.schemes) scheme.scale_type = scales;
  return failure_of([&] { plan_write(request); });
}

TEST_F(Directory, RefusesSchemesThatTheLayoutLacks) {
  Codes llama = codes("llama", FileFormat::kCompressedTensors);
  const size_t up = *llama.model.find_tensor(Role::kFfnDown, 1);
  const auto refuses = [&](const Scheme& scheme, const Strings& parts) {
    Strings all = {"model.layers.1.mlp.down_proj.weight"};
    all.insert(all.end(), parts.begin(), parts.end());
    const Scheme before = std::exchange(llama.assignment.schemes[up], scheme);
    const auto result = says(failure_of_planning(llama), ErrorCode::kUnsupported, all);
    llama.assignment.schemes[up] = before;
    return result;
  };
  EXPECT_TRUE(refuses(parse_scheme("q4_k"), {"q4_k", "GGUF"}));
  EXPECT_TRUE(refuses(parse_scheme("seed-int4"), {"seed-int4", "32 bits"}));
  for (const int bits : {2, 3}) {
    EXPECT_TRUE(refuses(integer(bits, Granularity::kGroup), {"4 and 8", "gptq"}));
  }
  Scheme hqq = integer(4, Granularity::kGroup);
  hqq.method = Method::kHqq;
  EXPECT_TRUE(refuses(hqq, {"zero points are integers", "q4_1"}));
  EXPECT_TRUE(says(failure_of_planning(llama, TensorType::kF16), ErrorCode::kUnsupported,
                   {"scales are f16, expected bf16"}));
  EXPECT_FALSE(failure_of_planning(llama).code);
}

TEST_F(Directory, RefusesCodesOfEmbeddingsAndOfTheHead) {
  for (const FileFormat format : kDirectories) {
    Codes llama = codes("llama", format);
    for (const Role role : {Role::kTokenEmbedding, Role::kHead, Role::kOutputNorm}) {
      const size_t i = *llama.model.find_tensor(role);
      llama.assignment.schemes[i] = integer(4, Granularity::kChannel);
      EXPECT_TRUE(says(failure_of_planning(llama, scale_type(llama.model, format)),
                       ErrorCode::kUnsupported,
                       {llama.model.tensors()[i].hf_name, "only the matrices of the blocks"}));
      llama.assignment.schemes[i] = {};
    }
  }
}

TEST_F(Directory, RefusesDifferentSchemesForWhatVllmJoins) {
  for (const FileFormat format : kDirectories) {
    Codes llama = codes("llama", format);
    const TensorType scales = scale_type(llama.model, format);
    const size_t key = *llama.model.find_tensor(Role::kKey, 1);
    llama.assignment.schemes[key].bits = 4;
    EXPECT_TRUE(says(failure_of_planning(llama, scales), ErrorCode::kUnsupported,
                     {"layers.1.self_attn.q_proj.weight' (int8 channel asym)",
                      "layers.1.self_attn.k_proj.weight' (int4 channel asym)", "vLLM"}));
    llama.assignment.schemes[key].bits = 8;
    const size_t up = *llama.model.find_tensor(Role::kFfnUp, 0);
    llama.assignment.schemes[up] = {};
    EXPECT_TRUE(says(failure_of_planning(llama, scales), ErrorCode::kUnsupported,
                     {"gate_proj.weight' (int4 g32 asym)", "up_proj.weight' (unquantized)"}));
  }
}

TEST_F(Directory, RefusesMatricesThatAreNoWholeWordsOfGptq) {
  Codes gemma = codes("gemma", FileFormat::kGptq);  // one head of 16 for keys and values
  for (const Role role : {Role::kQuery, Role::kKey, Role::kValue}) {
    gemma.assignment.schemes[*gemma.model.find_tensor(role, 0)] = integer(4, Granularity::kGroup);
  }
  EXPECT_TRUE(says(failure_of_planning(gemma, TensorType::kF16), ErrorCode::kUnsupported,
                   {"layers.0.self_attn.k_proj.weight", "16 x 32", "multiples of 32"}));
  gemma.format = FileFormat::kCompressedTensors;
  for (size_t i = 0; i < gemma.assignment.schemes.size(); ++i) {
    const TensorView& view = gemma.model.tensors()[i];
    if (is_block_matrix(view)) gemma.assignment.schemes[i] = integer(4, Granularity::kGroup, true);
  }
  gemma.write(target());
  expect_read_back(gemma, target());
}

TEST_F(Directory, RefusesASourceWithoutWhatADirectoryRepeats) {
  const fs::path file = directory_.path() / "model.gguf";
  convert_to_gguf(read_model(family_path("llama")), {}, file, [](std::string_view, double) {});
  for (const FileFormat format : kDirectories) {
    Codes from_file(file, format);
    from_file.assignment = unchanged(from_file.model);
    EXPECT_TRUE(says(failure_of_planning(from_file), ErrorCode::kUnsupported,
                     {file.string(), "is a GGUF file", "Hugging Face directory"}));
  }
  Codes llama = codes("llama", FileFormat::kGptq);
  llama.write(target());
  Codes again(target(), FileFormat::kCompressedTensors);
  EXPECT_TRUE(says(failure_of_planning(again), ErrorCode::kUnsupported,
                   {"q_proj.weight' is quantized already (int4 channel)", "unquantized model"}));
}

}  // namespace
}  // namespace isogloss
