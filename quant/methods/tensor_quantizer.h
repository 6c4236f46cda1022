// One matrix through a method, all cores.
#pragma once

#include <functional>
#include <vector>

#include "kernels/core/thread_pool.h"
#include "quant/methods/quantize_job.h"
#include "quant/methods/tensor_plan.h"

namespace bitdial::quant {

struct QuantizedScales {
  int bits = 0;
  std::vector<uint16_t> alpha;  // f16 [num_groups, bits, out_features]
  std::vector<uint16_t> beta;   // f16 [num_groups, out_features]
};

// The canonical tensors of one linear, as Declare declares them.
struct QuantizedTensor {
  std::vector<int32_t> codes;           // [in_features / 32, max_bits, out_features]
  std::vector<QuantizedScales> scales;  // ascending bits
  std::vector<PrecisionReport> precisions;
  double sum_of_squares = 0;  // of the weights
};

// weights [out_features, in_features], f32, f16 or bf16; plan.is_quantized().
// advance(n): n more weights are done; returns false to stop (CANCELLED). Called on the caller's
// thread. Errors  INVALID_ARGUMENT a weight that is not finite, or too large for binary16 scales:
// the first by row.
absl::StatusOr<QuantizedTensor> QuantizeTensor(const TensorView& weights, const TensorPlan& plan,
                                               const MethodInfo& method, ThreadPool& pool,
                                               const std::function<bool(int64_t)>& advance);

// The first element that is an infinity or NaN, in row-major order; -1 when there is none. Integers
// are finite.
int64_t FindNonFinite(const TensorView& tensor);

}  // namespace bitdial::quant
