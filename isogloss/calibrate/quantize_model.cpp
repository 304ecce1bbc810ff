// Finishes the tensors of a model, half-block by half-block where codes go by what they multiply.
#include <algorithm>

#include "isogloss/base/error.h"
#include "isogloss/calibrate/calibrate_impl.h"

namespace isogloss {
namespace {

bool uses(const QuantizeRequest& request, Method method) {
  return std::ranges::any_of(request.assignment->schemes, [&](const Scheme& scheme) {
    return scheme.kind == SchemeKind::kInteger && scheme.method == method;
  });
}

// The clip that goes by an effective kurtosis, if the assignment has one; kNone else.
Clip calibrated_clip(const QuantizeRequest& request) {
  for (const Scheme& scheme : request.assignment->schemes) {
    if (scheme.method == Method::kRtn && needs_calibration(scheme)) return scheme.clip;
  }
  return Clip::kNone;
}

void check_importance(const QuantizeRequest& request, size_t tensor) {
  const TensorView& view = request.model->tensors()[tensor];
  const Scheme& scheme = request.assignment->schemes[tensor];
  const auto means = request.imatrix ? request.imatrix->means(view.name) : std::vector<float>{};
  if (means.empty() && needs_importance(scheme)) {
    fail(ErrorCode::kBadArgument,
         "'{}' as {}: ggml encodes this type only by an importance matrix, and {}", view.name,
         to_string(scheme),
         request.imatrix ? "the one given has no entry for it" : "none was given");
  }
  if (means.empty() || means.size() == view.cols) return;
  fail(ErrorCode::kMismatch,
       "importance matrix: its entry '{}' has {} columns, the tensor {}; it is of another model",
       view.name, means.size(), view.cols);
}

void check_request(Engine* engine, const QuantizeRequest& request) {
  const auto& schemes = request.assignment->schemes;
  ISOGLOSS_ASSERT(schemes.size() == request.model->tensors().size());
  for (size_t i = 0; i < schemes.size(); ++i) {
    const TensorView& tensor = request.model->tensors()[i];
    if (schemes[i].kind == SchemeKind::kGgml) check_importance(request, i);
    if (!needs_calibration(schemes[i])) continue;
    if (!request.calibration) {
      fail(ErrorCode::kBadArgument, "'{}' as {}: takes calibration text, and there is none",
           tensor.name, to_string(schemes[i]));
    }
    ISOGLOSS_ASSERT(engine != nullptr);
    const bool block_matrix =
        half_of(tensor) && get_role_info(tensor.role).kind == TensorKind::kMatrix;
    if (block_matrix || schemes[i].method == Method::kRtn) continue;
    fail(ErrorCode::kUnsupported,
         "'{}' as {}: only the weight matrices of the blocks are calibrated; keep it, or give it "
         "another scheme",
         tensor.name, to_string(schemes[i]));
  }
}

// The numbers a runtime will have for a tensor.
std::shared_ptr<const std::vector<float>> numbers_of(const FinishedTensor& finished) {
  if (!finished.encoded) return std::make_shared<std::vector<float>>(finished.numbers);
  const EncodedMatrix& matrix = *finished.encoded;
  auto numbers = std::make_shared<std::vector<float>>(matrix.rows * matrix.cols);
  decode(matrix, *numbers);
  return numbers;
}

// Encodes without calibration text; kurtosis for the clips that go by it.
FinishedTensor finish_alone(const QuantizeRequest& request, size_t tensor,
                            std::optional<double> kurtosis) {
  const TensorView& view = request.model->tensors()[tensor];
  const Scheme& scheme = request.assignment->schemes[tensor];
  if (scheme.kind == SchemeKind::kNone) return {tensor, std::nullopt, {}};
  std::vector<float> importance;
  if (scheme.kind == SchemeKind::kGgml && request.imatrix) {
    importance = request.imatrix->means(view.name);
  }
  return {tensor, encode(scheme, view, {importance, kurtosis}), {}};
}

class ModelQuantizer {
 public:
  ModelQuantizer(Engine* engine, const QuantizeRequest& request,
                 const std::function<void(FinishedTensor&&)>& sink, const Progress& progress)
      : engine_(engine),
        request_(request),
        model_(*request.model),
        stored_(unchanged(model_)),
        sink_(sink),
        progress_(progress) {}

  std::vector<QuantizeNote> run();

 private:
  Variant variant() const { return {&model_, &stored_, &overrides_}; }
  void finish_next(std::map<size_t, FinishedTensor>& ready);
  void run_half(size_t half);
  std::map<size_t, FinishedTensor> finish_half(const std::vector<size_t>& tensors, size_t half);
  size_t batch_tokens() const;
  // The tensors from `next_` on that are of the same half, or of none.
  std::vector<size_t> next_run() const;

  Engine* engine_;
  const QuantizeRequest& request_;
  const Model& model_;
  Assignment stored_;
  const std::function<void(FinishedTensor&&)>& sink_;
  const Progress& progress_;
  TensorOverrides overrides_;  // of the tensors that batches are run with next
  std::vector<CalibrationBatch> batches_;
  std::optional<double> kurtosis_;
  std::vector<QuantizeNote> notes_;
  size_t next_ = 0;  // the first tensor not yet given to the sink
};

// AWQ searches on the first batch of each language.
size_t ModelQuantizer::batch_tokens() const {
  const size_t most = CalibrationOptions{}.batch_tokens;
  if (!uses(request_, Method::kAwq)) return most;
  const Calibration& calibration = *request_.calibration;
  return std::min(most, calibration.search_tokens / calibration.corpus->languages.size());
}

void ModelQuantizer::finish_next(std::map<size_t, FinishedTensor>& ready) {
  const auto found = ready.find(next_);
  if (found == ready.end()) {
    sink_(finish_alone(request_, next_, kurtosis_));
  } else {
    sink_(std::move(found->second));
  }
  ++next_;
  if (progress_) {
    progress_("quantize",
              static_cast<double>(next_) / static_cast<double>(model_.tensors().size()));
  }
}

std::vector<size_t> ModelQuantizer::next_run() const {
  std::vector<size_t> run;
  const auto half = half_of(model_.tensors()[next_]);
  for (size_t i = next_; i < model_.tensors().size(); ++i) {
    if (half_of(model_.tensors()[i]) != half) break;
    run.push_back(i);
  }
  return run;
}

std::map<size_t, FinishedTensor> ModelQuantizer::finish_half(const std::vector<size_t>& tensors,
                                                             size_t half) {
  const HalfTask task{engine_, &request_, half, tensors, &batches_, variant()};
  std::map<size_t, FinishedTensor> ready;
  // Batches are run with it from now on.
  const auto keep_one = [&](FinishedTensor&& finished) {
    const size_t tensor = finished.tensor;
    if (finished.encoded || !finished.numbers.empty()) overrides_[tensor] = numbers_of(finished);
    ready.emplace(tensor, std::move(finished));
  };
  const auto keep = [&](std::vector<FinishedTensor> finished) {
    for (FinishedTensor& tensor : finished) keep_one(std::move(tensor));
  };
  const auto takes = [&](size_t tensor, Method method) {
    const Scheme& scheme = request_.assignment->schemes[tensor];
    return scheme.kind == SchemeKind::kInteger && scheme.method == method;
  };
  const auto has = [&](Method method) {
    return std::ranges::any_of(tensors, [&](size_t tensor) { return takes(tensor, method); });
  };
  if (has(Method::kAwq)) keep(awq_half(task, notes_));
  for (const size_t tensor : tensors) {
    if (ready.contains(tensor) || takes(tensor, Method::kGptq)) continue;
    keep_one(finish_alone(request_, tensor, kurtosis_));
  }
  if (has(Method::kGptq)) gptq_half(task, notes_, keep);
  return ready;
}

void ModelQuantizer::run_half(size_t half) {
  const auto tensors = next_run();
  auto ready = finish_half(tensors, half);
  const bool is_last = half + 1 == Engine::halves(model_);
  for (CalibrationBatch& batch : batches_) {
    if (is_last) break;
    if (batch.last_input.tokens() > 0) {
      engine_->run_last_product(variant(), half, batch.last_input, batch.hidden);
      batch.last_input = {};
    } else {
      engine_->run_half(variant(), half, batch.batch, batch.hidden);
    }
  }
  overrides_.clear();
  while (next_ <= tensors.back()) finish_next(ready);
}

std::vector<QuantizeNote> ModelQuantizer::run() {
  // Some half-block needs what the text is before it.
  const bool follows_text = uses(request_, Method::kGptq) || uses(request_, Method::kAwq);
  const Clip clip = calibrated_clip(request_);
  if (clip != Clip::kNone) kurtosis_ = effective_kurtosis(*engine_, request_, clip);
  while (next_ < model_.tensors().size()) {
    const auto half = half_of(model_.tensors()[next_]);
    if (follows_text && half) {
      if (*half == 0) {
        batches_ = embed_corpus(*engine_, variant(), *request_.calibration->corpus, batch_tokens());
        overrides_.clear();
      }
      run_half(*half);
      continue;
    }
    FinishedTensor finished = finish_alone(request_, next_, kurtosis_);
    if (follows_text && finished.encoded) overrides_[next_] = numbers_of(finished);
    std::map<size_t, FinishedTensor> ready;
    ready.emplace(next_, std::move(finished));
    finish_next(ready);
  }
  return std::move(notes_);
}

}  // namespace

std::optional<size_t> half_of(const TensorView& tensor) {
  const RoleInfo& role = get_role_info(tensor.role);
  if (!role.per_layer()) return std::nullopt;
  return 2 * tensor.layer + (role.component == Component::kMlp ? 1 : 0);
}

std::vector<QuantizeNote> quantize_model(Engine* engine, const QuantizeRequest& request,
                                         const std::function<void(FinishedTensor&&)>& sink,
                                         const Progress& progress) {
  check_request(engine, request);
  return ModelQuantizer(engine, request, sink, progress).run();
}

}  // namespace isogloss
