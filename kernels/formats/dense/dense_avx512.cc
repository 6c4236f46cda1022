#include "kernels/backends/cpu/x16_avx512.h"

namespace bitdial::kernels::cpu::avx512 {
namespace {

// Rows become columns: pairs of 32-bit, of 64-bit, then 128-bit blocks twice.
BITDIAL_X16 void Transpose16(F32x16 (&rows)[16]) {
  __m512 a[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_ps(rows[i].v, rows[i + 1].v);
    a[i + 1] = _mm512_unpackhi_ps(rows[i].v, rows[i + 1].v);
  }
  // b[4 i + j]: in each 128-bit block m, column 4 m + j of rows 4 i .. 4 i + 3.
  __m512 b[16];
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    b[i] = _mm512_shuffle_ps(a[i], a[i + 2], 0x44);
    b[i + 1] = _mm512_shuffle_ps(a[i], a[i + 2], 0xee);
    b[i + 2] = _mm512_shuffle_ps(a[i + 1], a[i + 3], 0x44);
    b[i + 3] = _mm512_shuffle_ps(a[i + 1], a[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512 even_low =
        _mm512_shuffle_f32x4(b[j], b[4 + j], 0x88);  // blocks 0, 2 of rows 0..3 and 4..7
    const __m512 odd_low = _mm512_shuffle_f32x4(b[j], b[4 + j], 0xdd);  // blocks 1, 3
    const __m512 even_high =
        _mm512_shuffle_f32x4(b[8 + j], b[12 + j], 0x88);  // the same of rows 8..15
    const __m512 odd_high = _mm512_shuffle_f32x4(b[8 + j], b[12 + j], 0xdd);
    rows[j].v = _mm512_shuffle_f32x4(even_low, even_high, 0x88);
    rows[4 + j].v = _mm512_shuffle_f32x4(odd_low, odd_high, 0x88);
    rows[8 + j].v = _mm512_shuffle_f32x4(even_low, even_high, 0xdd);
    rows[12 + j].v = _mm512_shuffle_f32x4(odd_low, odd_high, 0xdd);
  }
}

}  // namespace
}  // namespace bitdial::kernels::cpu::avx512

#include "kernels/formats/dense/dense_x16.h"
