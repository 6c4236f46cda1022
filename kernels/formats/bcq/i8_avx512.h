// What the kernels of the class bcq_i8 share on AVX-512 VNNI. Included only by lut4_i8_avx512.cc and
// dequant_i8_avx512.cc; always inlined, so no copy leaves them.
#pragma once

#include <immintrin.h>

#include "kernels/formats/bcq/i8.h"
#include "kernels/formats/bcq/lut4_avx512.h"
#include "kernels/formats/bcq/vnni_avx512.h"

namespace bitdial::kernels::bcq::avx512 {

// x8 of one span, in order.
BITDIAL_INLINE I8Span QuantizeSpan(const float* x, int64_t span_inputs, int8_t* x8) {
  __m512 largest = _mm512_setzero_ps(), quad = _mm512_setzero_ps(), poison = _mm512_setzero_ps();
  for (int64_t i = 0; i < span_inputs; i += 16) {
    const __m512 values = _mm512_loadu_ps(x + i);
    const __m512 size = _mm512_abs_ps(values);
    const __m512 pair = _mm512_add_ps(size, _mm512_permute_ps(size, 0xB1));
    largest = _mm512_max_ps(largest, size);
    quad = _mm512_max_ps(quad, _mm512_add_ps(pair, _mm512_permute_ps(pair, 0x4E)));
    poison = _mm512_fmadd_ps(values, _mm512_setzero_ps(), poison);
  }
  largest = _mm512_max_ps(largest, _mm512_mul_ps(quad, _mm512_set1_ps(kI8QuadShare)));
  const float size = _mm512_reduce_max_ps(largest);
  const __m512 inverse = _mm512_set1_ps(I8Inverse(size));
  Int32x16 sum = {}, abs_sum = {};
  for (int64_t i = 0; i < span_inputs; i += 16) {
    const __m128i bytes = _mm512_cvtsepi32_epi8(
        _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), inverse)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(x8 + i), bytes);
    // What was stored, so that sums stay small where an input is not finite.
    const __m512i values = _mm512_cvtepi8_epi32(bytes);
    sum += Int32x16(values);
    abs_sum += Int32x16(_mm512_abs_epi32(values));
  }
  return MakeI8Span(I8Scale(size) + _mm512_reduce_add_ps(poison),
                    _mm512_reduce_add_epi32(__m512i(sum)),
                    _mm512_reduce_add_epi32(__m512i(abs_sum)));
}

// The a8 of a slice's 16 outputs, each in the 4 bytes of its lane, from those of the tile.
BITDIAL_INLINE __m512i SpreadAlphas(const int8_t* alpha, int slice) {
  alignas(64) static constexpr uint8_t kFirst[64] = {
      0, 0, 0, 0, 1, 1, 1, 1, 2,  2,  2,  2,  3,  3,  3,  3,  4,  4,  4,  4,  5,  5,
      5, 5, 6, 6, 6, 6, 7, 7, 7,  7,  8,  8,  8,  8,  9,  9,  9,  9,  10, 10, 10, 10,
      11, 11, 11, 11, 12, 12, 12, 12, 13, 13, 13, 13, 14, 14, 14, 14, 15, 15, 15, 15};
  const __m512i index = _mm512_add_epi8(_mm512_load_si512(kFirst),
                                        _mm512_set1_epi8(static_cast<char>(16 * slice)));
  return _mm512_permutexvar_epi8(index, _mm512_load_si512(alpha));
}

BITDIAL_INLINE __m512 LoadUnit(const uint16_t* from) {
  const __m256i units = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(units), 16));
}

// What 16 outputs of a span are scaled with.
struct SpanScales {
  __m512 unit;
  __m512 beta;  // only where there is one
  bool has_beta;
};
// From those of the tile; betas may be null.
BITDIAL_INLINE SpanScales LoadScales(const uint16_t* units, const uint16_t* betas, int64_t slice) {
  return {.unit = LoadUnit(units + slice * 16),
          .beta = betas == nullptr ? _mm512_setzero_ps() : LoadHalf(betas + slice * 16),
          .has_beta = betas != nullptr};
}

// 16 outputs of a row go on over a span: what i8.h says of y.
BITDIAL_INLINE __m512 AddSpan(const SpanScales& scales, const I8Span& span, Int32x16 dot, __m512 y) {
  y = _mm512_fmadd_ps(scales.unit, _mm512_mul_ps(_mm512_set1_ps(span.scale), ToFloats(dot)), y);
  return scales.has_beta ? _mm512_fmadd_ps(scales.beta, _mm512_set1_ps(span.input_sum), y) : y;
}
// The same where y lies in memory.
BITDIAL_INLINE void AddSpan(const SpanScales& scales, const I8Span& span, Int32x16 dot, float* acc) {
  _mm512_storeu_ps(acc, AddSpan(scales, span, dot, _mm512_loadu_ps(acc)));
}

}  // namespace bitdial::kernels::bcq::avx512
