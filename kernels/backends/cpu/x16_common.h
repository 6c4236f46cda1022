// What F32x16 kernels share on top of the two ISA headers, which include this file and define
// BITDIAL_ISA.
#pragma once

#ifndef BITDIAL_ISA
#error "include x16_avx2.h or x16_avx512.h"
#endif

namespace bitdial::kernels::cpu::BITDIAL_ISA {
namespace {

// The first count (1..15) elements, zeros behind them; reads nothing past them.
template <typename Element>
BITDIAL_X16 void CopyPartial(const Element* p, int64_t count, Element (&padded)[16]) {
  for (int64_t i = 0; i < 16; ++i) padded[i] = i < count ? p[i] : Element{};
}
BITDIAL_X16 F32x16 LoadPartial(const float* p, int64_t count) {
  float padded[16];
  CopyPartial(p, count, padded);
  return Load(padded);
}
BITDIAL_X16 void StorePartial(float* p, int64_t count, F32x16 v) {
  float padded[16];
  Store(padded, v);
  for (int64_t i = 0; i < count; ++i) p[i] = padded[i];
}

// Readers of a weight's or a cache's element types: one float for each element, exactly.
struct F32Reader {
  using Element = float;
  BITDIAL_X16 static F32x16 Read(const float* p) { return Load(p); }
};
struct F16Reader {
  using Element = uint16_t;
  BITDIAL_X16 static F32x16 Read(const uint16_t* p) { return LoadF16(p); }
};
struct BF16Reader {
  using Element = uint16_t;
  BITDIAL_X16 static F32x16 Read(const uint16_t* p) { return LoadBF16(p); }
};
template <typename Reader>
BITDIAL_X16 F32x16 ReadPartial(const typename Reader::Element* p, int64_t count) {
  typename Reader::Element padded[16];
  CopyPartial(p, count, padded);
  return Reader::Read(padded);
}

// Sums of the sixteen lanes of four vectors. Each is ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 +
// s7)) with s_i = lane i + lane i + 8, in both ISAs.
BITDIAL_X16 __m128 ReduceAdd4(F32x16 a, F32x16 b, F32x16 c, F32x16 d) {
  const __m256 ab = _mm256_hadd_ps(AddHalves(a), AddHalves(b));
  const __m256 cd = _mm256_hadd_ps(AddHalves(c), AddHalves(d));
  const __m256 sums = _mm256_hadd_ps(ab, cd);
  return _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1));
}
// The same sum of one vector.
BITDIAL_X16 float ReduceAdd(F32x16 v) { return _mm_cvtss_f32(ReduceAdd4(v, v, v, v)); }

BITDIAL_X16 float ReduceMax(F32x16 v) {
  const __m256 eight = MaxHalves(v);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

// e^x. Error at most 2 units in the last place for x in [-87.33, 88.72]; +0 below (where the result
// would be subnormal), +inf above, NaN for NaN. VectorExp in reference_test.cc holds this. Range
// reduction x = n ln 2 + r with ln 2 in two parts (Cody and Waite), then the degree-5 polynomial of
// Cephes expf on |r| <= ln 2 / 2.
BITDIAL_X16 F32x16 Exp(F32x16 x) {
  const F32x16 bounded = Max(Set1(-87.34f), Min(Set1(88.8f), x));
  const F32x16 n = Round(Mul(bounded, Set1(1.44269504088896341f)));
  F32x16 r = Fma(n, Set1(-0.693359375f), bounded);
  r = Fma(n, Set1(2.12194440e-4f), r);
  F32x16 p = Set1(1.9875691500e-4f);
  p = Fma(p, r, Set1(1.3981999507e-3f));
  p = Fma(p, r, Set1(8.3334519073e-3f));
  p = Fma(p, r, Set1(4.1665795894e-2f));
  p = Fma(p, r, Set1(1.6666665459e-1f));
  p = Fma(p, r, Set1(5.0000001201e-1f));
  p = Add(Fma(p, Mul(r, r), r), Set1(1.0f));
  return ZeroWhereBelow(ScaleByExp2(p, n), x, Set1(-87.33f));
}

}  // namespace
}  // namespace bitdial::kernels::cpu::BITDIAL_ISA
