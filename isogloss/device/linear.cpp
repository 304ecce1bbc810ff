#include "isogloss/device/device_impl.h"

namespace isogloss {

ggml_tensor* linear(ggml_context* context, ggml_tensor* matrix, ggml_tensor* input,
                    ggml_tensor* bias) {
  if (ggml_tensor* product = onednn_linear(context, matrix, input, bias)) return product;
  ggml_tensor* product = ggml_mul_mat(context, matrix, input);
  return bias ? ggml_add(context, product, bias) : product;
}

}  // namespace isogloss
