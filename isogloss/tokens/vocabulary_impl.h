// What a GGUF file says about a tokenizer, from a tokenizer.json.
#pragma once

#include "isogloss/tokens/pipeline_impl.h"
#include "isogloss/tokens/tokens.h"

namespace isogloss {

// Fills what llama.cpp's converter would write, from the model's own tokens and the types of added
// ones; and pipeline.token_bytes.
void finish_vocabulary(Pipeline& pipeline, Vocabulary& vocabulary);

// llama.cpp's name for normalizers and pre-tokenizers like these; "" when it has none.
std::string find_llama_pre_tokenizer(const Pipeline& pipeline);

}  // namespace isogloss
