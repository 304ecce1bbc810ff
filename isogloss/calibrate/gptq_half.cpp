// GPTQ over one half-block: Hessians of what its products read, then codes.
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

}  // namespace

std::vector<FinishedTensor> gptq_half(const HalfTask& task, std::vector<QuantizeNote>& notes) {
  const Calibration& calibration = *task.request->calibration;
  const auto tokens = count_tokens(*calibration.corpus);
  HessianSums sums(task);
  for (CalibrationBatch& batch : *task.batches) {
    const double count = static_cast<double>(tokens[batch.language]);
    const double factor = 2 * calibration.weights[batch.language] / count;
    task.engine->observe_half(task.variant, task.half, batch.batch, batch.hidden,
                              sums.observer(factor));
  }
  std::vector<FinishedTensor> finished;
  for (InputGroup& group : sums.groups()) {
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

}  // namespace isogloss
