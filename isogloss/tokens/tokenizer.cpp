#include <limits>
#include <variant>

#include "isogloss/base/error.h"
#include "isogloss/tokens/llama_tokenizer_impl.h"
#include "isogloss/tokens/pipeline_impl.h"

namespace isogloss {
namespace {

// A vocabulary from a tokenizer.json, perhaps with names for further ids at its end.
class PipelineTokenizer {
 public:
  PipelineTokenizer(const Vocabulary& vocabulary, const std::string& origin)
      : pipeline_(vocabulary.pipeline) {
    if (vocabulary.size() < pipeline_->token_bytes.size()) {
      fail(ErrorCode::kCorrupt, "{}: the tokenizer has {} tokens, and its ids go up to {}", origin,
           vocabulary.size(), pipeline_->token_bytes.size() - 1);
    }
  }

  std::vector<int32_t> encode(std::string_view text) const { return pipeline_->encode(text); }
  std::optional<int32_t> bos() const {
    if (pipeline_->before.empty()) return std::nullopt;
    return pipeline_->before.front();
  }
  size_t piece_bytes(int32_t token) const {
    const auto& bytes = pipeline_->token_bytes;
    return static_cast<size_t>(token) < bytes.size() ? bytes[static_cast<size_t>(token)] : 0;
  }

 private:
  std::shared_ptr<const Pipeline> pipeline_;
};

using EitherTokenizer = std::variant<PipelineTokenizer, LlamaTokenizer>;

EitherTokenizer choose(const Vocabulary& vocabulary, const std::string& origin) {
  if (vocabulary.pipeline) return PipelineTokenizer(vocabulary, origin);
  return LlamaTokenizer(vocabulary, origin);
}

}  // namespace

struct Tokenizer::Impl {
  EitherTokenizer tokenizer;
  std::string origin;
};

Tokenizer::Tokenizer(const Vocabulary& vocabulary, const std::string& origin)
    : impl_(std::make_unique<Impl>(Impl{choose(vocabulary, origin), origin})) {}

Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  if (text.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max() / 2)) {
    fail(ErrorCode::kBadArgument, "{}: a text of {} bytes is too long to tokenize at once",
         impl_->origin, text.size());
  }
  return std::visit([&](const auto& tokenizer) { return tokenizer.encode(text); },
                    impl_->tokenizer);
}

std::optional<int32_t> Tokenizer::bos() const {
  return std::visit([](const auto& tokenizer) { return tokenizer.bos(); }, impl_->tokenizer);
}

size_t Tokenizer::piece_bytes(int32_t token) const {
  return std::visit([&](const auto& tokenizer) { return tokenizer.piece_bytes(token); },
                    impl_->tokenizer);
}

}  // namespace isogloss
