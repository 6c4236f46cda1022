// Sums of byte products on AVX-512 VNNI. Included only by files compiled for it; always inlined, so
// no copy leaves them.
#pragma once

#include <immintrin.h>

#include "kernels/core/view.h"

namespace bitdial::kernels::bcq::avx512 {

// Accumulators have a type of their own: __m512i is eight int64 to gcc 12, which then copies every
// sum between the two types, and spills half of them, at each product (1.9 times the time).
using Int32x16 = int32_t __attribute__((vector_size(64)));

// sum + the products of 4 bytes of u (unsigned) and s (signed), lane by lane, exact.
BITDIAL_INLINE Int32x16 DotBytes(Int32x16 sum, __m512i u, __m512i s) {
  return Int32x16(_mm512_dpbusd_epi32(__m512i(sum), u, s));
}

BITDIAL_INLINE __m512 ToFloats(Int32x16 sum) { return _mm512_cvtepi32_ps(__m512i(sum)); }

}  // namespace bitdial::kernels::bcq::avx512
