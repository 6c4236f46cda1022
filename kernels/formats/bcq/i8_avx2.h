// What the kernels of the class bcq_i8 share on AVX2. Included only by lut4_i8_avx2.cc and
// dequant_i8_avx2.cc; always inlined, so no copy leaves them.
#pragma once

#include <immintrin.h>

#include "kernels/formats/bcq/i8.h"
#include "kernels/formats/bcq/lut4_avx2.h"

namespace bitdial::kernels::bcq::avx2 {

// A type of their own for sums: why is said in vnni_avx512.h.
using Int32x8 = int32_t __attribute__((vector_size(32)));

BITDIAL_INLINE __m256 Abs(__m256 values) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), values); }

// 16 inputs as int16 in order.
BITDIAL_INLINE __m256i RoundInputs(const float* x, __m256 inverse) {
  const __m256i low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), inverse));
  const __m256i high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8), inverse));
  return _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8);
}

// x8 of one span, in order.
BITDIAL_INLINE I8Span QuantizeSpan(const float* x, int64_t span_inputs, int8_t* x8) {
  __m256 largest = _mm256_setzero_ps(), quad = _mm256_setzero_ps(), poison = _mm256_setzero_ps();
  for (int64_t i = 0; i < span_inputs; i += 8) {
    const __m256 values = _mm256_loadu_ps(x + i);
    const __m256 size = Abs(values);
    const __m256 pair = _mm256_add_ps(size, _mm256_permute_ps(size, 0xB1));
    largest = _mm256_max_ps(largest, size);
    quad = _mm256_max_ps(quad, _mm256_add_ps(pair, _mm256_permute_ps(pair, 0x4E)));
    poison = _mm256_fmadd_ps(values, _mm256_setzero_ps(), poison);
  }
  const float size =
      LargestLane(_mm256_max_ps(largest, _mm256_mul_ps(quad, _mm256_set1_ps(kI8QuadShare))));
  const __m256 inverse = _mm256_set1_ps(I8Inverse(size));
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sum = _mm256_setzero_si256(), abs_sum = _mm256_setzero_si256();
  for (int64_t i = 0; i < span_inputs; i += 16) {
    const __m256i values = RoundInputs(x + i, inverse);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(x8 + i),
                     _mm_packs_epi16(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1)));
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(values, ones));
    abs_sum = _mm256_add_epi32(abs_sum, _mm256_madd_epi16(_mm256_abs_epi16(values), ones));
  }
  return MakeI8Span(I8Scale(size) + SumOfLanes(poison), SumOfLanes(sum), SumOfLanes(abs_sum));
}

BITDIAL_INLINE __m256i LoadAlphas(const int8_t* from) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
}

BITDIAL_INLINE __m256 LoadUnit(const uint16_t* from) {
  const __m128i units = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(units), 16));
}

// 8 outputs of a row go on over a span: what i8.h says of y.
BITDIAL_INLINE void AddSpan(const uint16_t* unit, const uint16_t* beta, const I8Span& span,
                            __m256i dot, float* acc) {
  const __m256 product = _mm256_mul_ps(_mm256_set1_ps(span.scale), _mm256_cvtepi32_ps(dot));
  __m256 y = _mm256_fmadd_ps(LoadUnit(unit), product, _mm256_loadu_ps(acc));
  if (beta != nullptr) y = _mm256_fmadd_ps(LoadHalf(beta), _mm256_set1_ps(span.input_sum), y);
  _mm256_storeu_ps(acc, y);
}

}  // namespace bitdial::kernels::bcq::avx2
