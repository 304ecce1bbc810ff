// libllama as the independent implementation: its logits for a token sequence, in F32.
#pragma once

#include <ggml.h>
#include <gguf.h>
#include <gtest/gtest.h>
#include <llama.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tests/temporary_directory.h"

namespace isogloss {

class LlamaRunner {
 public:
  explicit LlamaRunner(const std::filesystem::path& path) {
    llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
    llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = 0;
    model_.reset(llama_model_load_from_file(path.c_str(), params));
  }

  // Row-major [tokens][vocabulary]. Keys and values in F32 and no flash attention, so that nothing
  // but the weights is rounded.
  std::vector<float> logits(const std::vector<int32_t>& tokens) const {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = static_cast<uint32_t>(tokens.size() + 8);
    params.n_batch = params.n_ubatch = static_cast<uint32_t>(tokens.size());
    params.type_k = params.type_v = GGML_TYPE_F32;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.n_threads = params.n_threads_batch = 2;
    const std::unique_ptr<llama_context, decltype(&llama_free)> context(
        llama_init_from_model(model_.get(), params), llama_free);
    llama_batch batch = llama_batch_init(static_cast<int32_t>(tokens.size()), 0, 1);
    for (size_t i = 0; i < tokens.size(); ++i) {
      batch.token[i] = tokens[i];
      batch.pos[i] = static_cast<int32_t>(i);
      batch.n_seq_id[i] = 1;
      batch.seq_id[i][0] = 0;
      batch.logits[i] = 1;
    }
    batch.n_tokens = static_cast<int32_t>(tokens.size());
    const int status = llama_decode(context.get(), batch);
    llama_batch_free(batch);
    EXPECT_EQ(status, 0);
    const size_t vocabulary =
        static_cast<size_t>(llama_vocab_n_tokens(llama_model_get_vocab(model_.get())));
    const float* all = llama_get_logits(context.get());
    return {all, all + tokens.size() * vocabulary};
  }

  explicit operator bool() const { return model_ != nullptr; }

 private:
  struct Free {
    void operator()(llama_model* model) const { llama_model_free(model); }
  };
  std::unique_ptr<llama_model, Free> model_;
};

// The same GGUF file with every tensor stored as F32, decoded by ggml: what its numbers are,
// without the rounding of activations that ggml's products over quantized weights add.
inline void write_as_f32(const std::filesystem::path& source, const std::filesystem::path& target) {
  ggml_context* stored = nullptr;
  gguf_context* read = gguf_init_from_file(source.c_str(), {/*no_alloc=*/false, &stored});
  gguf_context* copy = gguf_init_empty();
  gguf_set_kv(copy, read);
  const auto count = static_cast<size_t>(gguf_get_n_tensors(read));
  ggml_context* context = ggml_init({(count + 1) * ggml_tensor_overhead(), nullptr, true});
  std::vector<std::vector<float>> data;
  for (size_t i = 0; i < count; ++i) {
    const char* name = gguf_get_tensor_name(read, static_cast<int64_t>(i));
    const ggml_tensor* tensor = ggml_get_tensor(stored, name);
    const int64_t numbers = ggml_nelements(tensor);
    std::vector<float>& decoded = data.emplace_back(static_cast<size_t>(numbers));
    if (tensor->type == GGML_TYPE_F32) {
      std::copy_n(static_cast<const float*>(tensor->data), numbers, decoded.begin());
    } else {
      ggml_get_type_traits(tensor->type)->to_float(tensor->data, decoded.data(), numbers);
    }
    ggml_tensor* written = ggml_new_tensor(context, GGML_TYPE_F32, GGML_MAX_DIMS, tensor->ne);
    ggml_set_name(written, name);
    written->data = decoded.data();
    gguf_add_tensor(copy, written);
  }
  gguf_write_to_file(copy, target.c_str(), /*only_meta=*/false);
  ggml_free(context);
  ggml_free(stored);
  gguf_free(copy);
  gguf_free(read);
}

}  // namespace isogloss
