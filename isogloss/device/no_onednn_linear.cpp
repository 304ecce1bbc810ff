// Where oneDNN is not installed.
#include "isogloss/base/error.h"
#include "isogloss/device/device_impl.h"

namespace isogloss {

OneDnn onednn() {
  return OneDnn::kAbsent;
}

ggml_tensor* onednn_linear(ggml_context*, ggml_tensor*, ggml_tensor*, ggml_tensor*, ComputeType) {
  ISOGLOSS_ASSERT(false);
}

}  // namespace isogloss
