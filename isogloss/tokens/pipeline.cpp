#include "isogloss/base/error.h"
#include "isogloss/tokens/pipeline_impl.h"
#include "isogloss/tokens/unicode_impl.h"

namespace isogloss {
namespace {

std::vector<int32_t> encode_text(const Pipeline& pipeline, std::string_view text) {
  auto pieces = pipeline.added.extract(repair_utf8(text), pipeline.normalizers);
  for (const PreTokenizer& step : pipeline.pre_tokenizers) {
    std::vector<Piece> words;
    for (Piece& piece : pieces) {
      if (piece.token) {
        words.push_back(std::move(piece));
      } else {
        pre_tokenize(step, std::move(piece), words);
      }
    }
    pieces = std::move(words);
  }
  std::vector<int32_t> tokens = pipeline.before;
  for (const Piece& piece : pieces) {
    if (piece.token) {
      tokens.push_back(*piece.token);
    } else {
      std::visit([&](const auto& model) { model.encode(piece.text, tokens); }, pipeline.model);
    }
  }
  tokens.insert(tokens.end(), pipeline.after.begin(), pipeline.after.end());
  return tokens;
}

}  // namespace

std::vector<int32_t> Pipeline::encode(std::string_view text) const {
  try {
    return encode_text(*this, text);
  } catch (const Error& error) {
    fail(error.code(), "{}: {}", origin, error.what());
  }
}

}  // namespace isogloss
