// libFuzzer harness: any bytes as one file of a Hugging Face directory whose other files are valid.
// The first byte chooses the file. Build with clang, -fsanitize=fuzzer,address,undefined,
// isogloss/base, isogloss/tokens and isogloss/model; anything thrown but Error is a finding.
#include "../model_files.h"
#include "isogloss/model/model.h"
#include "isogloss/tokens/tokens.h"

namespace {

// Half of all inputs are weights.
constexpr const char* kFiles[] = {"model.safetensors", "config.json", "model.safetensors",
                                  "tokenizer.json"};

void read_directory(const std::filesystem::path& path) {
  try {
    const isogloss::Model model = isogloss::read_model(path);
    for (const auto& tensor : model.tensors()) {
      std::vector<float> numbers(tensor.count());
      isogloss::decode(tensor, numbers);
    }
    const isogloss::Tokenizer tokenizer(model.vocabulary(), path.string());
    tokenizer.encode("abcd a  b\n");
  } catch (const isogloss::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const isogloss::HfDirectory valid = isogloss::tiny_hf();
  if (size == 0) return 0;
  const isogloss::TempDirectory directory;
  valid.write(directory);
  directory.write(kFiles[data[0] % std::size(kFiles)],
                  {reinterpret_cast<const char*>(data + 1), size - 1});
  read_directory(directory.path());
  return 0;
}
