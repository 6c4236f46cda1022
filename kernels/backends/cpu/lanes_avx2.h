// Sums and largest values over the lanes of a register, on AVX2. Included only by files compiled for it;
// always inlined, so no copy leaves them.
#pragma once

#include <immintrin.h>

#include "kernels/core/view.h"

namespace bitdial::kernels::cpu {

BITDIAL_INLINE float LargestLane(__m256 values) {
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(values), _mm256_extractf128_ps(values, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

BITDIAL_INLINE float SumOfLanes(__m256 values) {
  __m128 m = _mm_add_ps(_mm256_castps256_ps128(values), _mm256_extractf128_ps(values, 1));
  m = _mm_add_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_add_ss(m, _mm_movehdup_ps(m)));
}

BITDIAL_INLINE int32_t SumOfLanes(__m256i values) {
  __m128i m = _mm_add_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
  m = _mm_add_epi32(m, _mm_shuffle_epi32(m, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(m, _mm_shuffle_epi32(m, 0xB1)));
}

}  // namespace bitdial::kernels::cpu
