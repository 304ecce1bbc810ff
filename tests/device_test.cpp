// Contract of isogloss/device/device.h.
#include "isogloss/device/device.h"

#include <gtest/gtest.h>

#include "tests/model_files.h"

namespace isogloss {
namespace {

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
