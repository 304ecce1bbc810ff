// The tensors of a quantized directory to packed matrices.
#include <algorithm>
#include <cstring>
#include <map>

#include "isogloss/base/error.h"
#include "isogloss/model/packed_impl.h"

namespace isogloss {
namespace {

constexpr uint64_t kWordBits = 32;

std::string shape_text(const std::vector<uint64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

std::string_view dtype_name(TensorType type) {
  switch (type) {
    case TensorType::kF32:
      return "F32";
    case TensorType::kF16:
      return "F16";
    case TensorType::kBf16:
      return "BF16";
    case TensorType::kI32:
      return "I32";
    default:
      return "I64";
  }
}

// Parts by what follows the module's name.
using Parts = std::map<std::string_view, StoredTensor>;

// The tensors that stand for one module's weight.
class Module {
 public:
  Module(const std::string& path, std::string_view name, const Parts& parts)
      : path_(path), name_(name), parts_(parts) {}

  bool has(std::string_view part) const { return parts_.contains(part); }

  const StoredTensor& get(std::string_view part) const {
    const auto found = parts_.find(part);
    if (found != parts_.end()) return found->second;
    fail(ErrorCode::kCorrupt, "{}: module '{}' has '{}' and no '{}'; parts of a matrix are missing",
         path_, name_, parts_.begin()->first, part);
  }

  const StoredTensor& get(std::string_view part, TensorType type, size_t dimensions) const {
    const StoredTensor& tensor = get(part);
    if (tensor.type != type) wrong_type(part, dtype_name(type));
    if (tensor.shape.size() != dimensions) {
      wrong(part, fmt::format("has shape {}, expected {} dimensions", shape_text(tensor.shape),
                              dimensions));
    }
    return tensor;
  }

  const StoredTensor& get_scales(std::string_view part) const {
    const StoredTensor& tensor = get(part);
    const bool integer = tensor.type == TensorType::kI32 || tensor.type == TensorType::kI64;
    if (integer) wrong_type(part, "F16, BF16 or F32");
    return tensor;
  }

  void expect_shape(std::string_view part, const std::vector<uint64_t>& expected) const {
    const StoredTensor& tensor = get(part);
    if (tensor.shape == expected) return;
    wrong(part, fmt::format("has shape {}, expected {} beside the module's other parts",
                            shape_text(tensor.shape), shape_text(expected)));
  }

  // The one of `bits` of which `count` codes take so many words.
  int find_bits(std::string_view part, const std::set<int>& bits, uint64_t count,
                uint64_t words) const {
    std::vector<int> fitting;
    for (const int b : bits) {
      const uint64_t most = words * kWordBits / static_cast<uint64_t>(b);
      const bool fits =
          count <= most && (count * static_cast<uint64_t>(b) + kWordBits - 1) / kWordBits == words;
      if (fits) fitting.push_back(b);
    }
    if (fitting.size() == 1) return fitting.front();
    const bool none = fitting.empty();
    wrong(part,
          fmt::format("has {} words for {} codes, {} {} bits that config.json names", words, count,
                      none ? "not what they take at the" : "which fits several of the",
                      fmt::join(none ? std::vector(bits.begin(), bits.end()) : fitting, " or ")));
  }

  [[noreturn]] void wrong(std::string_view part, const std::string& what) const {
    fail(ErrorCode::kCorrupt, "{}: tensor '{}.{}' {}", path_, name_, part, what);
  }

 private:
  [[noreturn]] void wrong_type(std::string_view part, std::string_view expected) const {
    fail(ErrorCode::kUnsupported, "{}: tensor '{}.{}' has dtype {}, expected {}", path_, name_,
         part, dtype_name(get(part).type), expected);
  }

  const std::string& path_;
  std::string_view name_;
  const Parts& parts_;
};

template <typename T>
T number_at(const StoredTensor& tensor, size_t index) {
  T value;
  std::memcpy(&value, tensor.bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

// Each column's group, where it is not what the sizes say.
void read_groups(const Module& module, std::string_view part, PackedMatrix& matrix) {
  const StoredTensor& tensor = module.get(part, TensorType::kI32, 1);
  module.expect_shape(part, {matrix.cols});
  std::vector<uint32_t> groups(matrix.cols);
  bool in_order = true;
  for (size_t col = 0; col < matrix.cols; ++col) {
    const auto group = number_at<int32_t>(tensor, col);
    if (group < 0 || static_cast<uint64_t>(group) >= matrix.groups) {
      module.wrong(
          part, fmt::format("holds {} at {}, and there are {} groups", group, col, matrix.groups));
    }
    groups[col] = static_cast<uint32_t>(group);
    in_order = in_order && groups[col] == col / matrix.group_size;
  }
  matrix.index_bytes += tensor.bytes.size();
  if (!in_order) matrix.group_of_column = std::move(groups);
}

void set_groups(const Module& module, std::string_view scales, uint64_t groups,
                PackedMatrix& matrix) {
  if (groups == 0 || groups > matrix.cols) {
    module.wrong(
        scales, fmt::format("is of {} groups, and the matrix has {} columns", groups, matrix.cols));
  }
  matrix.groups = groups;
  matrix.group_size = (matrix.cols + groups - 1) / groups;
}

void read_scales(const Module& module, PackedMatrix& matrix) {
  const StoredTensor& scales = module.get_scales("weight_scale");
  matrix.scale_type = scales.type;
  matrix.scales = scales.bytes;
  const bool one = scales.shape.empty() || scales.shape == std::vector<uint64_t>{1};
  const uint64_t groups = one || scales.shape.size() != 2 ? 1 : scales.shape[1];
  set_groups(module, "weight_scale", groups, matrix);
  if (matrix.cols % groups != 0) {
    module.wrong("weight_scale", fmt::format("is of {} groups, which do not divide {} columns",
                                             groups, matrix.cols));
  }
  if (one) return;
  module.expect_shape("weight_scale", {matrix.rows, groups});
  matrix.scale_row_step = groups;
  matrix.scale_group_step = 1;
}

void check_size(const Module& module, std::string_view part, uint64_t rows, uint64_t cols) {
  if (rows == 0 || cols == 0) {
    module.wrong(part, fmt::format("is of a matrix of {} x {}", rows, cols));
  }
}

// The numbers of weight_shape.
std::pair<uint64_t, uint64_t> read_shape(const Module& module) {
  const StoredTensor& stored = module.get("weight_shape", TensorType::kI64, 1);
  module.expect_shape("weight_shape", {2});
  const auto rows = number_at<int64_t>(stored, 0);
  const auto cols = number_at<int64_t>(stored, 1);
  if (rows <= 0 || cols <= 0) {
    module.wrong("weight_shape", fmt::format("says that the matrix is {} x {}", rows, cols));
  }
  return {rows, cols};
}

PackedMatrix read_compressed(const Module& module, const Packing& packing) {
  PackedMatrix matrix;
  std::tie(matrix.rows, matrix.cols) = read_shape(module);
  matrix.index_bytes = module.get("weight_shape").bytes.size();
  const StoredTensor& codes = module.get("weight_packed", TensorType::kI32, 2);
  module.expect_shape("weight_packed", {matrix.rows, codes.shape[1]});
  matrix.bits = module.find_bits("weight_packed", packing.bits, matrix.cols, codes.shape[1]);
  matrix.codes = {codes.bytes, matrix.cols, codes.shape[1], 1};
  read_scales(module, matrix);
  if (module.has("weight_g_idx")) read_groups(module, "weight_g_idx", matrix);
  if (module.has("weight_zero_point")) {
    const auto bits = static_cast<uint64_t>(matrix.bits);
    const StoredTensor& zeros = module.get("weight_zero_point", TensorType::kI32, 2);
    if (matrix.scale_row_step == 0) {
      module.wrong("weight_zero_point", "is there, and one scale is for the whole matrix");
    }
    module.expect_shape("weight_zero_point",
                        {(matrix.rows * bits + kWordBits - 1) / kWordBits, matrix.groups});
    matrix.zeros = {zeros.bytes, matrix.rows, 1, matrix.groups};
    matrix.asymmetric = true;
  }
  return matrix;
}

PackedMatrix read_gptq(const Module& module, const Packing& packing) {
  PackedMatrix matrix;
  const StoredTensor& codes = module.get("qweight", TensorType::kI32, 2);
  const StoredTensor& index = module.get("g_idx", TensorType::kI32, 1);
  matrix.rows = codes.shape[1];
  matrix.cols = index.shape[0];
  check_size(module, "qweight", matrix.rows, matrix.cols);
  matrix.bits = module.find_bits("qweight", packing.bits, matrix.cols, codes.shape[0]);
  matrix.codes = {codes.bytes, matrix.cols, 1, matrix.rows};
  const StoredTensor& scales = module.get_scales("scales");
  set_groups(module, "scales", scales.shape.empty() ? 0 : scales.shape[0], matrix);
  module.expect_shape("scales", {matrix.groups, matrix.rows});
  matrix.scale_type = scales.type;
  matrix.scales = scales.bytes;
  matrix.scale_row_step = 1;
  matrix.scale_group_step = matrix.rows;
  const StoredTensor& zeros = module.get("qzeros", TensorType::kI32, 2);
  const uint64_t words =
      (matrix.rows * static_cast<uint64_t>(matrix.bits) + kWordBits - 1) / kWordBits;
  module.expect_shape("qzeros", {matrix.groups, words});
  matrix.zeros = {zeros.bytes, matrix.rows, words, 1};
  matrix.zero_shift = packing.zero_shift;
  matrix.asymmetric = !has_middle_zeros(matrix);
  read_groups(module, "g_idx", matrix);
  return matrix;
}

std::vector<std::string_view> part_names(PackedLayout layout) {
  if (layout == PackedLayout::kGptq) return {"qweight", "qzeros", "scales", "g_idx"};
  return {"weight_packed", "weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx"};
}

}  // namespace

StoredTensors join_packed(const std::string& path, const Packing& packing, StoredTensors stored) {
  const auto names = part_names(packing.layout);
  std::map<std::string, Parts, std::less<>> modules;
  StoredTensors joined;
  for (auto& [name, tensor] : stored) {
    const size_t dot = name.rfind('.');
    const auto part =
        dot == name.npos ? names.end() : std::ranges::find(names, name.substr(dot + 1));
    if (part == names.end()) {
      joined.emplace(name, std::move(tensor));
    } else {
      modules[name.substr(0, dot)].emplace(*part, std::move(tensor));
    }
  }
  for (const auto& [name, parts] : modules) {
    const Module module(path, name, parts);
    const bool gptq = packing.layout == PackedLayout::kGptq;
    auto matrix = std::make_shared<const PackedMatrix>(gptq ? read_gptq(module, packing)
                                                            : read_compressed(module, packing));
    StoredTensor weight{{matrix->rows, matrix->cols}, matrix->scale_type, {}};
    const std::string& full = parts.begin()->second.name;  // the module's, its prefix included
    weight.name = full.substr(0, full.rfind('.')) + ".weight";
    weight.packed = std::move(matrix);
    if (joined.emplace(name + ".weight", std::move(weight)).second) continue;
    fail(ErrorCode::kCorrupt, "{}: module '{}' has a weight and '{}' too", path, name,
         parts.begin()->first);
  }
  return joined;
}

}  // namespace isogloss
