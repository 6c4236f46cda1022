// Micro-kernel of rope: one head of one row. POD only (invariant 6).
#pragma once

#include <cstdint>

namespace bitdial::kernels::cpu {

// (a, b) <- (fma(a, cos, -(b sin)), fma(b, cos, a sin)) for the pairs a = x[c], b = x[half + c], c
// < half.
using RopeHeadFn = void(float* x, const float* cos, const float* sin, int64_t half) noexcept;

namespace avx2 {
RopeHeadFn RopeHead;
}
namespace avx512 {
RopeHeadFn RopeHead;
}

}  // namespace bitdial::kernels::cpu
