// Contract of isogloss/plan/plan.h.
#include "isogloss/plan/plan.h"

#include <gtest/gtest.h>

#include "isogloss/base/file.h"
#include "tests/failure.h"
#include "tests/loaded_model.h"
#include "tests/temporary_directory.h"

namespace isogloss {
namespace {

const Model& tiny() {
  static const Model kModel = read_model(repository_path("tests/data/tiny-gpt2"));
  return kModel;
}

Assignment mixed() {
  return assign(tiny(), {.scheme = parse_scheme("q4_0"),
                         .protect = "L0.mlp",
                         .protect_scheme = parse_scheme("rtn-int8-g32")});
}

TEST(Plans, ReadBackToTheSameAssignment) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "plan.json";
  const Plan plan = make_plan(tiny(), mixed());
  write_plan(plan, path);
  EXPECT_EQ(read_plan(path), plan);
  EXPECT_EQ(assign(tiny(), read_plan(path), "plan.json").schemes, mixed().schemes);
}

TEST(Plans, LeaveTensorsAloneThatTheyDoNotName) {
  Plan plan = make_plan(tiny(), unchanged(tiny()));
  EXPECT_TRUE(plan.schemes.empty());
  plan.schemes["blk.1.ffn_up.weight"] = parse_scheme("q8_0");
  const Assignment assignment = assign(tiny(), plan, "plan");
  size_t changed = 0;
  for (const Scheme& scheme : assignment.schemes) changed += scheme.kind != SchemeKind::kNone;
  EXPECT_EQ(changed, 1U);
}

TEST(Plans, FallBackWhereRowsDoNotFit) {
  Plan plan = make_plan(tiny(), unchanged(tiny()));
  plan.schemes["blk.1.ffn_up.weight"] = parse_scheme("q4_k");
  const Assignment assignment = assign(tiny(), plan, "plan");
  ASSERT_EQ(assignment.fallbacks.size(), 1U);
  EXPECT_EQ(to_string(assignment.fallbacks[0].wanted), "q4_k");
  EXPECT_NE(to_string(assignment.fallbacks[0].used), "q4_k");
}

TEST(Plans, AreRefusedForAnotherModelOrUnknownTensors) {
  const Plan good = make_plan(tiny(), mixed());
  const auto refusal = [&](auto&& change) {
    Plan plan = good;
    change(plan);
    return failure_of([&] { assign(tiny(), plan, "p.json"); });
  };
  const Failure layers = refusal([](Plan& plan) { plan.layers = 12; });
  EXPECT_EQ(layers.code, ErrorCode::kMismatch);
  EXPECT_TRUE(says(layers.message, {"p.json", "another model", "layers is 12"}));
  EXPECT_TRUE(
      says(refusal([](Plan& plan) { plan.family = "llama"; }).message, {"family", "llama"}));
  EXPECT_TRUE(says(refusal([](Plan& plan) { ++plan.parameters; }).message, {"parameters"}));
  const Failure tensor =
      refusal([](Plan& plan) { plan.schemes["blk.1.ffn_upp.weight"] = parse_scheme("q8_0"); });
  EXPECT_EQ(tensor.code, ErrorCode::kMismatch);
  EXPECT_TRUE(
      says(tensor.message, {"blk.1.ffn_upp.weight", "did you mean", "blk.1.ffn_up.weight"}));
  EXPECT_EQ(refusal([](Plan&) {}).code, std::nullopt);
}

TEST(Plans, AreRefusedWhereTheFileIsNone) {
  const TemporaryDirectory directory;
  const auto refusal = [&](const std::string& text) {
    const auto path = directory.write("plan.json", text);
    return failure_of([&] { read_plan(path); });
  };
  const std::string model = R"("model": {"family": "gpt2", "layers": 2, "parameters": 7})";
  EXPECT_EQ(refusal("{").code, ErrorCode::kCorrupt);
  EXPECT_TRUE(says(refusal("{}").message, {"isogloss_plan"}));
  EXPECT_TRUE(says(refusal(R"({"isogloss_plan": 2})").message, {"version 2"}));
  EXPECT_TRUE(says(refusal(R"({"isogloss_plan": 1, )" + model + "}").message, {"tensors"}));
  const Failure scheme = refusal(R"({"isogloss_plan": 1, )" + model +
                                 R"(, "tensors": {"blk.0.ffn_up.weight": "q4_00"}})");
  EXPECT_EQ(scheme.code, ErrorCode::kBadArgument);
  EXPECT_TRUE(says(scheme.message, {"blk.0.ffn_up.weight", "q4_00", "did you mean"}));
  const Failure number =
      refusal(R"({"isogloss_plan": 1, )" + model + R"(, "tensors": {"blk.0.ffn_up.weight": 4}})");
  EXPECT_EQ(number.code, ErrorCode::kCorrupt);
  EXPECT_EQ(refusal(R"({"isogloss_plan": 1, )" + model +
                    R"(, "tensors": {"blk.0.ffn_up.weight": "q4_0"}})")
                .code,
            std::nullopt);
}

}  // namespace
}  // namespace isogloss
