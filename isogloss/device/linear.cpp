#include "isogloss/base/error.h"
#include "isogloss/device/device_impl.h"

namespace isogloss {

TensorType product_type(ComputeType compute) {
  if (compute == ComputeType::kF32 || onednn() == OneDnn::kF32) return TensorType::kF32;
  return TensorType::kBf16;
}

ggml_tensor* linear(ggml_context* context, ggml_tensor* matrix, ggml_tensor* input,
                    ggml_tensor* bias, ComputeType compute) {
  ISOGLOSS_ASSERT(matrix->type == static_cast<ggml_type>(product_type(compute)));
  if (onednn() != OneDnn::kAbsent) return onednn_linear(context, matrix, input, bias, compute);
  ggml_tensor* product = ggml_mul_mat(context, matrix, input);
  return bias ? ggml_add(context, product, bias) : product;
}

}  // namespace isogloss
