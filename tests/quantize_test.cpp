// Contract of isogloss/quantize/quantize.h: schemes and round trips.
#include "isogloss/quantize/quantize.h"

#include <ggml.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numbers>
#include <optional>
#include <set>

#include "isogloss/base/error.h"
#include "isogloss/base/random.h"
#include "tests/failure.h"

namespace isogloss {
namespace {

using Strings = std::vector<std::string>;
using Numbers = std::vector<float>;

// A scale is rounded to F16: 11 significant bits, half a unit off at most.
constexpr double kF16Rounding = 0x1p-11;
// Divisions and products of the codec itself, each rounded to float.
constexpr double kFloatRounding = 0x1p-20;
// The seed's scale is max|w| / m; of what it wrote itself, it is the same up to a float rounding.
constexpr double kSeedRepeat = 0x1p-22;
// s / sqrt(12) holds for numbers uniform within a step; how far Gaussian numbers at 4 bits and more
// and 16,384 draws are from that.
constexpr double kUniformNoise = 0.03;
// Half-width of the bands of kGaussianError: the numbers are seeded, so only the last digits of the
// C library's logarithm and cosine move them; a bit more or less doubles or halves the error.
constexpr double kBand = 0.03;

constexpr size_t kRows = 16;
constexpr size_t kCols = 1024;  // whole blocks of every type
constexpr uint64_t kSeed = 3;

// Root of the squared error over the squares, for kRows x kCols Gaussian numbers of seed kSeed.
// Measured; a test of its own holds even steps to s / sqrt(12).
const std::map<std::string, double> kGaussianError = {
    {"f16", 0.0002078},
    {"bf16", 0.001655},
    {"q8_0", 0.005398},
    {"q6_k", 0.01777},
    {"q5_1", 0.03825},
    {"q5_0", 0.04291},
    {"q5_k", 0.03678},
    {"q4_1", 0.07883},
    {"q4_0", 0.08648},
    {"q4_k", 0.07199},
    {"iq4_nl", 0.07646},
    {"nvfp4", 0.09553},
    {"iq4_xs", 0.077},
    {"mxfp4", 0.1157},
    {"q3_k", 0.1534},
    {"iq3_s", 0.1658},
    {"iq3_xxs", 0.214},
    {"q2_k", 0.2991},
    {"iq2_s", 0.2659},
    {"q2_0", 0.7214},
    {"tq2_0", 0.8103},
    {"iq1_m", 0.5803},
    {"tq1_0", 0.8103},
    {"q1_0", 0.6005},
    {"seed-int8", 0.00942},
    {"seed-int4", 0.1697},
    {"seed-int3", 0.3959},
    {"seed-int2", 0.936},
    {"rtn-int8-tensor", 0.009421},
    {"rtn-int8-tensor-asym", 0.008824},
    {"rtn-int8-channel", 0.008037},
    {"rtn-int8-channel-asym", 0.007505},
    {"rtn-int8-g128", 0.006495},
    {"rtn-int8-g128-asym", 0.005948},
    {"rtn-int8-g64", 0.005981},
    {"rtn-int8-g64-asym", 0.005398},
    {"rtn-int8-g32", 0.005395},
    {"rtn-int8-g32-asym", 0.004771},
    {"rtn-int4-tensor", 0.1696},
    {"rtn-int4-tensor-asym", 0.1497},
    {"rtn-int4-channel", 0.1461},
    {"rtn-int4-channel-asym", 0.128},
    {"rtn-int4-g128", 0.1184},
    {"rtn-int4-g128-asym", 0.1013},
    {"rtn-int4-g64", 0.1082},
    {"rtn-int4-g64-asym", 0.09169},
    {"rtn-int4-g32", 0.09713},
    {"rtn-int4-g32-asym", 0.08142},
    {"rtn-int3-tensor", 0.3959},
    {"rtn-int3-tensor-asym", 0.3193},
    {"rtn-int3-channel", 0.3393},
    {"rtn-int3-channel-asym", 0.275},
    {"rtn-int3-g128", 0.2749},
    {"rtn-int3-g128-asym", 0.2171},
    {"rtn-int3-g64", 0.2518},
    {"rtn-int3-g64-asym", 0.1963},
    {"rtn-int3-g32", 0.2274},
    {"rtn-int3-g32-asym", 0.1743},
    {"rtn-int2-tensor", 0.936},
    {"rtn-int2-tensor-asym", 0.7238},
    {"rtn-int2-channel", 0.8754},
    {"rtn-int2-channel-asym", 0.6321},
    {"rtn-int2-g128", 0.7694},
    {"rtn-int2-g128-asym", 0.5069},
    {"rtn-int2-g64", 0.7214},
    {"rtn-int2-g64-asym", 0.4601},
    {"rtn-int2-g32", 0.6622},
    {"rtn-int2-g32-asym", 0.4096},
    {"rtn-int4-g128-clip=mse", 0.1011},
    {"rtn-int4-g128-clip=aciq-gauss", 0.1094},
    {"rtn-int4-g128-clip=aciq-laplace", 0.118},
    {"rtn-int4-g128-clip=laaciq", 0.1081},
    {"hqq-int8-channel", 0.007451},
    {"hqq-int8-g128", 0.005823},
    {"hqq-int8-g64", 0.005173},
    {"hqq-int8-g32", 0.004439},
    {"hqq-int4-channel", 0.1269},
    {"hqq-int4-g128", 0.09814},
    {"hqq-int4-g64", 0.08701},
    {"hqq-int4-g32", 0.07526},
    {"hqq-int3-channel", 0.2727},
    {"hqq-int3-g128", 0.2097},
    {"hqq-int3-g64", 0.1872},
    {"hqq-int3-g32", 0.1608},
    {"hqq-int2-channel", 0.631},
    {"hqq-int2-g128", 0.4888},
    {"hqq-int2-g64", 0.438},
    {"hqq-int2-g32", 0.3798},
};

double gaussian(Random& random) {
  const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
  return radius * std::cos(2 * std::numbers::pi * random.uniform());
}

Numbers gaussian_numbers(size_t count, uint64_t seed = kSeed) {
  Random random(seed);
  Numbers numbers(count);
  for (float& number : numbers) number = static_cast<float>(gaussian(random));
  return numbers;
}

Numbers round_tripped(const std::string& scheme, Numbers numbers, size_t rows, size_t cols) {
  round_trip(parse_scheme(scheme), numbers, rows, cols);
  return numbers;
}

// As one row.
Numbers round_tripped(const std::string& scheme, Numbers numbers) {
  const size_t cols = numbers.size();
  return round_tripped(scheme, std::move(numbers), 1, cols);
}

double square_sum(std::span<const float> numbers) {
  double sum = 0;
  for (const float number : numbers) sum += static_cast<double>(number) * number;
  return sum;
}

double relative_error(const Numbers& before, const Numbers& after) {
  double sum = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    const double difference = static_cast<double>(before[i]) - after[i];
    sum += difference * difference;
  }
  return std::sqrt(sum / square_sum(before));
}

std::vector<Scheme> schemes_of(SchemeKind kind) {
  std::vector<Scheme> schemes;
  for (const std::string& name : scheme_names()) {
    const Scheme scheme = parse_scheme(name);
    const bool plain = scheme.method == Method::kRtn && scheme.clip == Clip::kNone;
    if (scheme.kind == kind && plain) schemes.push_back(scheme);
  }
  return schemes;
}

// Of the numbers that share a scale in an RTN scheme.
size_t run_length(const Scheme& scheme, size_t rows, size_t cols) {
  if (scheme.granularity == Granularity::kTensor) return rows * cols;
  return scheme.granularity == Granularity::kChannel ? cols : scheme.group_size;
}

void for_each_run(const Scheme& scheme, const Numbers& before, const Numbers& after,
                  const std::function<void(std::span<const float>, std::span<const float>)>& see) {
  const size_t length = run_length(scheme, kRows, kCols);
  for (size_t start = 0; start < before.size(); start += length) {
    see(std::span(before).subspan(start, length), std::span(after).subspan(start, length));
  }
}

// The step between two codes, from the definition and in double.
double exact_step(const Scheme& scheme, std::span<const float> run) {
  const double low = std::min<double>(std::ranges::min(run), 0);
  const double high = std::max<double>(std::ranges::max(run), 0);
  const double codes = std::pow(2, scheme.bits);
  if (scheme.asymmetric) return (high - low) / (codes - 1);
  return std::max(high, -low) / (codes / 2 - 1);
}

// Those whose codes follow from the numbers alone.
Strings lone_scheme_names() {
  Strings names = scheme_names();
  std::erase_if(names, [](const std::string& name) {
    return needs_calibration(parse_scheme(name)) || needs_importance(parse_scheme(name));
  });
  return names;
}

// All but two of ggml's, whose encoders take seconds to set up in each process.
Strings quick_scheme_names() {
  Strings names = lone_scheme_names();
  std::erase(names, "iq1_m");
  std::erase(names, "iq2_s");
  return names;
}

TEST(SchemeNames, ParseToWhatPrintsThem) {
  std::set<std::string> seen;
  for (const std::string& name : scheme_names()) {
    EXPECT_EQ(to_string(parse_scheme(name)), name);
    EXPECT_TRUE(seen.insert(name).second) << name << " is there twice";
  }
}

TEST(SchemeNames, SayWhatTheSchemeIs) {
  EXPECT_EQ(parse_scheme("none"), Scheme{});
  EXPECT_EQ(parse_scheme("seed-int4"), (Scheme{.kind = SchemeKind::kSeed, .bits = 4}));
  EXPECT_EQ(
      parse_scheme("rtn-int8-channel"),
      (Scheme{.kind = SchemeKind::kInteger, .bits = 8, .granularity = Granularity::kChannel}));
  EXPECT_EQ(parse_scheme("rtn-int2-tensor"), (Scheme{.kind = SchemeKind::kInteger, .bits = 2}));
  EXPECT_EQ(parse_scheme("rtn-int3-g64-asym"), (Scheme{.kind = SchemeKind::kInteger,
                                                       .bits = 3,
                                                       .granularity = Granularity::kGroup,
                                                       .group_size = 64,
                                                       .asymmetric = true}));
  EXPECT_EQ(parse_scheme("bf16"), (Scheme{.kind = SchemeKind::kGgml, .type = TensorType::kBf16}));
  const auto q4_k = static_cast<TensorType>(GGML_TYPE_Q4_K);
  EXPECT_EQ(parse_scheme("q4_k"), (Scheme{.kind = SchemeKind::kGgml, .type = q4_k}));
}

TEST(SchemeNames, AreTakenInAnyCase) {
  EXPECT_EQ(parse_scheme("Q4_K"), parse_scheme("q4_k"));
  EXPECT_EQ(parse_scheme("RTN-Int4-G128-Asym"), parse_scheme("rtn-int4-g128-asym"));
  EXPECT_EQ(parse_scheme("None"), parse_scheme("none"));
}

TEST(SchemeNames, HoldEveryTypeThatDecodes) {
  const Strings names = scheme_names();
  const std::set<std::string> known(names.begin(), names.end());
  for (const char* name :
       {"f32",   "f16",   "bf16",  "q4_0",   "q4_1",   "q5_0",  "q5_1",    "q8_0",  "q2_k",
        "q3_k",  "q4_k",  "q5_k",  "q6_k",   "iq1_m",  "iq2_s", "iq3_xxs", "iq3_s", "tq1_0",
        "tq2_0", "mxfp4", "nvfp4", "iq4_nl", "iq4_xs", "iq1_s", "iq2_xxs", "iq2_xs"}) {
    EXPECT_TRUE(known.contains(name)) << name;
  }
  for (const char* name : {"q8_1", "q8_k", "i8", "f64"}) {
    EXPECT_FALSE(known.contains(name)) << name;
  }
}

TEST(SchemeNames, RefuseWhatIsNoSchemeWithNearMatches) {
  const std::map<std::string, Strings> refused = {
      {"q4_k_m", {"unknown scheme 'q4_k_m'", "'q4_k'"}},
      {"rtn-int4-g12", {"'rtn-int4-g128'", "'rtn-int4-g32'"}},
      {"rtn-int5-g64", {"did you mean", "'rtn-int8-g64'"}},
      {"rtn-int4", {"GRANULARITY is tensor (rtn), channel, g32, g64 or g128"}},
      {"rtn-int4-g128-sym", {"'rtn-int4-g128-asym'"}},
      {"seed-int5", {"'seed-int8'"}},
      {"q8_k", {"unknown scheme", "q8_0"}},
      {"", {"unknown scheme ''", "seed-intB"}},
      {"q4_k ", {"'q4_k'"}},
  };
  for (const auto& [name, parts] : refused) {
    const Failure failure = failure_of([&] { parse_scheme(name); });
    EXPECT_EQ(failure.code, ErrorCode::kBadArgument) << name;
    EXPECT_TRUE(says(failure.message, parts));
  }
}

TEST(SchemeNames, SayWhichTakeAnImportanceMatrixOrCalibrationText) {
  for (const std::string& name : scheme_names()) {
    const std::set<std::string> by_importance = {"iq1_s", "iq2_xxs", "iq2_xs"};
    EXPECT_EQ(needs_importance(parse_scheme(name)), by_importance.contains(name)) << name;
    const bool by_text = name.starts_with("gptq-") || name.starts_with("awq-") ||
                         name.ends_with("laaciq-mean") || name.ends_with("laaciq-mixture");
    EXPECT_EQ(needs_calibration(parse_scheme(name)), by_text) << name;
  }
}

TEST(SchemeNames, ClipEverySchemeThatRoundsToNearest) {
  const Scheme clipped = parse_scheme("rtn-int3-g64-asym-clip=mse");
  EXPECT_EQ(clipped.clip, Clip::kMse);
  EXPECT_EQ(to_string(clipped), "rtn-int3-g64-asym-clip=mse");
  for (const char* name : {"rtn-int4-g64-asym-clip=aciq-gauss", "gptq-int4-g64-clip=mse",
                           "hqq-int4-g64-clip=mse", "rtn-int4-g64-clip=aciq"}) {
    EXPECT_EQ(failure_of([&] { parse_scheme(name); }).code, ErrorCode::kBadArgument) << name;
  }
}

struct FittingCase {
  const char* wanted;
  size_t cols;
  const char* used;
};

void expect_fits(const std::vector<FittingCase>& cases) {
  for (const auto& [wanted, cols, used] : cases) {
    const Scheme found = fitting_scheme(parse_scheme(wanted), cols);
    EXPECT_EQ(found, parse_scheme(used))
        << wanted << " in rows of " << cols << " is " << to_string(found);
  }
}

TEST(FittingScheme, IsTheSchemeItselfWhereItFits) {
  for (const std::string& name : scheme_names()) {
    const Scheme scheme = parse_scheme(name);
    EXPECT_EQ(fitting_scheme(scheme, kCols), scheme) << name;
  }
  expect_fits({{"q4_0", 96, "q4_0"}, {"q4_k", 256, "q4_k"}, {"f16", 1, "f16"}, {"f32", 7, "f32"}});
}

// The table of llama-quantize (llama.cpp, src/llama-quant.cpp, tensor_type_fallback).
TEST(FittingScheme, FallsBackAsLlamaQuantizeDoes) {
  expect_fits({{"q2_k", 640, "q4_0"},
               {"q3_k", 640, "q4_0"},
               {"q4_k", 640, "q5_0"},
               {"q5_k", 640, "q5_1"},
               {"q6_k", 640, "q8_0"},
               {"tq1_0", 640, "q4_0"},
               {"tq2_0", 640, "q4_0"},
               {"q2_0", 96, "q4_0"},
               {"iq1_m", 640, "iq4_nl"},
               {"iq2_s", 640, "iq4_nl"},
               {"iq3_s", 640, "iq4_nl"},
               {"iq3_xxs", 640, "iq4_nl"},
               {"iq4_xs", 640, "iq4_nl"},
               {"q4_k", 576, "q5_0"},
               {"q4_k", 32, "q5_0"}});
}

TEST(FittingScheme, IsF16WhereNoBlocksFit) {
  for (const Scheme& scheme : schemes_of(SchemeKind::kGgml)) {
    const TensorTypeInfo info = get_tensor_type_info(scheme.type);
    const std::string expected = info.quantized ? "f16" : info.name;
    EXPECT_EQ(to_string(fitting_scheme(scheme, 100)), expected) << info.name;
  }
  expect_fits({{"q1_0", 576, "f16"}, {"nvfp4", 96, "f16"}});
}

TEST(FittingScheme, ShrinksGroupsAndThenTakesAChannel) {
  expect_fits({{"rtn-int4-g128", 640, "rtn-int4-g128"},
               {"rtn-int4-g128", 576, "rtn-int4-g64"},
               {"rtn-int4-g128-asym", 96, "rtn-int4-g32-asym"},
               {"rtn-int3-g64", 96, "rtn-int3-g32"},
               {"rtn-int3-g64-asym", 100, "rtn-int3-channel-asym"},
               {"rtn-int8-g32", 16, "rtn-int8-channel"}});
}

TEST(FittingScheme, LeavesEverythingElseAlone) {
  expect_fits({{"none", 7, "none"},
               {"seed-int4", 7, "seed-int4"},
               {"rtn-int8-tensor", 7, "rtn-int8-tensor"},
               {"rtn-int4-channel-asym", 7, "rtn-int4-channel-asym"}});
}

TEST(StoredBytes, OfGgmlTypesAreWholeBlocks) {
  EXPECT_EQ(stored_bytes(parse_scheme("q4_0"), 2, 64), 2 * 2 * 18U);
  EXPECT_EQ(stored_bytes(parse_scheme("q4_k"), 3, 512), 3 * 2 * 144U);
  EXPECT_EQ(stored_bytes(parse_scheme("f16"), 3, 5), 30U);
  for (const Scheme& scheme : schemes_of(SchemeKind::kGgml)) {
    const size_t row_bytes = ggml_row_size(static_cast<ggml_type>(scheme.type), kCols);
    EXPECT_EQ(stored_bytes(scheme, kRows, kCols), kRows * row_bytes) << to_string(scheme);
  }
}

struct SizeCase {
  const char* scheme;
  size_t rows, cols;
  uint64_t bytes;
};

TEST(StoredBytes, OfIntegerCodesCountScalesZeroPointsAndPadding) {
  const SizeCase cases[] = {
      {"rtn-int4-g128", 10, 256, 10 * (128 + 2 * 2)},
      {"rtn-int4-g128-asym", 10, 256, 10 * (128 + 2 * 2 + 4)},  // 2 zero points of 4 bits: a word
      {"rtn-int2-g32", 2, 1024, 2 * (256 + 32 * 2)},
      {"rtn-int2-g32-asym", 2, 1024, 2 * (256 + 32 * 2 + 8)},  // 64 bits
      {"rtn-int3-channel", 4, 100, 4 * (40 + 2)},              // 300 bits: 10 words
      {"rtn-int3-channel-asym", 4, 100, 4 * (40 + 2 + 4)},
      {"rtn-int8-tensor", 3, 5, 3 * 8 + 2},  // 40 bits: 2 words
      {"rtn-int8-tensor-asym", 3, 5, 3 * 8 + 2 + 4},
      {"seed-int4", 3, 5, 3 * 4 + 4},
      {"seed-int8", 1, 256, 256 + 4},
      {"seed-int2", 7, 17, 7 * 8 + 4},  // 34 bits
      {"seed-int3", 2, 32, 2 * 12 + 4},
  };
  for (const auto& [scheme, rows, cols, bytes] : cases) {
    EXPECT_EQ(stored_bytes(parse_scheme(scheme), rows, cols), bytes) << scheme;
  }
}

TEST(SeedScheme, RoundsTiesToEven) {
  EXPECT_EQ(round_tripped("seed-int4", {7, 0.5F, 1.5F, 2.5F, -7, -0.5F, -1.5F, -2.5F, 3.49F, 0}),
            (Numbers{7, 0, 2, 2, -7, 0, -2, -2, 3, 0}));
  EXPECT_EQ(round_tripped("seed-int8", {127, 0.5F, 1.5F, 126.5F, -126.5F, -125.5F, 125.51F}),
            (Numbers{127, 0, 2, 126, -126, -126, 126}));
  EXPECT_EQ(round_tripped("seed-int3", {3, 2.5F, -2.5F, 0.5F, 1.5F, -1.49F}),
            (Numbers{3, 2, -2, 0, 2, -1}));
  EXPECT_EQ(round_tripped("seed-int2", {1, 0.5F, -0.5F, 0.51F, -0.51F, -1, 0.49F}),
            (Numbers{1, 0, 0, 1, -1, -1, 0}));
}

// 1 / 7 is the float 0x1.24924ap-3. 3 / 14 divided by it is 1.49999995, in float 1.5, a tie whose
// even neighbour is 2; in double, or times the reciprocal, the code is 1. 0.5 divided by it is
// 3.4999998, and 0.5 * 7 would be a tie.
TEST(SeedScheme, DividesInFloat) {
  const float scale = 0x1.24924ap-3F;
  EXPECT_EQ(round_tripped("seed-int4", {1, 3.0F / 14, 0.5F, -0.5F}),
            (Numbers{1, 2 * scale, 3 * scale, -3 * scale}));
}

TEST(SeedScheme, SharesOneScaleInTheWholeTensor) {
  EXPECT_EQ(round_tripped("seed-int4", {14, 2, 1, 3, 0.5F, 2.9F, -2, -14}, 2, 4),
            (Numbers{14, 2, 0, 4, 0, 2, -2, -14}));
}

TEST(SeedScheme, UsesTheCodesFromMinusMToM) {
  Random random(kSeed);
  Numbers uniform(kRows * kCols);
  for (float& number : uniform) number = static_cast<float>(2 * random.uniform() - 1);
  const std::map<std::string, size_t> levels = {
      {"seed-int2", 3}, {"seed-int3", 7}, {"seed-int4", 15}, {"seed-int8", 255}};
  for (const auto& [name, count] : levels) {
    const Numbers after = round_tripped(name, uniform, kRows, kCols);
    EXPECT_EQ(std::set<float>(after.begin(), after.end()).size(), count) << name;
  }
}

TEST(RtnScheme, SharesAScaleInATensorOrAChannel) {
  const Numbers matrix = {7,  0.5F, 1.5F, 2.5F, -7,  3.4F, -3.6F, 0,
                          14, 1,    3,    5,    -14, 6.8F, -7.2F, 0};
  EXPECT_EQ(round_tripped("rtn-int4-channel", matrix, 2, 8),
            (Numbers{7, 0, 2, 2, -7, 3, -4, 0, 14, 0, 4, 4, -14, 6, -8, 0}));
  EXPECT_EQ(round_tripped("rtn-int4-tensor", matrix, 2, 8),
            (Numbers{8, 0, 2, 2, -8, 4, -4, 0, 14, 0, 4, 4, -14, 6, -8, 0}));
}

TEST(RtnScheme, SharesAScaleInAGroupOfARow) {
  const std::map<std::string, size_t> sizes = {
      {"rtn-int4-g32", 32}, {"rtn-int4-g64", 64}, {"rtn-int4-g128", 128}};
  for (const auto& [name, size] : sizes) {
    Numbers matrix(4 * size, 2.9F);  // 2 rows of 2 groups
    const float peaks[] = {7, 14, 28, 3.5F};
    const float rounded[] = {3, 2, 4, 3};  // 2.9 in steps of 1, 2, 4 and 0.5
    for (size_t group = 0; group < 4; ++group) matrix[group * size] = peaks[group];
    const Numbers after = round_tripped(name, matrix, 2, 2 * size);
    for (size_t i = 0; i < after.size(); ++i) {
      const size_t group = i / size;
      ASSERT_EQ(after[i], i % size == 0 ? peaks[group] : rounded[group]) << name << " at " << i;
    }
  }
}

// 1 / 7 lies between 1170 / 2^13 and 1171 / 2^13, nearer to the first.
TEST(RtnScheme, RoundsItsScaleToF16) {
  const float scale = 1170 * 0x1p-13F;
  EXPECT_EQ(round_tripped("rtn-int4-channel", {1, -1, 0.5F}),
            (Numbers{7 * scale, -7 * scale, 4 * scale}));
  EXPECT_EQ(round_tripped("rtn-int3-channel-asym", {1, 0.5F}), (Numbers{7 * scale, 4 * scale}));
}

TEST(RtnScheme, RoundsBeforeItAddsTheZeroPoint) {
  EXPECT_EQ(round_tripped("rtn-int4-channel-asym", {-1, 0, 14, 2.5F, 3.5F, -0.5F}),
            (Numbers{-1, 0, 14, 2, 4, 0}));
  EXPECT_EQ(round_tripped("rtn-int8-channel-asym", {-55, 200, 0.4F, 0.6F, -54.6F}),
            (Numbers{-55, 200, 0, 1, -55}));
  EXPECT_EQ(round_tripped("rtn-int2-channel-asym", {-1, 2, 0.6F, 0}), (Numbers{-1, 2, 1, 0}));
}

// The scale, 10 / 7 of the smallest F16, is rounded down to that, so all codes are in use.
TEST(RtnScheme, ClampsSymmetricCodesToAllThatTheirBitsHold) {
  const float smallest = 0x1p-24F;
  EXPECT_EQ(round_tripped("rtn-int4-channel", {10 * smallest, -10 * smallest, 3 * smallest}),
            (Numbers{7 * smallest, -8 * smallest, 3 * smallest}));
}

TEST(RtnScheme, KeepsZeroInTheRangeOfAsymmetricCodes) {
  EXPECT_EQ(round_tripped("rtn-int4-channel-asym", {15, 7.2F, 14}), (Numbers{15, 7, 14}));
  EXPECT_EQ(round_tripped("rtn-int4-channel-asym", {-15, -7.2F, -1}), (Numbers{-15, -7, -1}));
}

// Codes 0..15 and zero point 2: 13.5 would be code 16.
TEST(RtnScheme, ClampsAsymmetricCodes) {
  EXPECT_EQ(round_tripped("rtn-int4-channel-asym", {-1.5F, 13.5F, 0}), (Numbers{-2, 13, 0}));
}

TEST(RtnScheme, ErrsByHalfAStepAtMost) {
  const Numbers before = gaussian_numbers(kRows * kCols);
  for (const Scheme& scheme : schemes_of(SchemeKind::kInteger)) {
    const Numbers after = round_tripped(to_string(scheme), before, kRows, kCols);
    const double codes = std::pow(2, scheme.bits);
    // Asymmetric codes are clamped at one end, after all of them have moved with the scale.
    const double slack = (scheme.asymmetric ? codes : 0.5) * kF16Rounding + kFloatRounding * codes;
    double worst = 0;
    for_each_run(scheme, before, after, [&](auto run, auto rounded) {
      const double step = exact_step(scheme, run);
      for (size_t i = 0; i < run.size(); ++i) {
        const double error = std::fabs(static_cast<double>(run[i]) - rounded[i]);
        worst = std::max(worst, error / step);
      }
    });
    EXPECT_LE(worst, 0.5 + slack) << to_string(scheme);
    EXPECT_GE(worst, 0.49) << to_string(scheme) << " is too good to be true";
  }
}

TEST(RtnScheme, ErrsAsUniformNoiseInAStepDoes) {
  const Numbers before = gaussian_numbers(kRows * kCols);
  for (const Scheme& scheme : schemes_of(SchemeKind::kInteger)) {
    if (scheme.bits < 4) continue;
    const Numbers after = round_tripped(to_string(scheme), before, kRows, kCols);
    double noise = 0;
    for_each_run(scheme, before, after, [&](auto run, auto) {
      const double step = exact_step(scheme, run);
      noise += static_cast<double>(run.size()) * step * step / 12;
    });
    const double expected = std::sqrt(noise / square_sum(before));
    EXPECT_NEAR(relative_error(before, after) / expected, 1, kUniformNoise) << to_string(scheme);
  }
}

TEST(RtnScheme, HasNoMoreLevelsThanCodes) {
  const Numbers before = gaussian_numbers(kRows * kCols);
  for (const Scheme& scheme : schemes_of(SchemeKind::kInteger)) {
    const Numbers after = round_tripped(to_string(scheme), before, kRows, kCols);
    const size_t codes = (size_t{1} << scheme.bits) - (scheme.asymmetric ? 0 : 1);
    size_t most = 0;
    for_each_run(scheme, before, after, [&](auto, auto rounded) {
      most = std::max(most, std::set<float>(rounded.begin(), rounded.end()).size());
    });
    EXPECT_LE(most, codes) << to_string(scheme);
    if (scheme.bits > 3) continue;  // too few numbers to meet every code
    EXPECT_EQ(most, codes) << to_string(scheme);
  }
}

TEST(RoundTrip, LeavesNumbersAsTheyAreForNoneAndF32) {
  const Numbers before = gaussian_numbers(kRows * kCols);
  EXPECT_EQ(round_tripped("none", before, kRows, kCols), before);
  EXPECT_EQ(round_tripped("f32", before, kRows, kCols), before);
}

TEST(RoundTrip, ErrsOnGaussianNumbersAsMuchAsItShould) {
  const Numbers before = gaussian_numbers(kRows * kCols);
  for (const std::string& name : lone_scheme_names()) {
    if (name == "none" || name == "f32") continue;
    ASSERT_TRUE(kGaussianError.contains(name)) << name;
    const double error = relative_error(before, round_tripped(name, before, kRows, kCols));
    EXPECT_NEAR(error / kGaussianError.at(name), 1, kBand) << name << " errs by " << error;
  }
}

// Numbers of few digits, as models have: some lie between two codes.
TEST(RoundTrip, IsGgmlsOwnEncoderAndDecoder) {
  const Numbers before = round_tripped("f16", gaussian_numbers(kRows * kCols));
  for (const std::string& name : quick_scheme_names()) {
    const Scheme scheme = parse_scheme(name);
    if (scheme.kind != SchemeKind::kGgml || scheme.type == TensorType::kF32) continue;
    const auto type = static_cast<ggml_type>(scheme.type);
    std::vector<std::byte> bytes(kRows * ggml_row_size(type, kCols));
    ggml_quantize_chunk(type, before.data(), bytes.data(), 0, kRows, kCols, nullptr);
    Numbers expected(before.size());
    ggml_get_type_traits(type)->to_float(bytes.data(), expected.data(), kRows * kCols);
    EXPECT_EQ(round_tripped(name, before, kRows, kCols), expected) << name;
  }
}

bool is_repeatable(const Scheme& scheme) {
  static const std::set<std::string> kTypes = {"f32",  "f16",  "bf16", "q4_0",  "q4_1",  "q5_0",
                                               "q5_1", "q8_0", "q1_0", "tq1_0", "tq2_0", "mxfp4"};
  if (scheme.kind == SchemeKind::kGgml) return kTypes.contains(to_string(scheme));
  return scheme.kind == SchemeKind::kInteger && scheme.method == Method::kRtn &&
         scheme.clip == Clip::kNone && !scheme.asymmetric;
}

// Where the extreme numbers of a run decode to the extreme codes, and the scale follows from them.
TEST(RoundTrip, ChangesNothingTheSecondTime) {
  for (const std::string& name : lone_scheme_names()) {
    const Scheme scheme = parse_scheme(name);
    const bool is_seed = scheme.kind == SchemeKind::kSeed;
    if (!is_repeatable(scheme) && !is_seed) continue;
    const Numbers once = round_tripped(name, gaussian_numbers(kRows * kCols), kRows, kCols);
    const Numbers twice = round_tripped(name, once, kRows, kCols);
    EXPECT_LE(relative_error(once, twice), is_seed ? kSeedRepeat : 0.0) << name;
  }
}

TEST(RoundTrip, KeepsZerosAndNeverMakesANumberThatIsNotFinite) {
  for (const std::string& name : lone_scheme_names()) {
    const Numbers zeros(2 * kCols);
    EXPECT_EQ(round_tripped(name, zeros, 2, kCols), zeros) << name;
    for (const float size : {1e-45F, 1e-41F, 1e-9F, 3e-8F, 65504.0F}) {
      Numbers matrix = gaussian_numbers(2 * kCols);
      for (float& number : matrix) number = std::clamp(number / 5, -1.0F, 1.0F) * size;
      for (const float number : round_tripped(name, matrix, 2, kCols)) {
        ASSERT_TRUE(std::isfinite(number)) << name << " of numbers up to " << size;
      }
    }
  }
}

TEST(RoundTrip, KeepsSingleZerosOfSchemesThatHaveACodeForThem) {
  Numbers matrix = gaussian_numbers(4 * kCols);
  for (size_t i = 0; i < matrix.size(); i += 3) matrix[i] = 0;
  for (const SchemeKind kind : {SchemeKind::kSeed, SchemeKind::kInteger}) {
    for (const Scheme& scheme : schemes_of(kind)) {
      const Numbers after = round_tripped(to_string(scheme), matrix, 4, kCols);
      for (size_t i = 0; i < matrix.size(); i += 3) ASSERT_EQ(after[i], 0) << to_string(scheme);
    }
  }
}

// 1e-9 / 7 is below half of the smallest F16; a float holds it.
TEST(RoundTrip, MakesZerosOfAScaleThatIsZero) {
  for (const char* name : {"rtn-int4-tensor", "rtn-int4-channel", "rtn-int4-channel-asym"}) {
    EXPECT_EQ(round_tripped(name, {1e-9F, -1e-9F, 0}), (Numbers{0, 0, 0})) << name;
  }
  EXPECT_EQ(round_tripped("seed-int4", {1e-45F, -1e-45F, 0}), (Numbers{0, 0, 0}));
  EXPECT_EQ(round_tripped("seed-int2", {1e-9F, -1e-9F, 0}), (Numbers{1e-9F, -1e-9F, 0}));
}

Failure failure_with(const std::string& scheme, float number) {
  Numbers matrix(2 * kCols, 1);
  matrix[kCols + 5] = number;
  return failure_of([&] { round_tripped(scheme, matrix, 2, kCols); });
}

TEST(RoundTrip, RefusesNumbersBeyondItsScalesNamingTheirPlace) {
  for (const std::string& name : quick_scheme_names()) {
    const bool wide = name == "none" || name == "f32" || name == "bf16" || name.starts_with("seed");
    const Failure failure = failure_with(name, -1e30F);
    EXPECT_EQ(failure.code, wide ? std::nullopt : std::optional(ErrorCode::kNotFinite)) << name;
    EXPECT_EQ(failure_with(name, -65504).code, std::nullopt) << name;
    if (wide) continue;
    EXPECT_TRUE(says(failure.message, {"-1e+30 at row 1, column 5", name, "65504"}));
  }
  EXPECT_EQ(failure_with("bf16", 0x1.fffffep127F).code, ErrorCode::kNotFinite);
  EXPECT_EQ(failure_with("f32", 0x1.fffffep127F).code, std::nullopt);
  for (const float number : {INFINITY, -INFINITY, NAN}) {
    for (const char* name : {"f32", "bf16", "q8_0", "iq3_s", "seed-int4", "rtn-int4-tensor"}) {
      EXPECT_EQ(failure_with(name, number).code, ErrorCode::kNotFinite) << name;
    }
  }
}

TEST(RoundTrip, OfEachRowIsThatOfAllUnlessTheyShareAScale) {
  Numbers matrix = gaussian_numbers(2 * kCols);
  for (size_t i = 0; i < kCols; ++i) matrix[i] *= 10;
  for (const std::string& name : quick_scheme_names()) {
    const Numbers whole = round_tripped(name, matrix, 2, kCols);
    Numbers rows = matrix;
    round_trip(parse_scheme(name), std::span(rows).first(kCols), 1, kCols);
    round_trip(parse_scheme(name), std::span(rows).last(kCols), 1, kCols);
    const Scheme scheme = parse_scheme(name);
    const bool one_scale =
        scheme.kind == SchemeKind::kSeed ||
        (scheme.kind == SchemeKind::kInteger && scheme.granularity == Granularity::kTensor);
    EXPECT_EQ(rows != whole, one_scale) << name;
  }
}

TEST(RoundTripDeathTest, StopsAtASchemeThatDoesNotFit) {
  EXPECT_DEATH(round_tripped("q4_k", Numbers(640)), "fitting_scheme");
  EXPECT_DEATH(round_tripped("rtn-int4-g64", Numbers(96)), "fitting_scheme");
  EXPECT_EQ(round_tripped("q4_k", Numbers(256)), Numbers(256));
}

}  // namespace
}  // namespace isogloss
