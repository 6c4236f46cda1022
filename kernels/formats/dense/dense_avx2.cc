#include "kernels/backends/cpu/x16_avx2.h"

namespace bitdial::kernels::cpu::avx2 {
namespace {

BITDIAL_X16 void Transpose8(__m256 (&rows)[8]) {
  __m256 a[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
    a[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
  }
  // b[4 i + j]: in each 128-bit block m, column 4 m + j of rows 4 i .. 4 i + 3.
  __m256 b[8];
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
    b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
    b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
    b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    rows[j] = _mm256_permute2f128_ps(b[j], b[4 + j], 0x20);
    rows[4 + j] = _mm256_permute2f128_ps(b[j], b[4 + j], 0x31);
  }
}

// Four 8x8 quadrants.
BITDIAL_X16 void Transpose16(F32x16 (&rows)[16]) {
  __m256 quadrant[4][8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    quadrant[0][i] = rows[i].low;
    quadrant[1][i] = rows[i].high;
    quadrant[2][i] = rows[8 + i].low;
    quadrant[3][i] = rows[8 + i].high;
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) Transpose8(quadrant[i]);
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    rows[i] = {quadrant[0][i], quadrant[2][i]};
    rows[8 + i] = {quadrant[1][i], quadrant[3][i]};
  }
}

}  // namespace
}  // namespace bitdial::kernels::cpu::avx2

#include "kernels/formats/dense/dense_x16.h"
