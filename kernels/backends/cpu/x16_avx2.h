// F32x16, sixteen floats, on AVX2 + FMA + F16C. The same operations as x16_avx512.h, bit for bit,
// so that a kernel body written once on F32x16 gives one numeric class. Included by files compiled
// with those flags alone.
#pragma once

#include <immintrin.h>

#include <cstdint>

#define BITDIAL_ISA avx2
#define BITDIAL_X16 [[gnu::always_inline, maybe_unused]] inline

namespace bitdial::kernels::cpu::avx2 {
namespace {

struct F32x16 {
  __m256 low;
  __m256 high;
};

// Queries (attention) or rows (dot products) whose sums stay in registers beside four keys
// (outputs).
constexpr int kDotRows = 1;

BITDIAL_X16 F32x16 Set1(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
BITDIAL_X16 F32x16 Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }

BITDIAL_X16 F32x16 Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
BITDIAL_X16 void Store(float* p, F32x16 v) {
  _mm256_storeu_ps(p, v.low);
  _mm256_storeu_ps(p + 8, v.high);
}
BITDIAL_X16 F32x16 LoadF16(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}
BITDIAL_X16 void StoreF16(uint16_t* p, F32x16 v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm256_cvtps_ph(v.low, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8),
                   _mm256_cvtps_ph(v.high, _MM_FROUND_TO_NEAREST_INT));
}
BITDIAL_X16 F32x16 LoadBF16(const uint16_t* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const __m256i low = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(bits));
  const __m256i high = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(bits, 1));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(low, 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(high, 16))};
}

BITDIAL_X16 F32x16 Add(F32x16 a, F32x16 b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
BITDIAL_X16 F32x16 Sub(F32x16 a, F32x16 b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
BITDIAL_X16 F32x16 Mul(F32x16 a, F32x16 b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
BITDIAL_X16 F32x16 Div(F32x16 a, F32x16 b) {
  return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
// a * b + c, rounded once.
BITDIAL_X16 F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
// b where either is NaN.
BITDIAL_X16 F32x16 Max(F32x16 a, F32x16 b) {
  return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
BITDIAL_X16 F32x16 Min(F32x16 a, F32x16 b) {
  return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}
BITDIAL_X16 F32x16 Round(F32x16 v) {
  constexpr int kMode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(v.low, kMode), _mm256_round_ps(v.high, kMode)};
}
// value where x >= bound or x is NaN, else +0.
BITDIAL_X16 F32x16 ZeroWhereBelow(F32x16 value, F32x16 x, F32x16 bound) {
  return {_mm256_and_ps(value.low, _mm256_cmp_ps(x.low, bound.low, _CMP_NLT_UQ)),
          _mm256_and_ps(value.high, _mm256_cmp_ps(x.high, bound.high, _CMP_NLT_UQ))};
}
// 2^n for integral n in [-126, 127].
BITDIAL_X16 __m256 Exp2(__m256i n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}
BITDIAL_X16 __m256 ScaleByExp2(__m256 v, __m256 n) {
  const __m256i whole = _mm256_cvtps_epi32(n);
  const __m256i half = _mm256_srai_epi32(whole, 1);
  return _mm256_mul_ps(_mm256_mul_ps(v, Exp2(half)), Exp2(_mm256_sub_epi32(whole, half)));
}
// v * 2^n for integral n in [-252, 254], in two exact steps where nothing under- or overflows.
BITDIAL_X16 F32x16 ScaleByExp2(F32x16 v, F32x16 n) {
  return {ScaleByExp2(v.low, n.low), ScaleByExp2(v.high, n.high)};
}

BITDIAL_X16 __m256 AddHalves(F32x16 v) { return _mm256_add_ps(v.low, v.high); }
BITDIAL_X16 __m256 MaxHalves(F32x16 v) { return _mm256_max_ps(v.low, v.high); }

}  // namespace
}  // namespace bitdial::kernels::cpu::avx2

#include "kernels/backends/cpu/x16_common.h"
