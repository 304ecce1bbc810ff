// GPTQ over one half-block, in the order in which its products follow each other ("true sequential"
// in AutoGPTQ): Hessians of what the first ones read, their codes, and Hessians of what these make
// the last one read.
#include <set>

#include "isogloss/base/error.h"
#include "isogloss/calibrate/calibrate_impl.h"
#include "isogloss/calibrate/solvers_impl.h"

namespace isogloss {
namespace {

// Tensors that multiply the same numbers.
struct InputGroup {
  std::vector<size_t> tensors;
  Hessian hessian;
};

// Of inputs to last products that are kept until the half-block is run with its codes: what 65536
// tokens take in a layer of 4096. Beyond it they are computed again.
constexpr uint64_t kMostKeptInputs = uint64_t{1} << 30;

class HessianSums {
 public:
  explicit HessianSums(const HalfTask& task) : task_(task) {}

  // What one batch shows; each token counts `factor`.
  ProductObserver observer(double factor) {
    added_.clear();
    last_ = nullptr;
    return [this, factor](const ProductInput& input) { add(input, factor); };
  }
  std::vector<InputGroup>& groups() { return groups_; }

 private:
  void add(const ProductInput& input, double factor) {
    const auto tensor = task_.model().find_tensor(input.role, task_.half / 2);
    ISOGLOSS_ASSERT(tensor.has_value());
    const bool wanted = task_.scheme(*tensor).method == Method::kGptq;
    if (!wanted) return;
    const auto [place, is_new] = group_of_.try_emplace(*tensor, groups_.size());
    if (is_new && input.rows.data() == last_) place->second = groups_.size() - 1;
    if (place->second == groups_.size()) groups_.push_back({{}, Hessian(input.cols)});
    InputGroup& group = groups_[place->second];
    if (is_new) group.tensors.push_back(*tensor);
    last_ = input.rows.data();
    if (!added_.insert(place->second).second) return;
    check_inputs(task_.model(), *tensor, input);
    if (factor != 0) group.hessian.add(input.rows, factor);
  }

  const HalfTask& task_;
  std::vector<InputGroup> groups_;
  std::map<size_t, size_t> group_of_;  // by tensor
  std::set<size_t> added_;             // groups, of this batch
  const float* last_ = nullptr;
};

void check_length(const HalfTask& task, const InputGroup& group) {
  const TensorView& tensor = task.model().tensors()[group.tensors.front()];
  const uint64_t tokens = group.hessian.tokens();
  if (tokens >= tensor.cols || task.request->calibration->allow_short) return;
  fail(ErrorCode::kBadArgument,
       "GPTQ of '{}': it has {} columns, and the calibration text {} tokens in languages that "
       "weigh; what their Hessian says of {} directions is nothing but damping. Give more text, "
       "or --allow-short-calibration to go on",
       tensor.name, tensor.cols, tokens, tensor.cols - tokens);
}

void add_notes(const HalfTask& task, const InputGroup& group, const GptqSolver& solver,
               std::vector<QuantizeNote>& notes) {
  for (const size_t tensor : group.tensors) {
    if (solver.damping() != task.request->calibration->damping) {
      notes.push_back({tensor, fmt::format("damping raised to {}: its Hessian is not positive "
                                           "definite",
                                           solver.damping())});
    }
    if (solver.dead_columns() == 0) continue;
    notes.push_back(
        {tensor, fmt::format("{} of {} columns multiply only zeros in this text",
                             solver.dead_columns(), task.model().tensors()[tensor].cols)});
  }
}

// Codes of the tensors whose Hessians are known.
std::vector<FinishedTensor> solve(const HalfTask& task, std::vector<InputGroup>& groups,
                                  std::vector<QuantizeNote>& notes) {
  const Calibration& calibration = *task.request->calibration;
  std::vector<FinishedTensor> finished;
  for (InputGroup& group : groups) {
    check_length(task, group);
    const GptqSolver solver(std::move(group.hessian),
                            {.damping = calibration.damping, .act_order = calibration.act_order});
    for (const size_t tensor : group.tensors) {
      const TensorView& view = task.model().tensors()[tensor];
      std::vector<float> weights(view.count());
      decode(view, weights);
      finished.push_back({tensor, solver.quantize(task.scheme(tensor), weights, view.rows), {}});
    }
    add_notes(task, group, solver, notes);
  }
  return finished;
}

// The product whose result a half-block adds.
Role last_role(size_t half) {
  return half % 2 == 0 ? Role::kAttentionOutput : Role::kFfnDown;
}

}  // namespace

void gptq_half(const HalfTask& task, std::vector<QuantizeNote>& notes, const KeepFinished& keep) {
  const Calibration& calibration = *task.request->calibration;
  const auto tokens = count_tokens(*calibration.corpus);
  const auto factor_of = [&](const CalibrationBatch& batch) {
    return 2 * calibration.weights[batch.language] / static_cast<double>(tokens[batch.language]);
  };
  HessianSums first(task);
  for (CalibrationBatch& batch : *task.batches) {
    task.engine->observe_first(task.variant, task.half, batch.batch, batch.hidden,
                               first.observer(factor_of(batch)));
  }
  keep(solve(task, first.groups(), notes));

  // The last product reads what the codes so far make of the text.
  const Role role = last_role(task.half);
  HessianSums last(task);
  uint64_t kept = 0;
  for (CalibrationBatch& batch : *task.batches) {
    HiddenStates input =
        task.engine->run_to_last_product(task.variant, task.half, batch.batch, batch.hidden);
    const std::span<const float> rows(input.data(), input.tokens() * input.width());
    last.observer(factor_of(batch))({role, input.width(), rows});
    kept += rows.size_bytes();
    if (kept <= kMostKeptInputs) batch.last_input = std::move(input);
  }
  keep(solve(task, last.groups(), notes));
}

}  // namespace isogloss
