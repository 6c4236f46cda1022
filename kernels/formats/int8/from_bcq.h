// From bit-planes to the layout of int8.h.
#pragma once

#include "kernels/core/status.h"
#include "kernels/core/thread_pool.h"
#include "kernels/ops/linear/linear.h"

namespace bitdial::kernels {

// The weight at its only set on a uniform grid: for each output and span of SpanInputs(group_size) inputs
// w8 = rint(((w - beta) / alpha - 1) / 2) within a byte, for that of two alphas which is off by less: the
// fit of the set's scales to alpha * 2^(bits - 1 - p), which is exact after `quantize`; and the largest
// |w - beta| / 255, with which no scales at all are off by more than that.
// Requires  one set, with f16 alphas.
// Errors    RESOURCE_EXHAUSTED without memory.
absl::StatusOr<Int8Weight> MakeInt8(const BcqWeight& weight, ThreadPool& pool);

}  // namespace bitdial::kernels
