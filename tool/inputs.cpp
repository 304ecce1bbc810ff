#include "tool/inputs.h"

#include <cstdlib>

#include "isogloss/quantize/quantize.h"
#include "isogloss/text/text.h"

namespace isogloss {

namespace fs = std::filesystem;

BuiltIn find_built_in() {
  const char* chosen = std::getenv("ISOGLOSS_DATA");
  for (const fs::path& share : {fs::path(chosen ? chosen : ""), fs::path(ISOGLOSS_SHARE_DIR)}) {
    if (!share.empty() && fs::exists(share / "parallel")) {
      return {share / "polyglot-12", builtin_corpus_directory(share)};
    }
  }
  const fs::path source(ISOGLOSS_SOURCE_DIR);
  return {source / "models" / "polyglot-12", builtin_corpus_directory(source / "data")};
}

ModelFacts model_facts(const Model& model) {
  ModelFacts facts;
  facts.path = model.path().string();
  facts.name = model.config().name;
  facts.family = get_family_info(model.config().family).gguf_name;
  facts.layers = model.config().layers;
  for (const auto& tensor : model.tensors()) facts.parameters += tensor.count();
  const ModelSize size = assigned_size(model, unchanged(model));
  facts.size_bytes = size.size_bytes;
  facts.bits_per_weight = size.bits_per_weight;
  facts.quantized_blocks = model.quantized_blocks();
  return facts;
}

}  // namespace isogloss
