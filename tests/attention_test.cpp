// Contract of packed_attention() in isogloss/device/device_impl.h.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "tests/device_graph.h"

namespace isogloss {
namespace {

// For values up to 1: scores of size 10 are off by 1e-6 after a float sum over a head, and their
// exponentials by as much of themselves. Measured: 5e-7.
constexpr double kAttentionTolerance = 3e-6;

struct AttentionCase {
  size_t heads, kv_heads, head_dim, window;
  float scale;
  float softcap = 0;
  bool slopes = false;
};

// Sequences of 1, 2, 17 and 130 tokens; of GPT-2's, Gemma's and Llama's kinds of heads, one with a
// width that no vector divides, windows shorter and longer than a sequence.
const std::vector<size_t> kStarts = {0, 1, 3, 20, 150};
constexpr AttentionCase kAttentionCases[] = {
    {4, 4, 64, 0, 0.125F},    {4, 1, 32, 0, 0.2F}, {6, 2, 7, 0, 3},
    {9, 3, 16, 5, 0.25F},     {2, 1, 24, 128, 1},  {3, 3, 8, 1, 1},
    {2, 2, 8, 1000, 1},       {4, 2, 16, 0, 1, 2}, {3, 3, 32, 7, 0.5F, 0, true},
    {4, 4, 16, 0, 1, 5, true}};

// What each head's score loses a position of distance.
constexpr float kSlopes[] = {0.5F, 0.25F, 0.1F, 0};

AttentionShape shape_of(const AttentionCase& attention) {
  return {kStarts,
          attention.heads,
          attention.kv_heads,
          attention.head_dim,
          attention.scale,
          attention.window,
          attention.softcap,
          attention.slopes ? std::span(kSlopes).first(attention.heads) : std::span<const float>()};
}

struct QueryKeyValue {
  explicit QueryKeyValue(const AttentionCase& attention)
      : q_cols(attention.heads * attention.head_dim),
        kv_cols(attention.kv_heads * attention.head_dim),
        q(some_numbers(kStarts.back() * q_cols, 1)),
        k(some_numbers(kStarts.back() * kv_cols, 2)),
        v(some_numbers(kStarts.back() * kv_cols, 3)) {}

  size_t q_cols, kv_cols;
  Numbers q, k, v;
};

Numbers attend(size_t threads, const AttentionShape& shape, QueryKeyValue& numbers) {
  Device device("cpu", threads);
  DeviceGraph graph(device);
  return graph.compute(packed_attention(graph.context(), graph.input(numbers.q, numbers.q_cols),
                                        graph.input(numbers.k, numbers.kv_cols),
                                        graph.input(numbers.v, numbers.kv_cols), shape));
}

// One query of one head over the tokens from..token, into head_dim places of `out`.
void plain_attend(const AttentionCase& attention, const QueryKeyValue& numbers, size_t head,
                  size_t from, size_t token, double* out) {
  const size_t dim = attention.head_dim;
  const float* query = &numbers.q[token * numbers.q_cols + head * dim];
  const size_t kv_offset = head * attention.kv_heads / attention.heads * dim;
  std::vector<double> weights;
  double sum = 0;
  for (size_t j = from; j <= token; ++j) {
    double score = 0;
    for (size_t d = 0; d < dim; ++d) {
      score += static_cast<double>(query[d]) *
               static_cast<double>(numbers.k[j * numbers.kv_cols + kv_offset + d]);
    }
    score *= static_cast<double>(attention.scale);
    if (const auto cap = static_cast<double>(attention.softcap); cap != 0) {
      score = cap * std::tanh(score / cap);
    }
    if (attention.slopes)
      score -= static_cast<double>(kSlopes[head]) * static_cast<double>(token - j);
    weights.push_back(std::exp(score));
    sum += weights.back();
  }
  for (size_t j = from; j <= token; ++j) {
    for (size_t d = 0; d < dim; ++d) {
      out[d] += weights[j - from] / sum *
                static_cast<double>(numbers.v[j * numbers.kv_cols + kv_offset + d]);
    }
  }
}

std::vector<double> plain_attention(const AttentionCase& attention, const QueryKeyValue& numbers) {
  std::vector<double> out(numbers.q.size());
  for (size_t s = 0; s + 1 < kStarts.size(); ++s) {
    for (size_t token = kStarts[s]; token < kStarts[s + 1]; ++token) {
      size_t from = kStarts[s];
      if (attention.window != 0 && token + 1 > from + attention.window) {
        from = token + 1 - attention.window;
      }
      for (size_t head = 0; head < attention.heads; ++head) {
        plain_attend(attention, numbers, head, from, token,
                     &out[token * numbers.q_cols + head * attention.head_dim]);
      }
    }
  }
  return out;
}

std::string name_of(const AttentionCase& attention) {
  return std::to_string(attention.heads) + " heads, " + std::to_string(attention.kv_heads) +
         " of keys, width " + std::to_string(attention.head_dim) + ", window " +
         std::to_string(attention.window);
}

TEST(PackedAttention, EqualsASoftmaxInDouble) {
  for (const AttentionCase& attention : kAttentionCases) {
    QueryKeyValue numbers(attention);
    const Numbers found = attend(2, shape_of(attention), numbers);
    const std::vector<double> expected = plain_attention(attention, numbers);
    ASSERT_EQ(found.size(), expected.size());
    double largest = 0;
    for (size_t i = 0; i < found.size(); ++i) {
      largest = std::max(largest, std::abs(static_cast<double>(found[i]) - expected[i]));
    }
    EXPECT_LT(largest, kAttentionTolerance) << name_of(attention);
  }
}

TEST(PackedAttention, ReadsTheColumnsOfAFusedProduct) {
  for (const AttentionCase& attention : kAttentionCases) {
    QueryKeyValue numbers(attention);
    const size_t q = numbers.q_cols;
    const size_t kv = numbers.kv_cols;
    Numbers fused;
    for (size_t token = 0; token < kStarts.back(); ++token) {
      for (const auto& [part, cols] :
           {std::pair(&numbers.q, q), {&numbers.k, kv}, {&numbers.v, kv}}) {
        fused.insert(fused.end(), &(*part)[token * cols], &(*part)[token * cols] + cols);
      }
    }
    Device device("cpu", 2);
    DeviceGraph graph(device);
    ggml_tensor* all = graph.input(fused, q + 2 * kv);
    const AttentionShape shape = shape_of(attention);
    ggml_tensor* node =
        packed_attention(graph.context(), graph.columns(all, 0, q), graph.columns(all, q, kv),
                         graph.columns(all, q + kv, kv), shape);
    EXPECT_EQ(graph.compute(node), attend(2, shape, numbers)) << name_of(attention);
  }
}

TEST(PackedAttention, DoesNotDependOnTheNumberOfThreads) {
  for (const AttentionCase& attention : kAttentionCases) {
    QueryKeyValue numbers(attention);
    const Numbers expected = attend(1, shape_of(attention), numbers);
    for (const size_t threads : kThreadCounts) {
      EXPECT_EQ(attend(threads, shape_of(attention), numbers), expected)
          << name_of(attention) << ", " << threads << " threads";
    }
  }
}

TEST(PackedAttention, DoesNotDependOnTheOtherSequencesOfTheBatch) {
  const AttentionCase attention = kAttentionCases[1];
  QueryKeyValue numbers(attention);
  const Numbers expected = attend(2, shape_of(attention), numbers);
  for (size_t s = 0; s + 1 < kStarts.size(); ++s) {
    QueryKeyValue alone = numbers;
    const auto cut = [&](Numbers& part, size_t cols) {
      part = Numbers(&part[kStarts[s] * cols],
                     &part[kStarts[s] * cols] + (kStarts[s + 1] - kStarts[s]) * cols);
    };
    cut(alone.q, alone.q_cols);
    cut(alone.k, alone.kv_cols);
    cut(alone.v, alone.kv_cols);
    const std::vector<size_t> starts = {0, kStarts[s + 1] - kStarts[s]};
    AttentionShape shape = shape_of(attention);
    shape.starts = starts;
    const Numbers found = attend(2, shape, alone);
    EXPECT_TRUE(std::ranges::equal(
        found, std::span(expected).subspan(kStarts[s] * alone.q_cols, found.size())))
        << "sequence " << s;
  }
}

TEST(PackedAttention, LetsNoNumberThatIsNotFinitePassUnseen) {
  const AttentionCase attention = kAttentionCases[0];
  QueryKeyValue numbers(attention);
  const size_t token = 10;  // of the sequence of 17
  numbers.k[token * numbers.kv_cols] = std::numeric_limits<float>::quiet_NaN();
  const Numbers found = attend(2, shape_of(attention), numbers);
  for (size_t t = 0; t < kStarts.back(); ++t) {
    const bool sees = t >= token && t < kStarts[3];
    EXPECT_EQ(std::isnan(found[t * numbers.q_cols]), sees) << "token " << t;
    EXPECT_FALSE(std::isnan(found[t * numbers.q_cols + attention.head_dim])) << "token " << t;
  }
}

}  // namespace
}  // namespace isogloss
