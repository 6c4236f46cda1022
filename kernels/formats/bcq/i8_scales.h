// The scales of the class bcq_i8 (i8.h): small integers times a unit.
#pragma once

#include "kernels/core/status.h"
#include "kernels/core/thread_pool.h"
#include "kernels/ops/linear/linear.h"

namespace bitdial::kernels {

// Adds alpha_i8 and unit to every set of the weight. For each output and group
//   unit     the bf16, among 16 from the least that keeps sum_p |a8[p]| within 127 upwards, with the
//            least sum of (alpha_p - a8[p] * unit)^2
//   a8[p]    rint(alpha_p / unit)
// so a scale is off by half a unit at most: 1/254 of what the planes add up to, and less on average.
// Requires  max_bits <= bcq::kI8MaxPlanes, the sets' f16 alpha.
// Errors    RESOURCE_EXHAUSTED without memory.
absl::Status AddI8Scales(BcqWeight& weight, ThreadPool& pool);

}  // namespace bitdial::kernels
