// Code words by byte on AVX2, for tables that vpshufb looks up. Included only by files compiled for it;
// always inlined, so no copy leaves them.
#pragma once

#include <immintrin.h>

#include <cstddef>

#include "kernels/core/view.h"

namespace bitdial::kernels::bcq::avx2 {

inline constexpr int kHalfTile = 32;  // outputs at a time: as many as a register has bytes

// bytes[b]: byte b of the words of 32 outputs. vpshufb has one table for 16 bytes, so all bytes of
// a register must ask the same one. Within lane L, byte 4k + i belongs to output 8k + 4L + i.
BITDIAL_INLINE void TransposeWords(const uint32_t* words, __m256i bytes[4]) {
  const __m256i by_byte = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  __m256i w[4];
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    w[k] = _mm256_shuffle_epi8(_mm256_load_si256(reinterpret_cast<const __m256i*>(words + k * 8)),
                               by_byte);
  }
  const __m256i low01 = _mm256_unpacklo_epi32(w[0], w[1]);
  const __m256i low23 = _mm256_unpacklo_epi32(w[2], w[3]);
  const __m256i high01 = _mm256_unpackhi_epi32(w[0], w[1]);
  const __m256i high23 = _mm256_unpackhi_epi32(w[2], w[3]);
  bytes[0] = _mm256_unpacklo_epi64(low01, low23);
  bytes[1] = _mm256_unpackhi_epi64(low01, low23);
  bytes[2] = _mm256_unpacklo_epi64(high01, high23);
  bytes[3] = _mm256_unpackhi_epi64(high01, high23);
}

BITDIAL_INLINE __m256i LoadTable(const std::byte* from) {
  return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(from)));
}

}  // namespace bitdial::kernels::bcq::avx2
