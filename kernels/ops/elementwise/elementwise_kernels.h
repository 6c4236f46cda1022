// Micro-kernels of elementwise: one contiguous run of n elements. POD only (invariant 6).
#pragma once

#include <cstdint>

namespace bitdial::kernels::cpu {

// out[i] = gate[i] / (1 + e^-gate[i]) * up[i]; out may be gate or up. exp: at most 2 ulp
// (x16_common.h).
using SiluMulRunFn = void(const float* gate, const float* up, float* out, int64_t n) noexcept;
// out[i] += x[i]
using AddRunFn = void(const float* x, float* out, int64_t n) noexcept;
// out[i] = f(x[i]); out may be x. relu: exact. gelu: within 0.5 |x| 1.5e-7 and 8 roundings of |x|
// (elementwise_x16.h).
using ActivationRunFn = void(const float* x, float* out, int64_t n) noexcept;
// out[i] = e^x[i], what silu, gelu and softmax use; here so that a test can measure it.
using ExpRunFn = void(const float* x, float* out, int64_t n) noexcept;

namespace avx2 {
SiluMulRunFn SiluMulRun;
AddRunFn AddRun;
ActivationRunFn ReluRun;
ActivationRunFn GeluRun;
ExpRunFn ExpRun;
}  // namespace avx2
namespace avx512 {
SiluMulRunFn SiluMulRun;
AddRunFn AddRun;
ActivationRunFn ReluRun;
ActivationRunFn GeluRun;
ExpRunFn ExpRun;
}  // namespace avx512

}  // namespace bitdial::kernels::cpu
