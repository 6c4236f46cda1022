// Compiled with AVX-512 flags: intrinsics and POD headers only, everything but the entry points in
// an anonymous namespace (invariant 6).
#include "kernels/formats/bcq/lut4_i16.h"

#include <immintrin.h>

#include "kernels/formats/bcq/lut4_int_avx512.h"

namespace bitdial::kernels::bcq {
namespace {

using namespace avx512;  // NOLINT: all of it is this file's

// As Int32x16: a type of its own keeps gcc 12 from copying sums.
using Int16x32 = int16_t __attribute__((vector_size(64)));

// The halves of a word ask tables k and 4 + k with their nibble k. One vpermw looks up both for 16
// outputs in one register: the index is the nibble, with 16 above it in the upper half. A lane adds
// up 16 lookups of the longest span.
struct I16Table {
  using Entry = int16_t;
  using Sum = Int16x32;
  static constexpr float kLargest = kI16Largest;

  template <int kRows>
  BITDIAL_INLINE static void AddBlock(const uint32_t* codes, const std::byte* tables,
                                      int64_t table_stride, Int16x32 (&sum)[kRows][kSlices]) {
    const __m512i nibble = _mm512_set1_epi16(15);
    const __m512i table_of_half = _mm512_set1_epi32(0x00100000);
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      __m512i index[kSlices];
#pragma GCC unroll 4
      for (int s = 0; s < kSlices; ++s) {
        const __m512i word = _mm512_load_si512(codes + s * 16);
        // (word & nibble) | table_of_half
        index[s] = _mm512_ternarylogic_epi32(_mm512_srli_epi16(word, 4 * k), nibble, table_of_half,
                                             0xEA);
      }
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const __m512i two_tables = _mm512_load_si512(tables + r * table_stride + k * 64);
#pragma GCC unroll 4
        for (int s = 0; s < kSlices; ++s) {
          sum[r][s] += Int16x32(_mm512_permutexvar_epi16(index[s], two_tables));
        }
      }
    }
  }

  BITDIAL_INLINE static __m512 ToFloats(Sum sum) {
    return _mm512_cvtepi32_ps(_mm512_madd_epi16(__m512i(sum), _mm512_set1_epi16(1)));
  }

  BITDIAL_INLINE static void StoreTable(std::byte* block, int64_t t, __m512 scaled) {
    // What was not finite is the least int32 by now.
    const __m512i rounded = _mm512_max_epi32(_mm512_cvtps_epi32(scaled), _mm512_set1_epi32(-1023));
    _mm256_store_si256(reinterpret_cast<__m256i*>(block + t % 4 * 64 + t / 4 * 32),
                       _mm512_cvtepi32_epi16(rounded));
  }
};

}  // namespace

void Lut4I16BuildAvx512(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                        std::byte* tables, float* group_sums) noexcept {
  BuildTables<I16Table>(x, row, group, args, tables, group_sums);
}

int64_t Lut4I16TileAvx512(const Lut4Args& args, int64_t tile, float* acc,
                          int64_t acc_stride) noexcept {
  return RunLut4Tile<Isa<I16Table>>(args, tile, acc, acc_stride);
}

}  // namespace bitdial::kernels::bcq
