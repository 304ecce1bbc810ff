// Logits by libllama, as another program that links it would get them.
#include <ggml.h>
#include <llama.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <memory>

#include "isogloss/base/error.h"
#include "isogloss/verify/logits_impl.h"

namespace isogloss {
namespace {

namespace fs = std::filesystem;

// Takes over what libllama logs while it lives. The first error says what is wrong: later ones only
// that loading failed.
class LlamaLog {
 public:
  LlamaLog() {
    llama_log_get(&callback_, &data_);
    llama_log_set(keep_errors, &first_error_);
  }
  ~LlamaLog() { llama_log_set(callback_, data_); }
  LlamaLog(const LlamaLog&) = delete;
  LlamaLog& operator=(const LlamaLog&) = delete;

  const std::string& first_error() const { return first_error_; }

 private:
  static void keep_errors(ggml_log_level level, const char* text, void* data) {
    std::string& first_error = *static_cast<std::string*>(data);
    if (level != GGML_LOG_LEVEL_ERROR || !first_error.empty()) return;
    first_error = text;
    while (first_error.ends_with('\n')) first_error.pop_back();
  }

  ggml_log_callback callback_ = nullptr;
  void* data_ = nullptr;
  std::string first_error_;
};

// A file without a name: it is gone when the last user is, however the process ends.
class ScratchFile {
 public:
  explicit ScratchFile(const fs::path& directory)
      : path_((directory / "isogloss_verify_XXXXXX").string()) {
    const int file = mkstemp(path_.data());
    if (file < 0) fail(ErrorCode::kIo, "{}: no file can be made in it", directory.string());
    close(file);
  }
  ~ScratchFile() { unlink(path_.c_str()); }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct FreeModel {
  void operator()(llama_model* model) const { llama_model_free(model); }
};
struct FreeContext {
  void operator()(llama_context* context) const { llama_free(context); }
};
using LlamaModel = std::unique_ptr<llama_model, FreeModel>;
using LlamaContext = std::unique_ptr<llama_context, FreeContext>;

struct LlamaBatch : llama_batch {
  explicit LlamaBatch(int32_t tokens) : llama_batch(llama_batch_init(tokens, 0, 1)) {}
  ~LlamaBatch() { llama_batch_free(*this); }
  LlamaBatch(const LlamaBatch&) = delete;
  LlamaBatch& operator=(const LlamaBatch&) = delete;
};

LlamaModel load(const std::string& path, const fs::path& named, const LlamaLog& log) {
  llama_model_params params = llama_model_default_params();
  params.n_gpu_layers = 0;
  LlamaModel model(llama_model_load_from_file(path.c_str(), params));
  if (!model) {
    fail(ErrorCode::kCorrupt, "{}: llama.cpp does not load it: {}", named.string(),
         log.first_error());
  }
  return model;
}

// The same numbers in F32, decoded by libllama.
LlamaModel load_decoded(const fs::path& path, const LlamaOptions& options, const LlamaLog& log) {
  std::error_code unknown;
  const fs::space_info space = fs::space(options.scratch, unknown);
  if (!unknown && space.available < options.f32_bytes) {
    fail(ErrorCode::kIo, "{}: {} bytes are free, and a copy of {} in F32 takes {}",
         options.scratch.string(), space.available, path.string(), options.f32_bytes);
  }
  const ScratchFile copy(options.scratch);
  llama_model_quantize_params params = llama_model_quantize_default_params();
  params.nthread = static_cast<int32_t>(options.threads);
  params.ftype = LLAMA_FTYPE_ALL_F32;
  params.allow_requantize = true;
  params.pure = true;
  if (llama_model_quantize(path.c_str(), copy.path().c_str(), &params) != 0) {
    fail(ErrorCode::kIo, "{}: llama.cpp does not decode it into {}: {}", path.string(),
         options.scratch.string(), log.first_error());
  }
  return load(copy.path(), path, log);
}

llama_context_params context_params(const LlamaOptions& options) {
  llama_context_params params = llama_context_default_params();
  const auto tokens = static_cast<uint32_t>(options.limits.tokens);
  params.n_ctx = std::max(tokens, static_cast<uint32_t>(options.longest));
  params.n_batch = params.n_ubatch = tokens;
  params.n_seq_max = static_cast<uint32_t>(options.limits.sequences);
  params.n_outputs_max_per_seq = tokens;
  params.n_threads = params.n_threads_batch = static_cast<int32_t>(options.threads);
  params.kv_unified = true;  // sequences share the context's memory, and see only their own part
  params.offload_kqv = params.op_offload = false;
  if (options.exact) {
    params.type_k = params.type_v = GGML_TYPE_F32;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  }
  return params;
}

class LlamaLogits : public LogitSource {
 public:
  LlamaLogits(const fs::path& path, size_t vocab_size, const TokenizedCorpus& corpus,
              const LlamaOptions& options)
      : path_(path.string()),
        vocab_size_(vocab_size),
        corpus_(corpus),
        batch_(static_cast<int32_t>(options.limits.tokens)) {
    const LlamaLog log;
    LlamaModel model = options.exact ? load_decoded(path, options, log) : load(path, path, log);
    const auto tokens = llama_vocab_n_tokens(llama_model_get_vocab(model.get()));
    if (static_cast<size_t>(tokens) != vocab_size) {
      fail(ErrorCode::kMismatch, "{}: llama.cpp reads {} tokens, expected {}", path_, tokens,
           vocab_size);
    }
    LlamaContext context(llama_init_from_model(model.get(), context_params(options)));
    if (!context) {
      fail(ErrorCode::kUnsupported, "{}: llama.cpp makes no context: {}", path_, log.first_error());
    }
    model_ = std::move(model);
    context_ = std::move(context);
  }
  ~LlamaLogits() override {
    const LlamaLog quiet;
    context_.reset();
    model_.reset();
  }

  void begin(std::span<const SequenceId>) override {}

  void compute(const Chunk& chunk) override {
    if (chunk.pieces.front().first == 0) {
      llama_memory_clear(llama_get_memory(context_.get()), /*data=*/true);
    }
    const LlamaLog log;
    fill(chunk);
    const int32_t status = llama_decode(context_.get(), batch_);
    if (status != 0) {
      fail(ErrorCode::kUnsupported, "{}: llama.cpp does not compute {} tokens (status {}): {}",
           path_, batch_.n_tokens, status, log.first_error());
    }
    rows_.clear();
    for (const ScoredToken& token : chunk.scored) {
      rows_.push_back(llama_get_logits_ith(context_.get(), static_cast<int32_t>(token.row)));
      ISOGLOSS_ASSERT(rows_.back() != nullptr);
    }
  }

  std::span<const float> row(size_t i) const override { return {rows_[i], vocab_size_}; }

 private:
  void fill(const Chunk& chunk) {
    size_t row = 0;
    for (size_t p = 0; p < chunk.pieces.size(); ++p) {
      const Piece& piece = chunk.pieces[p];
      const auto& tokens = get_sequence(corpus_, piece.sequence).tokens;
      for (size_t i = piece.first; i < piece.first + piece.count; ++i, ++row) {
        batch_.token[row] = tokens[i];
        batch_.pos[row] = static_cast<llama_pos>(i);
        batch_.n_seq_id[row] = 1;
        batch_.seq_id[row][0] = static_cast<llama_seq_id>(p);
        batch_.logits[row] = 0;
      }
    }
    for (const ScoredToken& token : chunk.scored) batch_.logits[token.row] = 1;
    batch_.n_tokens = static_cast<int32_t>(row);
  }

  std::string path_;
  size_t vocab_size_;
  const TokenizedCorpus& corpus_;
  LlamaModel model_;
  LlamaContext context_;
  LlamaBatch batch_;
  std::vector<const float*> rows_;
};

}  // namespace

std::unique_ptr<LogitSource> llama_logits(const fs::path& path, size_t vocab_size,
                                          const TokenizedCorpus& corpus,
                                          const LlamaOptions& options) {
  return std::make_unique<LlamaLogits>(path, vocab_size, corpus, options);
}

std::string llama_name() {
  return fmt::format("llama.cpp {} (ggml {}), CPU", llama_version(), ggml_version());
}

}  // namespace isogloss
