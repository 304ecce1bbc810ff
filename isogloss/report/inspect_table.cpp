// A model as a table for people.
#include <algorithm>
#include <map>
#include <tuple>

#include "isogloss/base/error.h"
#include "isogloss/report/inspect_impl.h"
#include "isogloss/report/report_impl.h"

namespace isogloss {
namespace {

constexpr size_t kLabelWidth = 14;  // of a fact

// A column of a table; the first one is aligned left.
struct Column {
  std::string_view title;
  size_t width;
};
constexpr Column kTensorColumns[] = {{"tensor", 32}, {"tensors", 8},     {"type", 8},
                                     {"shape", 16},  {"parameters", 14}, {"bytes", 14}};
constexpr Column kWeightColumns[] = {{"", 28},      {"count", 11},   {"mean", 9},
                                     {"sd", 9},     {"skewness", 9}, {"kurtosis", 9},
                                     {"> 3 sd", 8}, {"max/sd", 8},   {"zeros", 8}};
constexpr Column kSeedColumns[] = {
    {"", 8},          {"count", 11},    {"mean", 10},   {"variance", 10}, {"sd", 10},
    {"skewness", 10}, {"kurtosis", 10}, {"> 3 sd", 10}, {"< 0.01", 10},   {"max", 10}};

// A line of the table of tensors: one, or those of several layers.
struct TensorRow {
  std::string name;  // without ".weight": "attn_q", "attn_q.bias"; one to itself "blk.0.attn_q"
  const TensorView* first = nullptr;
  std::vector<size_t> layers;  // empty outside of the layers
  size_t tensors = 0, parameters = 0, bytes = 0;
};

std::string short_name(const TensorView& tensor, bool with_layer) {
  constexpr std::string_view kSuffix = ".weight";
  constexpr std::string_view kLayer = "blk.{}.";
  std::string_view name = with_layer ? tensor.name : get_role_info(tensor.role).gguf_name;
  if (name.starts_with(kLayer)) name.remove_prefix(kLayer.size());
  if (name.ends_with(kSuffix)) name.remove_suffix(kSuffix.size());
  return std::string(name);
}

// In the order of the roles; `unfold` keeps the model's order, and each tensor to itself.
std::vector<TensorRow> tensor_rows(const Model& model, bool unfold) {
  using Key = std::tuple<size_t, Role, size_t, size_t, std::string>;
  std::map<Key, size_t> places;
  std::vector<TensorRow> rows;
  for (size_t i = 0; i < model.tensors().size(); ++i) {
    const TensorView& tensor = model.tensors()[i];
    const Key key{unfold ? i : 0, tensor.role, tensor.rows, tensor.cols, tensor.type_name()};
    const auto [place, added] = places.emplace(key, rows.size());
    if (added) rows.push_back({short_name(tensor, unfold), &tensor});
    TensorRow& row = rows[place->second];
    if (tensor.layer != kNoLayer) row.layers.push_back(tensor.layer);
    ++row.tensors;
    row.parameters += tensor.count();
    row.bytes += tensor.size_bytes();
  }
  if (!unfold) {
    std::ranges::stable_sort(rows, {}, [](const TensorRow& row) { return row.first->role; });
  }
  return rows;
}

class InspectTable {
 public:
  InspectTable(const InspectReport& report, const InspectStyle& style)
      : report_(report), style_(style) {}

  std::string render() {
    for (const auto& [label, text] : describe(report_.facts, *report_.model)) fact(label, text);
    tensors();
    weights();
    seed();
    return std::move(text_);
  }

 private:
  void line(std::string text) {
    text.erase(text.find_last_not_of(' ') + 1);
    text_ += text + "\n";
  }

  void heading(const std::string& text) {
    line("");
    line(in_style(style_.color, kBold, text));
  }

  // `text` beside its label, over as many lines as it takes.
  void fact(std::string label, std::string text) {
    const size_t room = kLineWidth - kLabelWidth;
    while (text.size() > room) {
      const size_t space = text.rfind(' ', room);
      const bool found = space != text.npos && space != 0;
      const size_t end = found ? space : character_start(text, room);
      line(fmt::format("{:<{}}{}", label, kLabelWidth, text.substr(0, end)));
      text = text.substr(found ? end + 1 : end);
      label.clear();
    }
    line(fmt::format("{:<{}}{}", label, kLabelWidth, text));
  }

  // A first cell that is too long has lines of its own, cut after commas.
  void row(std::span<const Column> columns, const std::vector<std::string>& cells) {
    std::string name = cells.front();
    while (name.size() > kLineWidth) {
      const size_t comma = name.rfind(',', kLineWidth - 1);
      const size_t end = comma == name.npos ? kLineWidth : comma + 1;
      line(name.substr(0, end));
      name = "    " + name.substr(end);
    }
    if (name.size() >= columns.front().width) {
      line(name);
      name.clear();
    }
    std::string text = fmt::format("{:<{}}", name, columns.front().width);
    for (size_t i = 1; i < cells.size(); ++i) {
      text += fmt::format("{:>{}}", cells[i], columns[i].width);
    }
    line(text);
  }

  void titles(std::span<const Column> columns) {
    std::vector<std::string> cells;
    for (const Column& column : columns) cells.emplace_back(column.title);
    row(columns, cells);
  }

  void tensor_row(const TensorRow& tensor) {
    const bool folded = !style_.unfold && !tensor.layers.empty();
    const std::string name =
        (folded ? fmt::format("blk.{} ", layer_ranges(tensor.layers)) : "") + tensor.name;
    const TensorView& first = *tensor.first;
    const std::string shape = first.rows == 1 ? fmt::format("{}", first.cols)
                                              : fmt::format("{} x {}", first.rows, first.cols);
    row(kTensorColumns, {name, fmt::format("{}", tensor.tensors), first.type_name(), shape,
                         fmt::format("{}", tensor.parameters), fmt::format("{}", tensor.bytes)});
  }

  void tensors() {
    line("");
    titles(kTensorColumns);
    TensorRow all;
    for (const TensorRow& tensor : tensor_rows(*report_.model, style_.unfold)) {
      tensor_row(tensor);
      all.tensors += tensor.tensors;
      all.parameters += tensor.parameters;
      all.bytes += tensor.bytes;
    }
    row(kTensorColumns, {"all", fmt::format("{}", all.tensors), "", "",
                         fmt::format("{}", all.parameters), fmt::format("{}", all.bytes)});
  }

  static void add_shape(const WeightStatistics& statistics, std::vector<std::string>& cells) {
    if (const auto& shape = statistics.shape) {
      cells.push_back(short_number(shape->skewness));
      cells.push_back(short_number(shape->excess_kurtosis));
      cells.push_back(short_number(100 * shape->outlier_ratio));
    } else {
      cells.insert(cells.end(), {"constant", "", ""});
    }
  }

  void weight_row(const WeightGroup& group) {
    const WeightStatistics& s = group.statistics;
    std::vector<std::string> cells = {group.name, fmt::format("{}", s.count), short_number(s.mean),
                                      short_number(s.sd)};
    add_shape(s, cells);
    cells.push_back(s.shape ? short_number(s.shape->max_over_sd) : "");
    cells.push_back(short_number(100 * s.sparsity));
    row(kWeightColumns, cells);
  }

  void weights() {
    const WeightStudy& study = report_.weights;
    if (study.layers.empty() && study.tensors.empty()) return;
    heading("weights: kurtosis is excess kurtosis; > 3 sd (|w|) and zeros in per cent");
    titles(kWeightColumns);
    std::optional<TensorKind> kind;
    for (const WeightGroup& group : study.layers) {
      if (group.kind != kind) line(plural(*group.kind));
      kind = group.kind;
      weight_row(group);
    }
    if (!study.tensors.empty()) line("tensors");
    for (const WeightGroup& group : study.tensors) weight_row(group);
  }

  static std::string plural(TensorKind kind) {
    switch (kind) {
      case TensorKind::kMatrix:
        return "matrices";
      case TensorKind::kEmbedding:
        return "embeddings";
      case TensorKind::kNorm:
        return "norms";
      case TensorKind::kBias:
        return "biases";
    }
    ISOGLOSS_ASSERT(false);
  }

  void seed() {
    if (report_.weights.seed.empty()) return;
    heading("weights as the published study takes them: matrices and norms of a layer in one");
    titles(kSeedColumns);
    for (const WeightGroup& group : report_.weights.seed) {
      const WeightStatistics& s = group.statistics;
      std::vector<std::string> cells = {group.name, fmt::format("{}", s.count),
                                        short_number(s.mean), short_number(s.sd * s.sd),
                                        short_number(s.sd)};
      add_shape(s, cells);
      cells.push_back(short_number(100 * s.sparsity));
      cells.push_back(short_number(s.max_abs));
      row(kSeedColumns, cells);
    }
  }

  const InspectReport& report_;
  const InspectStyle& style_;
  std::string text_;
};

}  // namespace

std::string to_table(const InspectReport& report, const InspectStyle& style) {
  return InspectTable(report, style).render();
}

}  // namespace isogloss
