// From bit-planes to the layout of int8.h.
#pragma once

#include "kernels/core/status.h"
#include "kernels/core/thread_pool.h"
#include "kernels/ops/linear/linear.h"

namespace bitdial::kernels {

// The weight at its only set on the uniform grid that fits its scales best: for each output and span of
// SpanInputs(group_size) inputs, alpha is the least-squares fit of the set's to alpha * 2^(bits - 1 - p),
// and w8 = rint(((w - beta) / alpha - 1) / 2) within a byte. Where the fit is exact, as after `quantize`,
// so is the weight; else it is off by alpha at most, half a step, but at the ends of the grid.
// Requires  one set, with f16 alphas.
// Errors    RESOURCE_EXHAUSTED without memory.
absl::StatusOr<Int8Weight> MakeInt8(const BcqWeight& weight, ThreadPool& pool);

}  // namespace bitdial::kernels
