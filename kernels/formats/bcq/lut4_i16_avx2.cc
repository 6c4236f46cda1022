// Compiled with AVX2 flags: intrinsics and POD headers only, everything but the entry points in an
// anonymous namespace (invariant 6).
#include "kernels/formats/bcq/lut4_i16.h"

#include <immintrin.h>

#include "kernels/formats/bcq/lut4_int_avx2.h"

namespace bitdial::kernels::bcq {
namespace {

using namespace avx2;  // NOLINT: all of it is this file's

// vpshufb looks up bytes: the low and the high one of an entry, put together again by the unpack.
struct I16Table {
  using Entry = int16_t;
  static constexpr float kLargest = kI16Largest;
  static constexpr int64_t kTableBytes = 32;

  template <int kRows>
  BITDIAL_INLINE static void AddBlock(const __m256i (&bytes)[4], const std::byte* tables,
                                      int64_t table_stride, __m256i (&low)[kRows],
                                      __m256i (&high)[kRows]) {
    const __m256i nibble = _mm256_set1_epi8(15);
#pragma GCC unroll 8
    for (int t = 0; t < 8; ++t) {
      const __m256i byte = t % 2 == 0 ? bytes[t / 2] : _mm256_srli_epi16(bytes[t / 2], 4);
      const __m256i code = _mm256_and_si256(byte, nibble);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const std::byte* const table = tables + r * table_stride + t * kTableBytes;
        const __m256i x = _mm256_shuffle_epi8(LoadTable(table), code);
        const __m256i y = _mm256_shuffle_epi8(LoadTable(table + 16), code);
        low[r] = _mm256_add_epi16(low[r], _mm256_unpacklo_epi8(x, y));
        high[r] = _mm256_add_epi16(high[r], _mm256_unpackhi_epi8(x, y));
      }
    }
  }

  BITDIAL_INLINE static void StoreTable(std::byte* block, int64_t t, const float* entries,
                                        __m256 inverse) {
    const __m256i words = _mm256_max_epi16(RoundEntries(entries, inverse), _mm256_set1_epi16(-1023));
    const __m256i low_bytes = _mm256_and_si256(words, _mm256_set1_epi16(255));
    // Within a 128-bit lane: 8 low bytes, 8 high ones; then the low ones of both lanes first.
    const __m256i split = _mm256_packus_epi16(low_bytes, _mm256_srli_epi16(words, 8));
    _mm256_store_si256(reinterpret_cast<__m256i*>(block + t * kTableBytes),
                       _mm256_permute4x64_epi64(split, 0xD8));
  }
};

}  // namespace

void Lut4I16BuildAvx2(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                      std::byte* tables, float* group_sums) noexcept {
  BuildTables<I16Table>(x, row, group, args, tables, group_sums);
}

int64_t Lut4I16TileAvx2(const Lut4Args& args, int64_t tile, float* acc,
                        int64_t acc_stride) noexcept {
  return RunLut4Tile<Isa<I16Table>>(args, tile, acc, acc_stride);
}

}  // namespace bitdial::kernels::bcq
