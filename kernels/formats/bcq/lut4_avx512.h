// What the lut4 classes share on AVX-512. Included only by files compiled for it; always inlined,
// so no copy leaves them.
#pragma once

#include <immintrin.h>

#include "kernels/formats/bcq/layout.h"

namespace bitdial::kernels::bcq::avx512 {

inline constexpr int kSlices = 4;  // registers of 16 lanes in a tile

BITDIAL_INLINE __m512 LoadHalf(const uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

// acc += alpha * sum for the 16 lanes from `lane` on.
BITDIAL_INLINE void AddScaled(const uint16_t* alpha, __m512 sum, float* acc, int64_t lane) {
  _mm512_storeu_ps(acc + lane,
                   _mm512_fmadd_ps(LoadHalf(alpha + lane), sum, _mm512_loadu_ps(acc + lane)));
}

// acc += beta * group_sums[row] for a tile of each row.
BITDIAL_INLINE void AddBeta(const uint16_t* beta, const float* group_sums, int64_t num_rows,
                            float* acc, int64_t acc_stride) {
  for (int64_t lane = 0; lane < kTileLanes; lane += 16) {
    const __m512 of_lanes = LoadHalf(beta + lane);
    for (int64_t r = 0; r < num_rows; ++r) {
      float* const out = acc + r * acc_stride + lane;
      _mm512_storeu_ps(out, _mm512_fmadd_ps(of_lanes, _mm512_set1_ps(group_sums[r]), _mm512_loadu_ps(out)));
    }
  }
}

// Lane c: x with its sign flipped where bit t of c is 0.
template <int t>
BITDIAL_INLINE __m512 Signed(float x) {
  constexpr int kNegative = t == 0 ? 0x5555 : t == 1 ? 0x3333 : t == 2 ? 0x0f0f : 0x00ff;
  const __m512 value = _mm512_set1_ps(x);
  return _mm512_mask_xor_ps(value, static_cast<__mmask16>(kNegative), value, _mm512_set1_ps(-0.0f));
}

// The table of 4 inputs: lane c holds ((±x0 ± x1) ± x2) ± x3.
BITDIAL_INLINE __m512 MakeTable(const float* x) {
  __m512 table = _mm512_add_ps(Signed<0>(x[0]), Signed<1>(x[1]));
  table = _mm512_add_ps(table, Signed<2>(x[2]));
  return _mm512_add_ps(table, Signed<3>(x[3]));
}

}  // namespace bitdial::kernels::bcq::avx512
