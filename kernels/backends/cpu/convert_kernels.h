// Runs of n elements from and to f32: embedding rows, K/V rows. POD only (invariant 6).
#pragma once

#include <cstdint>

namespace bitdial::kernels::cpu {

// Exact.
using WidenF16Fn = void(const uint16_t* from, float* to, int64_t n) noexcept;
using WidenBF16Fn = void(const uint16_t* from, float* to, int64_t n) noexcept;
// Round to nearest even; overflow gives infinity.
using NarrowF16Fn = void(const float* from, uint16_t* to, int64_t n) noexcept;

namespace avx2 {
WidenF16Fn WidenF16;
WidenBF16Fn WidenBF16;
NarrowF16Fn NarrowF16;
}  // namespace avx2
namespace avx512 {
WidenF16Fn WidenF16;
WidenBF16Fn WidenBF16;
NarrowF16Fn NarrowF16;
}  // namespace avx512

}  // namespace bitdial::kernels::cpu
