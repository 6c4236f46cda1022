// Compiled with AVX2 flags: intrinsics and POD headers only, everything but the entry points in an
// anonymous namespace (invariant 6).
#include "kernels/formats/bcq/lut4_i8.h"

#include <immintrin.h>

#include "kernels/formats/bcq/lut4_int_avx2.h"

namespace bitdial::kernels::bcq {
namespace {

using namespace avx2;  // NOLINT: all of it is this file's

// A byte holds two codes: their lookups are put side by side (unpack) and added as pairs
// (vpmaddubsw with ones). A span's 32 lookups of at most 127 fit int16.
struct I8Table {
  using Entry = int8_t;
  static constexpr float kLargest = kI8Largest;

  template <int kRows>
  BITDIAL_INLINE static void AddBlock(const __m256i (&bytes)[4], const std::byte* tables,
                                      int64_t table_stride, __m256i (&low)[kRows],
                                      __m256i (&high)[kRows]) {
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m256i ones = _mm256_set1_epi8(1);
#pragma GCC unroll 4
    for (int b = 0; b < 4; ++b) {
      const __m256i even = _mm256_and_si256(bytes[b], nibble);
      const __m256i odd = _mm256_and_si256(_mm256_srli_epi16(bytes[b], 4), nibble);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const std::byte* const of_row = tables + r * table_stride + b * kTableEntries;
        const __m256i x = _mm256_shuffle_epi8(LoadTable(of_row), even);
        const __m256i y = _mm256_shuffle_epi8(LoadTable(of_row + 64), odd);
        low[r] = _mm256_add_epi16(low[r], _mm256_maddubs_epi16(ones, _mm256_unpacklo_epi8(x, y)));
        high[r] = _mm256_add_epi16(high[r], _mm256_maddubs_epi16(ones, _mm256_unpackhi_epi8(x, y)));
      }
    }
  }

  BITDIAL_INLINE static void StoreTable(std::byte* block, int64_t t, const float* entries,
                                        __m256 inverse) {
    const __m256i words = RoundEntries(entries, inverse);
    _mm_store_si128(reinterpret_cast<__m128i*>(block + (t % 2 * 4 + t / 2) * kTableEntries),
                    _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
  }
};

}  // namespace

void Lut4I8BuildAvx2(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                     std::byte* tables, float* group_sums) noexcept {
  BuildTables<I8Table>(x, row, group, args, tables, group_sums);
}

int64_t Lut4I8TileAvx2(const Lut4Args& args, int64_t tile, float* acc,
                       int64_t acc_stride) noexcept {
  return RunLut4Tile<Isa<I8Table>>(args, tile, acc, acc_stride);
}

}  // namespace bitdial::kernels::bcq
