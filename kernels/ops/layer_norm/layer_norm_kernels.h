// Micro-kernel of layer_norm: one row. POD only (invariant 6).
#pragma once

#include <cstdint>

namespace bitdial::kernels::cpu {

// out[i] = fma((x[i] - mean) * s, weight[i], bias[i]), s = 1 / sqrt(variance + eps). Two passes:
// the values are added for the mean, then the squares of x[i] - mean for the variance, each in 16
// lanes (i mod 16, ascending; the squares by FMA), then over the lanes in the order of ReduceAdd.
// out may be x.
using LayerNormRowFn = void(const float* x, const float* weight, const float* bias, float eps,
                            float* out, int64_t n) noexcept;

namespace avx2 {
LayerNormRowFn LayerNormRow;
}
namespace avx512 {
LayerNormRowFn LayerNormRow;
}

}  // namespace bitdial::kernels::cpu
