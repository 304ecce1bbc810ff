// Codes of isogloss/quantize/quantize.h: what files store.
#include <ggml.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "isogloss/base/random.h"
#include "isogloss/quantize/kurtosis.h"
#include "isogloss/quantize/quantize.h"
#include "tests/failure.h"

namespace isogloss {
namespace {

constexpr size_t kRows = 6;
constexpr size_t kCols = 512;

// Heavy-tailed numbers, as weights are: the difference of two exponentials.
std::vector<float> laplacian(size_t count, uint64_t seed = 5) {
  Random random(seed);
  std::vector<float> numbers(count);
  for (float& number : numbers) {
    const double sum = std::log(1 - random.uniform()) - std::log(1 - random.uniform());
    number = static_cast<float>(0.05 * sum);
  }
  return numbers;
}

std::vector<Scheme> integer_schemes() {
  std::vector<Scheme> schemes;
  for (const std::string& name : scheme_names()) {
    Scheme scheme = parse_scheme(name);
    if (scheme.kind != SchemeKind::kInteger || needs_calibration(scheme)) continue;
    schemes.push_back(scheme);
    scheme.scale_type = TensorType::kBf16;
    schemes.push_back(scheme);
  }
  return schemes;
}

bool is_of_type(TensorType type, float number) {
  if (type == TensorType::kBf16) {
    return ggml_bf16_to_fp32(ggml_fp32_to_bf16(number)) == number;
  }
  return ggml_fp16_to_fp32(ggml_fp32_to_fp16(number)) == number;
}

double squared_error(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i]) - b[i], 2);
  return sum;
}

std::vector<float> decoded(const EncodedMatrix& matrix) {
  std::vector<float> numbers(matrix.rows * matrix.cols);
  decode(matrix, numbers);
  return numbers;
}

std::vector<float> decoded(const std::string& scheme, const std::vector<float>& numbers) {
  return decoded(encode(parse_scheme(scheme), numbers, kRows, kCols));
}

TEST(Encode, GivesCodesWithinTheirBitsAndScalesOfTheirType) {
  const auto numbers = laplacian(kRows * kCols);
  for (const Scheme& scheme : integer_schemes()) {
    const EncodedMatrix matrix = encode(scheme, numbers, kRows, kCols);
    EXPECT_EQ(matrix.scheme, scheme);
    EXPECT_EQ(matrix.codes.size(), numbers.size());
    EXPECT_LT(std::ranges::max(matrix.codes), 1 << scheme.bits) << to_string(scheme);
    for (const float scale : matrix.scales) {
      EXPECT_TRUE(is_of_type(scheme.scale_type, scale)) << to_string(scheme);
    }
    const bool real_offsets = scheme.method == Method::kHqq;
    EXPECT_EQ(matrix.offsets.size(), real_offsets || scheme.asymmetric ? matrix.scales.size() : 0);
    for (const float offset : matrix.offsets) {
      const bool fits = real_offsets ? is_of_type(scheme.scale_type, offset)
                                     : offset == std::nearbyint(offset) && offset >= 0 &&
                                           offset < static_cast<float>(1 << scheme.bits);
      EXPECT_TRUE(fits) << to_string(scheme) << " " << offset;
    }
  }
}

TEST(Encode, TakesTheBytesThatAreSaidToBeStored) {
  const auto numbers = laplacian(kRows * kCols);
  for (const Scheme& scheme : integer_schemes()) {
    const EncodedMatrix matrix = encode(scheme, numbers, kRows, kCols);
    const auto bits = static_cast<size_t>(scheme.bits);
    const size_t scale_rows = scheme.granularity == Granularity::kTensor ? 1 : kRows;
    size_t bytes = kRows * kCols * bits / 8 + 2 * matrix.scales.size();
    if (scheme.method == Method::kHqq) bytes += 2 * matrix.offsets.size();
    if (scheme.asymmetric) {
      const size_t row_bits = matrix.offsets.size() / scale_rows * bits;
      bytes += scale_rows * ((row_bits + 31) / 32 * 4);
    }
    EXPECT_EQ(stored_bytes(scheme, kRows, kCols), bytes) << to_string(scheme);
  }
}

TEST(Encode, StandsForTheFormulasNumbers) {
  const auto numbers = laplacian(kRows * kCols);
  for (const Scheme& scheme : integer_schemes()) {
    const EncodedMatrix matrix = encode(scheme, numbers, kRows, kCols);
    const auto found = decoded(matrix);
    const size_t shared = numbers.size() / matrix.scales.size();
    for (size_t i = 0; i < found.size(); ++i) {
      const float code = matrix.codes[i];
      const float scale = matrix.scales[i / shared];
      const float half = static_cast<float>(1 << (scheme.bits - 1));
      float expected = (code - half) * scale;
      if (scheme.asymmetric) expected = (code - matrix.offsets[i / shared]) * scale;
      if (scheme.method == Method::kHqq) expected = code * scale + matrix.offsets[i / shared];
      ASSERT_EQ(found[i], expected) << to_string(scheme) << " at " << i;
    }
  }
}

TEST(Encode, DoesNotDependOnHowRowsAreShared) {
  // More numbers than one thread takes at a time, in odd rows.
  const size_t rows = 67;
  const auto numbers = laplacian(rows * kCols * 2);
  for (const char* name :
       {"rtn-int4-g32", "rtn-int4-tensor", "hqq-int4-g64", "q4_k", "seed-int4"}) {
    const Scheme scheme = parse_scheme(name);
    std::vector<float> whole = numbers;
    round_trip(scheme, whole, rows, 2 * kCols);
    if (scheme.kind == SchemeKind::kSeed || scheme.granularity == Granularity::kTensor) {
      if (scheme.kind != SchemeKind::kGgml) continue;
    }
    for (size_t row = 0; row < rows; ++row) {
      std::vector<float> one(&numbers[row * 2 * kCols], &numbers[row * 2 * kCols] + 2 * kCols);
      round_trip(scheme, one, 1, 2 * kCols);
      ASSERT_TRUE(std::ranges::equal(one, std::span(whole).subspan(row * 2 * kCols, 2 * kCols)))
          << name << " row " << row;
    }
  }
}

TEST(Encode, GivesGgmlsBytesByItsImportanceMatrix) {
  const auto numbers = laplacian(kRows * kCols);
  std::vector<float> importance(kCols);
  for (size_t i = 0; i < kCols; ++i) importance[i] = 1 + static_cast<float>(i % 7);
  for (const char* name : {"q4_k", "q4_0", "iq2_xxs", "iq4_xs"}) {
    const Scheme scheme = parse_scheme(name);
    const EncodedMatrix matrix = encode(scheme, numbers, kRows, kCols, {.importance = importance});
    const auto type = static_cast<ggml_type>(scheme.type);
    std::vector<std::byte> expected(kRows * ggml_row_size(type, kCols));
    ggml_quantize_chunk(type, numbers.data(), expected.data(), 0, kRows, kCols, importance.data());
    EXPECT_EQ(matrix.blocks, expected) << name;
  }
}

TEST(Encode, RefusesNumbersBeyondItsScaleType) {
  std::vector<float> numbers = laplacian(kRows * kCols);
  numbers[kCols + 3] = 1e6F;
  Scheme scheme = parse_scheme("rtn-int4-g32");
  const Failure failure = failure_of([&] { encode(scheme, numbers, kRows, kCols); });
  EXPECT_EQ(failure.code, ErrorCode::kNotFinite);
  EXPECT_TRUE(says(failure.message, {"1000000", "row 1, column 3", "rtn-int4-g32", "65504"}));
  scheme.scale_type = TensorType::kBf16;
  EXPECT_EQ(failure_of([&] { encode(scheme, numbers, kRows, kCols); }).code, std::nullopt);
}

TEST(Clips, BySearchNeverErrMoreThanNone) {
  for (const uint64_t seed : {1, 2, 3}) {
    const auto numbers = laplacian(kRows * kCols, seed);
    for (const char* plain : {"rtn-int2-g64", "rtn-int3-channel", "rtn-int4-g128-asym",
                              "rtn-int4-tensor", "rtn-int8-g32"}) {
      const double with =
          squared_error(decoded(std::string(plain) + "-clip=mse", numbers), numbers);
      EXPECT_LE(with, squared_error(decoded(plain, numbers), numbers)) << plain;
    }
  }
}

// Banner et al. 2019, table 1, to the digits that it gives.
TEST(Clips, ByAciqAreTheBoundsOfThePaper) {
  const auto numbers = laplacian(1 << 16);
  const NumberMoments moments = number_moments(numbers);
  const auto reach = [&](const char* name, int bits) {
    const auto matrix = encode(parse_scheme(name), numbers, 1, numbers.size());
    return static_cast<double>(matrix.scales[0]) * ((1 << (bits - 1)) - 1);
  };
  const double sigma = std::sqrt(moments.variance);
  constexpr double kF16 = 1e-3;  // the scale is rounded
  EXPECT_NEAR(reach("rtn-int4-tensor-clip=aciq-laplace", 4) / moments.absolute, 5.03, 0.01);
  EXPECT_NEAR(reach("rtn-int3-tensor-clip=aciq-laplace", 3) / moments.absolute, 3.89, 0.01);
  EXPECT_NEAR(reach("rtn-int4-tensor-clip=aciq-gauss", 4) / sigma, 2.55, 0.01);
  EXPECT_NEAR(reach("rtn-int3-tensor-clip=aciq-gauss", 3) / sigma, 2.15, 0.01);
  const double own = 2.5 + 0.3 * std::log1p(moments.kurtosis);
  EXPECT_NEAR(reach("rtn-int4-tensor-clip=laaciq", 4) / sigma / own, 1, kF16);
}

TEST(Clips, BySearchAreAboutAsGoodOnALaplacianAsThoseMadeForIt) {
  const auto numbers = laplacian(1 << 18);
  const auto error_of = [&](const char* clip) {
    const auto scheme = parse_scheme(std::string("rtn-int4-tensor-clip=") + clip);
    return squared_error(decoded(encode(scheme, numbers, 1, numbers.size())), numbers);
  };
  EXPECT_LE(error_of("mse"), 1.01 * error_of("aciq-laplace"));
}

TEST(Hqq, ErrsLessThanRoundingToNearestInItsNorm) {
  const auto numbers = laplacian(kRows * kCols);
  const auto norm = [&](const std::string& scheme) {
    const auto found = decoded(scheme, numbers);
    double sum = 0;
    for (size_t i = 0; i < found.size(); ++i) {
      sum += std::pow(std::abs(static_cast<double>(found[i]) - numbers[i]), 0.7);
    }
    return sum;
  };
  for (const char* shape : {"int2-g64", "int3-g64", "int4-g64", "int4-channel"}) {
    EXPECT_LT(norm(std::string("hqq-") + shape), norm(std::string("rtn-") + shape + "-asym"))
        << shape;
  }
}

TEST(Kurtosis, OfAMixtureIsThatOfTheNumbersTakenTogether) {
  // Parts without skew and with equal means, where the second reading is exact.
  auto wide = laplacian(1 << 15, 1);
  auto narrow = laplacian(1 << 15, 2);
  for (size_t i = 0; i < wide.size(); i += 2) wide[i + 1] = -wide[i];
  for (size_t i = 0; i < narrow.size(); i += 2) narrow[i + 1] = -narrow[i];
  for (float& number : wide) number *= 3;
  const NumberMoments a = number_moments(wide);
  const NumberMoments b = number_moments(narrow);
  std::vector<float> both = wide;
  both.insert(both.end(), narrow.begin(), narrow.end());
  const MixturePart parts[] = {{1, a.mean, a.variance, a.kurtosis},
                               {1, b.mean, b.variance, b.kurtosis}};
  EXPECT_NEAR(mixture_kurtosis(parts), number_moments(both).kurtosis, 1e-6);
  EXPECT_NEAR(mean_kurtosis(parts), (a.kurtosis + b.kurtosis) / 2, 1e-12);
  EXPECT_GT(mixture_kurtosis(parts), mean_kurtosis(parts) + 1);  // the first reading is not it
}

}  // namespace
}  // namespace isogloss
