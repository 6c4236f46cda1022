// Micro-kernel of rms_norm: one row. POD only (invariant 6).
#pragma once

#include <cstdint>

namespace bitdial::kernels::cpu {

// out[i] = (x[i] * s) * weight[i], s = 1 / sqrt(sum / n + eps). The squares are added in 16 lanes
// (i mod 16, FMA, ascending), then over the lanes in the order of ReduceAdd. out may be x.
using RmsNormRowFn = void(const float* x, const float* weight, float eps, float* out,
                          int64_t n) noexcept;

namespace avx2 {
RmsNormRowFn RmsNormRow;
}
namespace avx512 {
RmsNormRowFn RmsNormRow;
}

}  // namespace bitdial::kernels::cpu
