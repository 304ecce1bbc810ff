// Contracts of isogloss/device/device.h and device_impl.h.
#include "isogloss/device/device.h"

#include <ggml-alloc.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <numbers>

#include "isogloss/base/random.h"
#include "isogloss/device/device_impl.h"
#include "tests/model_files.h"

namespace isogloss {
namespace {

using Numbers = std::vector<float>;

// Of the lengths of the two vectors of a product: float sums of 256 terms. Measured: 2e-7.
constexpr double kLinearTolerance = 1e-6;

// For values up to 1: scores of size 10 are off by 1e-6 after a float sum over a head, and their
// exponentials by as much of themselves. Measured: 5e-7.
constexpr double kAttentionTolerance = 3e-6;

// Of |x|, times |up|: vector_exp is off by 2e-7, and float roundings of a sigmoid's argument u move
// it by a few u s(u) (1 - s(u)) * 6e-8, at most 1.3e-8 each. Measured: 1.5e-7.
constexpr double kActivationTolerance = 4e-7;

// Of (|x| + |mean|) |scale| / deviation + |bias|: six roundings to float, of the mean, the distance
// from it, the factor, two products and the sum with the bias. Measured: 1.8e-7.
constexpr double kNormTolerance = 6 * 0x1p-24;

// Of the cap: 2 / (1 + e^u) is up to 2 and off by two roundings to float, and an error of e^u, of
// 2e-7 and two roundings of u, moves it by less than half as much. Measured: 2.1e-7.
constexpr double kSoftCapTolerance = 3e-7;

constexpr size_t kThreadCounts[] = {1, 2, 3, 7};

Numbers some_numbers(size_t count, uint64_t seed) {
  Random random(seed);
  Numbers numbers(count);
  for (float& number : numbers) number = static_cast<float>(2 * random.uniform() - 1);
  return numbers;
}

// Tensors over numbers of the test, and what is computed from them on a device.
class Graph {
 public:
  explicit Graph(Device& device)
      : device_(device), context_(ggml_init({kMemory, nullptr, /*no_alloc=*/true})) {}
  ~Graph() { ggml_free(context_); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  ggml_context* context() { return context_; }

  // Row-major [rows][cols].
  ggml_tensor* input(Numbers& numbers, size_t cols) {
    ggml_tensor* tensor = ggml_new_tensor_2d(context_, GGML_TYPE_F32, static_cast<int64_t>(cols),
                                             static_cast<int64_t>(numbers.size() / cols));
    tensor->data = numbers.data();
    return tensor;
  }

  // Columns first .. first + count of each row.
  ggml_tensor* columns(ggml_tensor* tensor, size_t first, size_t count) {
    return ggml_view_2d(context_, tensor, static_cast<int64_t>(count), tensor->ne[1], tensor->nb[1],
                        first * sizeof(float));
  }

  Numbers compute(ggml_tensor* result) {
    Numbers numbers(static_cast<size_t>(ggml_nelements(result)));
    result->data = numbers.data();
    ggml_cgraph* graph = ggml_new_graph(context_);
    ggml_build_forward_expand(graph, result);
    ggml_backend_t backend = device_.impl().backend;
    ggml_gallocr_t allocator = ggml_gallocr_new(ggml_backend_get_default_buffer_type(backend));
    EXPECT_TRUE(ggml_gallocr_alloc_graph(allocator, graph));
    EXPECT_EQ(ggml_backend_graph_compute(backend, graph), GGML_STATUS_SUCCESS);
    ggml_gallocr_free(allocator);
    return numbers;
  }

 private:
  static constexpr size_t kMemory = 1 << 20;

  Device& device_;
  ggml_context* context_;
};

// |found - expected| over |input| |row|, both lengths.
double largest_error(const Numbers& found, const Numbers& input, const Numbers& matrix,
                     const Numbers& bias, size_t inputs) {
  const size_t outputs = matrix.size() / inputs;
  double largest = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    double sum = bias.empty() ? 0 : static_cast<double>(bias[i % outputs]);
    double input_square = 0;
    double row_square = 0;
    for (size_t j = 0; j < inputs; ++j) {
      const auto a = static_cast<double>(input[i / outputs * inputs + j]);
      const auto b = static_cast<double>(matrix[i % outputs * inputs + j]);
      sum += a * b;
      input_square += a * a;
      row_square += b * b;
    }
    const double error = std::abs(static_cast<double>(found[i]) - sum);
    largest = std::max(largest, error / std::sqrt(input_square * row_square));
  }
  return largest;
}

struct LinearCase {
  size_t tokens, inputs, outputs;
};

// Numbers of tokens that no block divides, one beyond the largest block, and widths that no vector
// divides.
constexpr LinearCase kLinearCases[] = {{1, 64, 96},     {2, 7, 5},     {3, 33, 1},
                                       {300, 256, 768}, {517, 48, 31}, {1100, 40, 200}};

Numbers multiply(size_t threads, const LinearCase& shape, Numbers input, Numbers matrix,
                 Numbers bias) {
  Device device("cpu", threads);
  Graph graph(device);
  ggml_tensor* bias_row = bias.empty() ? nullptr : graph.input(bias, shape.outputs);
  return graph.compute(linear(graph.context(), graph.input(matrix, shape.inputs),
                              graph.input(input, shape.inputs), bias_row, ComputeType::kF32));
}

Numbers multiply_bf16(size_t threads, const LinearCase& shape, Numbers input,
                      const Numbers& matrix) {
  const auto inputs = static_cast<int64_t>(shape.inputs);
  std::vector<ggml_bf16_t> narrow(matrix.size());
  ggml_fp32_to_bf16_row_ref(matrix.data(), narrow.data(), static_cast<int64_t>(matrix.size()));
  Numbers rounded(matrix.size());
  ggml_bf16_to_fp32_row(narrow.data(), rounded.data(), static_cast<int64_t>(matrix.size()));
  const bool in_bf16 = product_type(ComputeType::kBf16) == TensorType::kBf16;
  Device device("cpu", threads);
  Graph graph(device);
  ggml_tensor* tensor =
      ggml_new_tensor_2d(graph.context(), in_bf16 ? GGML_TYPE_BF16 : GGML_TYPE_F32, inputs,
                         static_cast<int64_t>(shape.outputs));
  tensor->data = in_bf16 ? static_cast<void*>(narrow.data()) : rounded.data();
  return graph.compute(linear(graph.context(), tensor, graph.input(input, shape.inputs), nullptr,
                              ComputeType::kBf16));
}

TEST(Linear, EqualsAProductInDouble) {
  for (const LinearCase& shape : kLinearCases) {
    const Numbers input = some_numbers(shape.tokens * shape.inputs, 7);
    const Numbers matrix = some_numbers(shape.outputs * shape.inputs, 8);
    for (const Numbers& bias : {Numbers(), some_numbers(shape.outputs, 9)}) {
      for (const size_t threads : kThreadCounts) {
        const Numbers found = multiply(threads, shape, input, matrix, bias);
        ASSERT_EQ(found.size(), shape.tokens * shape.outputs);
        EXPECT_LT(largest_error(found, input, matrix, bias, shape.inputs), kLinearTolerance)
            << shape.tokens << " tokens, " << shape.inputs << " inputs, " << threads << " threads";
      }
    }
  }
}

TEST(Linear, RoundsItsFactorsToBf16WhereTheMatrixIs) {
  for (const LinearCase& shape : kLinearCases) {
    const Numbers input = some_numbers(shape.tokens * shape.inputs, 7);
    const Numbers matrix = some_numbers(shape.outputs * shape.inputs, 8);
    const auto rounded = [](Numbers numbers) {
      for (float& number : numbers) number = ggml_bf16_to_fp32(ggml_fp32_to_bf16(number));
      return numbers;
    };
    const Numbers found = multiply_bf16(2, shape, input, matrix);
    EXPECT_LT(largest_error(found, rounded(input), rounded(matrix), {}, shape.inputs),
              kLinearTolerance)
        << shape.tokens << " tokens, " << shape.inputs << " inputs";
  }
}

TEST(ProductType, IsF32UnlessBf16IsAskedForAndCanBeMultiplied) {
  EXPECT_EQ(product_type(ComputeType::kF32), TensorType::kF32);
  EXPECT_EQ(product_type(ComputeType::kBf16),
            onednn() == OneDnn::kF32 ? TensorType::kF32 : TensorType::kBf16);
}

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
  Graph graph(device);
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
    Graph graph(device);
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

// Sines and cosines of places 0 to 9, for pairs of other frequencies.
Numbers rotation_table(size_t dims) {
  Numbers table;
  for (size_t place = 0; place < 10; ++place) {
    for (size_t pair = 0; pair < dims / 2; ++pair) {
      const double angle = static_cast<double>(place) / static_cast<double>(pair + 1);
      table.push_back(static_cast<float>(std::cos(angle)));
      table.push_back(static_cast<float>(std::sin(angle)));
    }
  }
  return table;
}

// A pair as a complex number times e^(i angle).
TEST(Rotate, TurnsThePairsOfEachHeadAndLeavesTheRest) {
  constexpr size_t kHeads = 3;
  constexpr size_t kHeadDim = 10;
  constexpr size_t kDims = 6;
  const std::vector<int32_t> places = {0, 1, 2, 0, 9, 5, 5};
  const Numbers table = rotation_table(kDims);
  const Numbers numbers = some_numbers(places.size() * kHeads * kHeadDim, 7);
  for (const RopePairs pairs : {RopePairs::kNeighbours, RopePairs::kHalves}) {
    Device device("cpu", 2);
    Graph graph(device);
    Numbers input = numbers;
    const RotationShape shape{table, places, kHeadDim, kDims, pairs};
    const Numbers found =
        graph.compute(rotate(graph.context(), graph.input(input, kHeads * kHeadDim), shape));
    for (size_t at = 0; at < numbers.size(); at += kHeadDim) {
      const auto place = static_cast<size_t>(places[at / (kHeads * kHeadDim)]);
      Numbers expected(numbers.begin() + static_cast<std::ptrdiff_t>(at),
                       numbers.begin() + static_cast<std::ptrdiff_t>(at + kHeadDim));
      for (size_t pair = 0; pair < kDims / 2; ++pair) {
        const bool halves = pairs == RopePairs::kHalves;
        const size_t first = halves ? pair : 2 * pair;
        const size_t second = halves ? pair + kDims / 2 : 2 * pair + 1;
        const float* angle = &table[place * kDims + 2 * pair];
        const std::complex<float> turned = std::complex(numbers[at + first], numbers[at + second]) *
                                           std::complex(angle[0], angle[1]);
        expected[first] = turned.real();
        expected[second] = turned.imag();
      }
      for (size_t i = 0; i < kHeadDim; ++i) EXPECT_NEAR(found[at + i], expected[i], 1e-6F);
    }
  }
}

struct NormCase {
  NormKind kind;
  size_t size, groups, scale_rows;
  bool bias;
};

// Norms of a whole row, of groups with one row of scales for all, and with a row for each; widths
// that no vector divides among them.
constexpr NormCase kNormCases[] = {
    {NormKind::kLayerNorm, 768, 1, 1, true}, {NormKind::kLayerNorm, 33, 1, 1, false},
    {NormKind::kLayerNorm, 16, 5, 1, true},  {NormKind::kLayerNorm, 16, 5, 5, true},
    {NormKind::kLayerNorm, 7, 3, 3, false},  {NormKind::kRmsNorm, 640, 1, 1, false},
    {NormKind::kRmsNorm, 33, 1, 1, true},    {NormKind::kRmsNorm, 64, 4, 1, false},
    {NormKind::kRmsNorm, 64, 4, 4, false},   {NormKind::kRmsNorm, 7, 4, 4, true}};

constexpr size_t kNormTokens = 37;
constexpr float kNormEpsilon = 1e-5F;

struct NormNumbers {
  explicit NormNumbers(const NormCase& norm)
      : input(some_numbers(kNormTokens * norm.size * norm.groups, 1)),
        scale(some_numbers(norm.size * norm.scale_rows, 2)),
        bias(norm.bias ? some_numbers(norm.size, 3) : Numbers()) {}

  Numbers input, scale, bias;
};

std::string name_of(const NormCase& norm) {
  return std::string(norm.kind == NormKind::kLayerNorm ? "layer norm" : "RMS norm") + " of " +
         std::to_string(norm.groups) + " groups of " + std::to_string(norm.size) + ", " +
         std::to_string(norm.scale_rows) + " rows of scales" + (norm.bias ? ", bias" : "");
}

// Of the columns from `first` on of an input that may be wider.
Numbers normalize_columns(size_t threads, const NormCase& norm, NormNumbers numbers, size_t first) {
  const size_t width = norm.size * norm.groups;
  Device device("cpu", threads);
  Graph graph(device);
  ggml_tensor* input = graph.input(numbers.input, numbers.input.size() / kNormTokens);
  ggml_tensor* scale = graph.input(numbers.scale, norm.size);
  ggml_tensor* bias = norm.bias ? graph.input(numbers.bias, norm.size) : nullptr;
  const NormShape shape{norm.kind, kNormEpsilon};
  return graph.compute(
      normalize(graph.context(), graph.columns(input, first, width), scale, bias, shape));
}

// The largest error of the group of `norm.size` numbers from `at` on, as kNormTolerance counts it.
double norm_error(const NormCase& norm, const NormNumbers& numbers, const Numbers& found,
                  size_t at) {
  const size_t scale_row = at / norm.size % norm.scale_rows;
  const auto count = static_cast<double>(norm.size);
  const auto number = [&](size_t i) { return static_cast<double>(numbers.input[at + i]); };
  double mean = 0;
  if (norm.kind == NormKind::kLayerNorm) {
    for (size_t i = 0; i < norm.size; ++i) mean += number(i) / count;
  }
  double variance = 0;
  for (size_t i = 0; i < norm.size; ++i) variance += std::pow(number(i) - mean, 2) / count;
  const double deviation = std::sqrt(variance + static_cast<double>(kNormEpsilon));
  double largest = 0;
  for (size_t i = 0; i < norm.size; ++i) {
    const double factor = static_cast<double>(numbers.scale[scale_row * norm.size + i]) / deviation;
    const double bias = norm.bias ? static_cast<double>(numbers.bias[i]) : 0;
    const double expected = (number(i) - mean) * factor + bias;
    const double terms = (std::abs(number(i)) + std::abs(mean)) * std::abs(factor) + std::abs(bias);
    largest = std::max(largest, std::abs(static_cast<double>(found[at + i]) - expected) / terms);
  }
  return largest;
}

// Numbers of mean 0, of a mean far above their deviation, of squares that no float holds, and of
// squares far below epsilon.
TEST(Normalize, EqualsItsFormulaInDouble) {
  for (const NormCase& norm : kNormCases) {
    for (const auto& [factor, offset] :
         {std::pair{1.0F, 0.0F}, {1.0F, 1000.0F}, {1e25F, 0.0F}, {1e-12F, 0.0F}}) {
      NormNumbers numbers(norm);
      for (float& number : numbers.input) number = factor * number + offset;
      const Numbers found = normalize_columns(2, norm, numbers, 0);
      ASSERT_EQ(found.size(), numbers.input.size());
      double largest = 0;
      for (size_t at = 0; at < found.size(); at += norm.size) {
        largest = std::max(largest, norm_error(norm, numbers, found, at));
      }
      EXPECT_LT(largest, kNormTolerance)
          << name_of(norm) << ", numbers of size " << factor << " about " << offset;
    }
  }
}

TEST(Normalize, ReadsTheColumnsOfAFusedProduct) {
  constexpr size_t kBefore = 5;
  constexpr size_t kAfter = 3;
  for (const NormCase& norm : kNormCases) {
    const NormNumbers numbers(norm);
    const size_t width = norm.size * norm.groups;
    NormNumbers fused = numbers;
    fused.input = some_numbers(kNormTokens * (kBefore + width + kAfter), 4);
    for (size_t token = 0; token < kNormTokens; ++token) {
      std::copy_n(&numbers.input[token * width], width,
                  &fused.input[token * (kBefore + width + kAfter) + kBefore]);
    }
    EXPECT_EQ(normalize_columns(2, norm, fused, kBefore), normalize_columns(2, norm, numbers, 0))
        << name_of(norm);
  }
}

TEST(Normalize, DoesNotDependOnTheNumberOfThreads) {
  for (const NormCase& norm : kNormCases) {
    const NormNumbers numbers(norm);
    const Numbers expected = normalize_columns(1, norm, numbers, 0);
    for (const size_t threads : kThreadCounts) {
      EXPECT_EQ(normalize_columns(threads, norm, numbers, 0), expected)
          << name_of(norm) << ", " << threads << " threads";
    }
  }
}

TEST(Normalize, MakesZerosOfZerosAndKeepsNaNInItsGroup) {
  for (const NormCase& norm : kNormCases) {
    NormNumbers numbers(norm);
    std::ranges::fill(numbers.input, 0.0F);
    const size_t bad = 2 * norm.size * norm.groups + norm.size - 1;
    numbers.input[bad] = std::numeric_limits<float>::quiet_NaN();
    const Numbers found = normalize_columns(2, norm, numbers, 0);
    for (size_t i = 0; i < found.size(); ++i) {
      if (i / norm.size == bad / norm.size) {
        EXPECT_TRUE(std::isnan(found[i])) << name_of(norm) << ", place " << i;
      } else {
        EXPECT_EQ(found[i], norm.bias ? numbers.bias[i % norm.size] : 0)
            << name_of(norm) << ", place " << i;
      }
    }
  }
}

constexpr Activation kActivations[] = {Activation::kGelu, Activation::kGeluTanh, Activation::kRelu,
                                       Activation::kSilu};

// From the far ends, where exponentials overflow, to the smallest numbers.
Numbers activation_inputs() {
  Numbers inputs = {0, -0.0F, 1e-30F, -1e-30F, 1e-6F, -1e-6F, 80, -80, 1e4F, -1e4F, 1e30F, -1e30F};
  for (int i = -2000; i <= 2000; ++i) inputs.push_back(static_cast<float>(i) * 0.01F);
  return inputs;
}

double plain_activation(Activation activation, double x) {
  if (activation == Activation::kRelu) return std::max(0.0, x);
  if (activation == Activation::kGelu) return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
  if (activation == Activation::kSilu) return x / (1 + std::exp(-x));
  const double inner = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  return 0.5 * x * (1 + std::tanh(inner));
}

Numbers apply(size_t threads, Activation activation, Numbers gate, Numbers up) {
  Device device("cpu", threads);
  Graph graph(device);
  ggml_tensor* up_tensor = up.empty() ? nullptr : graph.input(up, 1);
  return graph.compute(activate(graph.context(), activation, graph.input(gate, 1), up_tensor));
}

TEST(Activate, EqualsItsFormulaInDouble) {
  const Numbers inputs = activation_inputs();
  for (const Activation activation : kActivations) {
    for (const Numbers& up : {Numbers(), some_numbers(inputs.size(), 4)}) {
      const Numbers found = apply(2, activation, inputs, up);
      for (size_t i = 0; i < inputs.size(); ++i) {
        const auto x = static_cast<double>(inputs[i]);
        const double factor = up.empty() ? 1 : static_cast<double>(up[i]);
        const double expected = factor * plain_activation(activation, x);
        EXPECT_LE(std::abs(static_cast<double>(found[i]) - expected),
                  kActivationTolerance * std::abs(x * factor))
            << "of " << x << ", times " << factor;
      }
    }
  }
}

TEST(Activate, DoesNotDependOnTheNumberOfThreads) {
  const Numbers inputs = activation_inputs();
  const Numbers up = some_numbers(inputs.size(), 5);
  for (const Activation activation : kActivations) {
    const Numbers expected = apply(1, activation, inputs, up);
    for (const size_t threads : kThreadCounts) {
      EXPECT_EQ(apply(threads, activation, inputs, up), expected) << threads << " threads";
    }
  }
}

TEST(Activate, KeepsNaN) {
  for (const Activation activation : kActivations) {
    Numbers inputs = some_numbers(37, 6);
    inputs[20] = std::numeric_limits<float>::quiet_NaN();
    const Numbers found = apply(1, activation, inputs, {});
    for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(std::isnan(found[i]), i == 20) << i;
  }
}

constexpr float kCaps[] = {0.5F, 7, 30, 50};

Numbers cap_softly(size_t threads, float cap, Numbers numbers) {
  Device device("cpu", threads);
  Graph graph(device);
  return graph.compute(soft_cap(graph.context(), graph.input(numbers, 1), cap));
}

TEST(SoftCap, EqualsItsFormulaInDouble) {
  Numbers inputs = activation_inputs();
  for (int i = -30000; i <= 30000; ++i) inputs.push_back(static_cast<float>(i) * 0.005F);
  for (const float cap : kCaps) {
    const Numbers found = cap_softly(2, cap, inputs);
    double largest = 0;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const double ratio = static_cast<double>(inputs[i]) / static_cast<double>(cap);
      const double found_ratio = static_cast<double>(found[i]) / static_cast<double>(cap);
      largest = std::max(largest, std::abs(found_ratio - std::tanh(ratio)));
    }
    EXPECT_LT(largest, kSoftCapTolerance) << "cap " << cap;
  }
}

TEST(SoftCap, EndsAtTheCapAndKeepsNaN) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float cap : kCaps) {
    const Numbers found =
        cap_softly(1, cap, {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN(), 0});
    EXPECT_EQ(found[0], cap);
    EXPECT_EQ(found[1], -cap);
    EXPECT_TRUE(std::isnan(found[2]));
    EXPECT_EQ(found[3], 0);
  }
}

TEST(SoftCap, ReadsColumnsAndDoesNotDependOnTheNumberOfThreads) {
  constexpr size_t kCols = 7;
  constexpr float kCap = 2;
  Numbers numbers = some_numbers(13 * kCols, 8);
  const Numbers expected = cap_softly(1, kCap, numbers);
  for (const size_t threads : kThreadCounts) {
    Device device("cpu", threads);
    Graph graph(device);
    ggml_tensor* part = graph.columns(graph.input(numbers, kCols), 2, kCols - 2);
    const Numbers found = graph.compute(soft_cap(graph.context(), part, kCap));
    ASSERT_EQ(found.size(), 13 * (kCols - 2));
    for (size_t i = 0; i < found.size(); ++i) {
      const size_t place = i / (kCols - 2) * kCols + 2 + i % (kCols - 2);
      EXPECT_EQ(found[i], expected[place]) << "place " << i << ", " << threads << " threads";
    }
  }
}

TEST(Device, NamesWhatItIs) {
  const Device device("cpu", 3);
  EXPECT_EQ(device.name(), "cpu");
  EXPECT_EQ(device.threads(), 3U);
  EXPECT_FALSE(device.description().empty());
}

TEST(Device, TakesAtLeastOneThreadAndNoMoreThanGgmlHolds) {
  EXPECT_GE(Device("cpu", 0).threads(), 1U);
  EXPECT_EQ(Device("cpu", 100000).threads(), 512U);
}

TEST(Device, RejectsANameThatIsNotThere) {
  EXPECT_TRUE(
      says(failure_of([] { Device("cpi", 1); }), ErrorCode::kBadArgument, {"'cpi'", "cpu"}));
  EXPECT_TRUE(says(failure_of([] { Device("", 1); }), ErrorCode::kBadArgument, {"cpu"}));
  for (const std::string& name : device_names()) EXPECT_EQ(Device(name, 1).name(), name);
}

TEST(ComputeType, IsReadAsItIsWritten) {
  for (const ComputeType type : {ComputeType::kF32, ComputeType::kBf16}) {
    EXPECT_EQ(parse_compute_type(to_string(type)), type);
  }
  EXPECT_TRUE(says(failure_of([] { parse_compute_type("f16"); }), ErrorCode::kBadArgument,
                   {"'f16'", "f32", "bf16"}));
}

TEST(AvailableMemory, IsSomeAndNotMoreThanAMachineCanHave) {
  EXPECT_GT(available_memory(), 1ULL << 20);
  EXPECT_LT(available_memory(), 1ULL << 48);
}

}  // namespace
}  // namespace isogloss
