// The forward pass of the shipped model against transformers, block by block: a committed dump,
// whose layout tests/reference/make_logits.py describes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "isogloss/base/file.h"
#include "tests/loaded_model.h"
#include "tests/nmse.h"

namespace isogloss {
namespace {

// What isogloss promises of its logits in F32.
constexpr double kLogitNmse = 1e-6;

// Two orders of the same sums in F32 differ by 1e-7 of their size, squared 1e-14; twelve blocks let
// that grow to 1.2e-11. A GELU from an F16 table, the finest mistake known, is beyond 1e-9.
constexpr double kHiddenNmse = 1e-10;

// Nats; measured 1.3e-5, what the same roundings leave in logits of size 10.
constexpr double kLogSumTolerance = 1e-4;

using Numbers = std::vector<float>;

// One sequence: its tokens, and what came out or should come out.
struct Sample {
  std::string name;
  std::vector<int32_t> ids;
  std::vector<size_t> positions;
  std::vector<Numbers> hidden;      // [embeddings, then every block] at the last position
  std::vector<Numbers> logits;      // [position][sampled token]
  std::vector<double> log_sum;      // [position], of all logits
  std::vector<size_t> most_likely;  // [position]
};

struct Reference {
  std::vector<size_t> vocab_ids;
  std::vector<Sample> samples;
};

std::vector<Numbers> rows_at(const Numbers& all, size_t offset, const nlohmann::json& shape) {
  const size_t rows = shape[0];
  const size_t cols = shape[1];
  std::vector<Numbers> result;
  for (size_t row = 0; row < rows; ++row) {
    const auto first = all.begin() + static_cast<std::ptrdiff_t>(offset + row * cols);
    result.emplace_back(first, first + static_cast<std::ptrdiff_t>(cols));
  }
  return result;
}

Reference read_reference() {
  const auto stem = repository_path("tests/reference/logits_polyglot-12");
  const auto json = nlohmann::json::parse(read_text_file(stem.string() + ".json"));
  const std::string bytes = read_text_file(stem.string() + ".bin");
  Numbers all(json["floats"].get<size_t>());
  EXPECT_EQ(bytes.size(), all.size() * sizeof(float));
  std::memcpy(all.data(), bytes.data(), std::min(bytes.size(), all.size() * sizeof(float)));
  Reference reference{json["vocab_ids"], {}};
  for (const auto& entry : json["sequences"]) {
    reference.samples.push_back({entry["name"], entry["ids"], entry["positions"],
                                 rows_at(all, entry["hidden_offset"], json["hidden_shape"]),
                                 rows_at(all, entry["logits_offset"], json["logits_shape"]),
                                 entry["logsumexp"], entry["argmax"]});
  }
  return reference;
}

double log_sum_of(std::span<const float> logits) {
  const auto most = static_cast<double>(*std::ranges::max_element(logits));
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - most);
  return most + std::log(sum);
}

// The last position of each sequence of `batch`.
void keep_last_rows(const Batch& batch, const HiddenStates& hidden, std::vector<Sample>& results) {
  for (size_t s = 0; s < results.size(); ++s) {
    const auto row = hidden.row(batch.starts[s + 1] - 1);
    results[s].hidden.emplace_back(row.begin(), row.end());
  }
}

void keep_logits(const HiddenStates& logits, const std::vector<size_t>& vocab_ids, Sample& result) {
  for (size_t row = 0; row < logits.tokens(); ++row) {
    const auto all = logits.row(row);
    result.log_sum.push_back(log_sum_of(all));
    result.most_likely.push_back(static_cast<size_t>(std::ranges::max_element(all) - all.begin()));
    result.logits.emplace_back();
    for (const size_t id : vocab_ids) result.logits.back().push_back(all[id]);
  }
}

// All of `samples` in one batch, by our own engine.
std::vector<Sample> compute(LoadedModel& ours, std::span<const Sample> samples,
                            const std::vector<size_t>& vocab_ids) {
  Batch batch;
  std::vector<Sample> results;
  for (const Sample& sample : samples) {
    batch.append(sample.ids);
    results.push_back({sample.name, sample.ids, sample.positions, {}, {}, {}, {}});
  }
  HiddenStates hidden = ours.engine.embed(ours.stored(), batch);
  keep_last_rows(batch, hidden, results);
  for (size_t half = 0; half < Engine::halves(ours.model); ++half) {
    ours.engine.run_half(ours.stored(), half, batch, hidden);
    if (half % 2 == 1) keep_last_rows(batch, hidden, results);
  }
  for (size_t s = 0; s < results.size(); ++s) {
    HiddenStates rows(samples[s].positions.size(), hidden.width());
    for (size_t i = 0; i < rows.tokens(); ++i) {
      std::ranges::copy(hidden.row(batch.starts[s] + samples[s].positions[i]), rows.row(i).begin());
    }
    keep_logits(ours.head(ours.stored(), std::move(rows)), vocab_ids, results[s]);
  }
  return results;
}

void expect_equal(const Sample& found, const Sample& expected) {
  SCOPED_TRACE(expected.name);
  ASSERT_EQ(found.hidden.size(), expected.hidden.size());
  for (size_t stage = 0; stage < expected.hidden.size(); ++stage) {
    EXPECT_LT(nmse(found.hidden[stage], expected.hidden[stage]), kHiddenNmse)
        << (stage == 0 ? "embeddings" : "block " + std::to_string(stage - 1));
  }
  ASSERT_EQ(found.logits.size(), expected.logits.size());
  for (size_t i = 0; i < expected.logits.size(); ++i) {
    SCOPED_TRACE("position " + std::to_string(expected.positions[i]));
    EXPECT_LT(nmse(found.logits[i], expected.logits[i]), kLogitNmse);
    EXPECT_NEAR(found.log_sum[i], expected.log_sum[i], kLogSumTolerance);
    EXPECT_EQ(found.most_likely[i], expected.most_likely[i]);
  }
}

TEST(ForwardReference, EqualsTransformersWhenAllSequencesArePacked) {
  const Reference reference = read_reference();
  LoadedModel ours(repository_path("models/polyglot-12"), /*threads=*/2);
  const auto found = compute(ours, reference.samples, reference.vocab_ids);
  ASSERT_FALSE(found.empty());
  for (size_t s = 0; s < found.size(); ++s) expect_equal(found[s], reference.samples[s]);
}

TEST(ForwardReference, EqualsTransformersWhenEachSequenceIsAlone) {
  const Reference reference = read_reference();
  LoadedModel ours(repository_path("models/polyglot-12"));
  for (const Sample& sample : reference.samples) {
    expect_equal(compute(ours, {&sample, 1}, reference.vocab_ids).front(), sample);
  }
}

// As make_logits.py makes the sequence "mixed": BOS, then the lines after the third of every
// language by turns.
std::vector<int32_t> mixed_ids(const Corpus& corpus, const Tokenizer& tokenizer, size_t count) {
  std::vector<int32_t> ids = {tokenizer.bos().value()};
  for (size_t line = 3; ids.size() < count; ++line) {
    for (const auto& language : corpus.languages) {
      const auto more = tokenizer.encode(language.units.at(line));
      ids.insert(ids.end(), more.begin() + 1, more.end());
    }
  }
  ids.resize(count);
  return ids;
}

TEST(ForwardReference, TokensAreOurTokenizers) {
  const Reference reference = read_reference();
  const Model model = read_model(repository_path("models/polyglot-12"));
  const Tokenizer tokenizer(model.vocabulary(), "polyglot-12");
  const Corpus corpus = builtin_corpus({"en", "de", "ru", "he", "zh", "ko"}, 0);
  for (const Sample& sample : reference.samples) {
    if (sample.name == "mixed") {
      EXPECT_EQ(mixed_ids(corpus, tokenizer, sample.ids.size()), sample.ids);
      continue;
    }
    const size_t colon = sample.name.find(':');
    const auto language =
        std::ranges::find(corpus.languages, sample.name.substr(0, colon), &LanguageText::code);
    ASSERT_NE(language, corpus.languages.end()) << sample.name;
    const size_t line = std::stoul(sample.name.substr(colon + 1));
    EXPECT_EQ(tokenizer.encode(language->units.at(line - 1)), sample.ids) << sample.name;
  }
}

}  // namespace
}  // namespace isogloss
