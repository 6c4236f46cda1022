// F32x16, sixteen floats, on AVX-512 F, BW, DQ, VL. The same operations as x16_avx2.h, bit for bit,
// so that a kernel body written once on F32x16 gives one numeric class. Included by files compiled
// with those flags alone.
#pragma once

#include <immintrin.h>

#include <cstdint>

#define BITDIAL_ISA avx512
#define BITDIAL_X16 [[gnu::always_inline, maybe_unused]] inline

namespace bitdial::kernels::cpu::avx512 {
namespace {

struct F32x16 {
  __m512 v;
};

// Queries (attention) or rows (dot products) whose sums stay in registers beside four keys
// (outputs).
constexpr int kDotRows = 4;

BITDIAL_X16 F32x16 Set1(float value) { return {_mm512_set1_ps(value)}; }
BITDIAL_X16 F32x16 Zero() { return {_mm512_setzero_ps()}; }

BITDIAL_X16 F32x16 Load(const float* p) { return {_mm512_loadu_ps(p)}; }
BITDIAL_X16 void Store(float* p, F32x16 v) { _mm512_storeu_ps(p, v.v); }
BITDIAL_X16 F32x16 LoadF16(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
BITDIAL_X16 void StoreF16(uint16_t* p, F32x16 v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(v.v, _MM_FROUND_TO_NEAREST_INT));
}
BITDIAL_X16 F32x16 LoadBF16(const uint16_t* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
}

BITDIAL_X16 F32x16 Add(F32x16 a, F32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
BITDIAL_X16 F32x16 Sub(F32x16 a, F32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
BITDIAL_X16 F32x16 Mul(F32x16 a, F32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
BITDIAL_X16 F32x16 Div(F32x16 a, F32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
// a * b + c, rounded once.
BITDIAL_X16 F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
// b where either is NaN.
BITDIAL_X16 F32x16 Max(F32x16 a, F32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
BITDIAL_X16 F32x16 Min(F32x16 a, F32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
BITDIAL_X16 F32x16 Round(F32x16 v) {
  return {_mm512_roundscale_ps(v.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// value where x >= bound or x is NaN, else +0.
BITDIAL_X16 F32x16 ZeroWhereBelow(F32x16 value, F32x16 x, F32x16 bound) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, bound.v, _CMP_NLT_UQ), value.v)};
}
// 2^n for integral n in [-126, 127].
BITDIAL_X16 __m512 Exp2(__m512i n) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23));
}
// v * 2^n for integral n in [-252, 254], in two exact steps where nothing under- or overflows.
BITDIAL_X16 F32x16 ScaleByExp2(F32x16 v, F32x16 n) {
  const __m512i whole = _mm512_cvtps_epi32(n.v);
  const __m512i half = _mm512_srai_epi32(whole, 1);
  return {_mm512_mul_ps(_mm512_mul_ps(v.v, Exp2(half)), Exp2(_mm512_sub_epi32(whole, half)))};
}

BITDIAL_X16 __m256 AddHalves(F32x16 v) {
  return _mm256_add_ps(_mm512_castps512_ps256(v.v), _mm512_extractf32x8_ps(v.v, 1));
}
BITDIAL_X16 __m256 MaxHalves(F32x16 v) {
  return _mm256_max_ps(_mm512_castps512_ps256(v.v), _mm512_extractf32x8_ps(v.v, 1));
}

}  // namespace
}  // namespace bitdial::kernels::cpu::avx512

#include "kernels/backends/cpu/x16_common.h"
