// Which weights are taken together, and the two readings of them.
#include <algorithm>
#include <map>
#include <utility>

#include "isogloss/base/error.h"
#include "isogloss/study/moments_impl.h"

namespace isogloss {
namespace {

// A tensor's name as a unit set spells it.
std::string unit_name(const TensorView& tensor) {
  constexpr std::string_view kSuffix = ".weight";
  std::string name = tensor.name;
  if (name.ends_with(kSuffix)) name.resize(name.size() - kSuffix.size());
  return name;
}

std::string layer_name(size_t layer) {
  return fmt::format("L{}", layer);
}

template <typename Predicate>
std::vector<size_t> tensors_where(const Model& model, Predicate predicate) {
  std::vector<size_t> found;
  for (size_t i = 0; i < model.tensors().size(); ++i) {
    if (predicate(model.tensors()[i])) found.push_back(i);
  }
  return found;
}

TensorKind kind_of(const TensorView& tensor) {
  return get_role_info(tensor.role).kind;
}

WeightGroup tensor_group(const Model& model, size_t index) {
  const TensorView& tensor = model.tensors()[index];
  WeightGroup group{unit_name(tensor), kind_of(tensor), tensor.layer, {index}};
  return group;
}

std::vector<WeightGroup> groups_of_kind(const Model& model, TensorKind kind) {
  std::vector<WeightGroup> groups;
  const auto add = [&](std::string name, size_t layer, std::vector<size_t> tensors) {
    if (!tensors.empty()) groups.push_back({std::move(name), kind, layer, std::move(tensors)});
  };
  const size_t layers = model.config().layers;
  for (size_t layer = 0; layer < layers; ++layer) {
    add(layer_name(layer), layer, tensors_where(model, [&](const TensorView& tensor) {
          return tensor.layer == layer && kind_of(tensor) == kind;
        }));
  }
  if (kind == TensorKind::kMatrix && groups.size() > 1) {
    add(fmt::format("L0-{}", layers - 1), kNoLayer,
        tensors_where(model, [&](const TensorView& tensor) {
          return tensor.layer != kNoLayer && kind_of(tensor) == kind;
        }));
  }
  for (size_t i = 0; i < model.tensors().size(); ++i) {
    const TensorView& tensor = model.tensors()[i];
    if (tensor.layer == kNoLayer && kind_of(tensor) == kind) {
      groups.push_back(tensor_group(model, i));
    }
  }
  return groups;
}

std::vector<WeightGroup> layer_groups(const Model& model) {
  std::vector<WeightGroup> groups;
  for (const TensorKind kind :
       {TensorKind::kMatrix, TensorKind::kEmbedding, TensorKind::kNorm, TensorKind::kBias}) {
    for (WeightGroup& group : groups_of_kind(model, kind)) groups.push_back(std::move(group));
  }
  return groups;
}

std::vector<WeightGroup> tensor_groups(const Model& model) {
  std::vector<WeightGroup> groups;
  for (size_t i = 0; i < model.tensors().size(); ++i) groups.push_back(tensor_group(model, i));
  return groups;
}

std::vector<WeightGroup> seed_groups(const Model& model) {
  std::vector<WeightGroup> groups;
  for (size_t layer = 0; layer < model.config().layers; ++layer) {
    auto tensors = tensors_where(model, [&](const TensorView& tensor) {
      return tensor.layer == layer && tensor.hf_name.find("weight") != std::string::npos;
    });
    if (tensors.empty()) continue;
    groups.push_back(
        {layer_name(layer), std::nullopt, layer, std::move(tensors), StatisticsWay::kSeed});
  }
  return groups;
}

// Statistics of several groups, which may share tensors, from two readings of every tensor.
class GroupReader {
 public:
  GroupReader(const Model& model, std::vector<WeightGroup*> groups, const Progress& progress)
      : model_(model), groups_(std::move(groups)), progress_(progress) {
    for (WeightGroup* group : groups_) {
      for (const size_t tensor : group->tensors) readers_[tensor].push_back(group);
    }
    for (const auto& [tensor, readers] : readers_) to_read_ += 2 * model_.tensors()[tensor].count();
  }

  void read() {
    std::map<size_t, Moments> moments;
    for (const auto& [tensor, readers] : readers_) {
      moments.emplace(tensor, read_moments(model_.tensors()[tensor]));
      report("moments", tensor);
    }
    for (WeightGroup* group : groups_) {
      Moments all;
      for (const size_t tensor : group->tensors) merge(all, moments.at(tensor));
      group->statistics = statistics_of(all, group->way);
    }
    std::map<WeightGroup*, uint64_t> outliers;
    for (const auto& [tensor, readers] : readers_) {
      count_outliers(model_.tensors()[tensor], readers, outliers);
      report("outliers", tensor);
    }
    for (const auto& [group, count] : outliers) {
      group->statistics.shape->outlier_ratio =
          static_cast<double>(count) / static_cast<double>(group->statistics.count);
    }
  }

 private:
  static Moments read_moments(const TensorView& tensor) {
    std::vector<Moments> pieces(count_pieces(tensor));
    for_each_piece(tensor, [&](size_t piece, std::span<const float> numbers) {
      pieces[piece] = moments_of(numbers);
    });
    Moments all;
    for (const Moments& piece : pieces) merge(all, piece);
    return all;
  }

  static void count_outliers(const TensorView& tensor, const std::vector<WeightGroup*>& readers,
                             std::map<WeightGroup*, uint64_t>& outliers) {
    std::vector<WeightGroup*> spread;  // those that have a deviation to count beyond
    std::ranges::copy_if(readers, std::back_inserter(spread), [](const WeightGroup* group) {
      return group->statistics.shape.has_value();
    });
    if (spread.empty()) return;
    std::vector<uint64_t> counts(count_pieces(tensor) * spread.size());
    for_each_piece(tensor, [&](size_t piece, std::span<const float> numbers) {
      for (size_t i = 0; i < spread.size(); ++i) {
        const double bound = kOutlierDeviations * spread[i]->statistics.sd;
        counts[piece * spread.size() + i] = count_beyond(numbers, bound);
      }
    });
    for (size_t i = 0; i < counts.size(); ++i) outliers[spread[i % spread.size()]] += counts[i];
  }

  void report(const char* stage, size_t tensor) {
    read_ += model_.tensors()[tensor].count();
    if (progress_) progress_(stage, static_cast<double>(read_) / static_cast<double>(to_read_));
  }

  const Model& model_;
  std::vector<WeightGroup*> groups_;
  const Progress& progress_;
  std::map<size_t, std::vector<WeightGroup*>> readers_;  // by tensor
  uint64_t to_read_ = 0, read_ = 0;                      // numbers, each twice
};

}  // namespace

WeightStudy study_weights(const Model& model, const WeightStudyOptions& options,
                          const Progress& progress) {
  WeightStudy study;
  if (options.by_layer) study.layers = layer_groups(model);
  if (options.by_tensor) study.tensors = tensor_groups(model);
  if (options.seed_way) study.seed = seed_groups(model);
  std::vector<WeightGroup*> groups;
  for (auto* list : {&study.layers, &study.tensors, &study.seed}) {
    for (WeightGroup& group : *list) groups.push_back(&group);
  }
  GroupReader(model, groups, progress).read();
  return study;
}

}  // namespace isogloss
