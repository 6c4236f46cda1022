// What the lut4 classes share on AVX2. Included only by files compiled for it; always inlined, so
// no copy leaves them.
#pragma once

#include <immintrin.h>

#include "kernels/backends/cpu/lanes_avx2.h"
#include "kernels/formats/bcq/layout.h"

namespace bitdial::kernels::bcq::avx2 {

using cpu::LargestLane;
using cpu::SumOfLanes;

BITDIAL_INLINE __m256 LoadHalf(const uint16_t* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

// acc += alpha * sum for the 8 lanes from `lane` on.
BITDIAL_INLINE void AddScaled(const uint16_t* alpha, __m256 sum, float* acc, int64_t lane) {
  _mm256_storeu_ps(acc + lane,
                   _mm256_fmadd_ps(LoadHalf(alpha + lane), sum, _mm256_loadu_ps(acc + lane)));
}

// acc += beta * group_sums[row] for a tile of each row.
BITDIAL_INLINE void AddBeta(const uint16_t* beta, const float* group_sums, int64_t num_rows,
                            float* acc, int64_t acc_stride) {
  for (int64_t lane = 0; lane < kTileLanes; lane += 8) {
    const __m256 of_lanes = LoadHalf(beta + lane);
    for (int64_t r = 0; r < num_rows; ++r) {
      float* const out = acc + r * acc_stride + lane;
      _mm256_storeu_ps(out, _mm256_fmadd_ps(of_lanes, _mm256_set1_ps(group_sums[r]), _mm256_loadu_ps(out)));
    }
  }
}

// Half a table of 4 inputs: lane c holds ((±x0 ± x1) ± x2) ± x3 for index c (upper = false) or c
// + 8.
BITDIAL_INLINE __m256 HalfTable(const float* x, bool upper) {
  const __m256 minus0 = _mm256_setr_ps(-0.0f, 0.0f, -0.0f, 0.0f, -0.0f, 0.0f, -0.0f, 0.0f);
  const __m256 minus1 = _mm256_setr_ps(-0.0f, -0.0f, 0.0f, 0.0f, -0.0f, -0.0f, 0.0f, 0.0f);
  const __m256 minus2 = _mm256_setr_ps(-0.0f, -0.0f, -0.0f, -0.0f, 0.0f, 0.0f, 0.0f, 0.0f);
  const __m256 minus3 = _mm256_set1_ps(upper ? 0.0f : -0.0f);
  __m256 table = _mm256_add_ps(_mm256_xor_ps(_mm256_set1_ps(x[0]), minus0),
                               _mm256_xor_ps(_mm256_set1_ps(x[1]), minus1));
  table = _mm256_add_ps(table, _mm256_xor_ps(_mm256_set1_ps(x[2]), minus2));
  return _mm256_add_ps(table, _mm256_xor_ps(_mm256_set1_ps(x[3]), minus3));
}

}  // namespace bitdial::kernels::bcq::avx2
