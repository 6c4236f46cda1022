// Compiled with AVX-512 flags, VBMI and VNNI among them: intrinsics and POD headers only,
// everything but the entry points in an anonymous namespace (invariant 6).
#include "kernels/formats/bcq/lut4_i8.h"

#include <immintrin.h>

#include "kernels/formats/bcq/lut4_int_avx512.h"
#include "kernels/formats/bcq/vnni_avx512.h"

namespace bitdial::kernels::bcq {
namespace {

using namespace avx512;  // NOLINT: all of it is this file's

// Byte b of a word asks table 2b with its low nibble and table 2b + 1 with its high one. One vpermb
// looks up 64 bytes in the 4 even (or odd) tables of a block, which are one register: the index is
// the nibble with 16b above it. vpdpbusd with ones adds the 4 lookups of a word to its lane.
struct I8Table {
  using Entry = int8_t;
  using Sum = Int32x16;
  static constexpr float kLargest = kI8Largest;

  template <int kRows>
  BITDIAL_INLINE static void AddBlock(const uint32_t* codes, const std::byte* tables,
                                      int64_t table_stride, Int32x16 (&sum)[kRows][kSlices]) {
    const __m512i nibble = _mm512_set1_epi8(15);
    const __m512i table_of_byte = _mm512_set1_epi32(0x30201000);
    const __m512i ones = _mm512_set1_epi8(1);
    __m512i even[kSlices], odd[kSlices];
#pragma GCC unroll 4
    for (int s = 0; s < kSlices; ++s) {
      const __m512i word = _mm512_load_si512(codes + s * 16);
      // (word & nibble) | table_of_byte
      even[s] = _mm512_ternarylogic_epi32(word, nibble, table_of_byte, 0xEA);
      odd[s] = _mm512_ternarylogic_epi32(_mm512_srli_epi32(word, 4), nibble, table_of_byte, 0xEA);
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const std::byte* const of_row = tables + r * table_stride;
      const __m512i even_tables = _mm512_load_si512(of_row);
      const __m512i odd_tables = _mm512_load_si512(of_row + 64);
#pragma GCC unroll 4
      for (int s = 0; s < kSlices; ++s) {
        sum[r][s] = DotBytes(sum[r][s], ones, _mm512_permutexvar_epi8(even[s], even_tables));
        sum[r][s] = DotBytes(sum[r][s], ones, _mm512_permutexvar_epi8(odd[s], odd_tables));
      }
    }
  }

  BITDIAL_INLINE static __m512 ToFloats(Sum sum) { return avx512::ToFloats(sum); }

  BITDIAL_INLINE static void StoreTable(std::byte* block, int64_t t, __m512 scaled) {
    _mm_store_si128(reinterpret_cast<__m128i*>(block + (t % 2 * 4 + t / 2) * kTableEntries),
                    _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(scaled)));
  }
};

}  // namespace

void Lut4I8BuildAvx512(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                       std::byte* tables, float* group_sums) noexcept {
  BuildTables<I8Table>(x, row, group, args, tables, group_sums);
}

int64_t Lut4I8TileAvx512(const Lut4Args& args, int64_t tile, float* acc,
                         int64_t acc_stride) noexcept {
  return RunLut4Tile<Isa<I8Table>>(args, tile, acc, acc_stride);
}

}  // namespace bitdial::kernels::bcq
