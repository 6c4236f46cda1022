// Compiled with AVX2 flags: intrinsics and POD headers only, everything but the entry points in an
// anonymous namespace (invariant 6).
#include <immintrin.h>

#include "kernels/formats/bcq/i8_avx2.h"
#include "kernels/formats/bcq/lut4_i8_tile.h"
#include "kernels/formats/bcq/words_avx2.h"

namespace bitdial::kernels::bcq {
namespace {

using namespace avx2;  // NOLINT: all of it is this file's

// Tables of 32 x8: bytes that wrap on the way to entries, which are sums of |x8| up to 255.
void BuildTables(const int8_t* x8, std::byte* tables) {
  const __m128i zero = _mm_setzero_si128();
  // Byte c: all ones where bit t of c is 1.
  const __m128i is_set[kQuadInputs] = {
      _mm_set1_epi16(static_cast<short>(0xff00)), _mm_set1_epi32(static_cast<int>(0xffff0000)),
      _mm_set1_epi64x(static_cast<int64_t>(0xffffffff00000000)), _mm_set_epi64x(-1, 0)};
  for (int64_t t = 0; t < kTablesPerBlock; ++t) {
    __m128i table = zero;
    for (int i = 0; i < kQuadInputs; ++i) {
      const __m128i input = _mm_set1_epi8(x8[t * kQuadInputs + i]);
      const __m128i below = _mm_max_epi8(_mm_sub_epi8(zero, input), zero);
      table = _mm_add_epi8(table, _mm_add_epi8(below, _mm_and_si128(input, is_set[i])));
    }
    _mm_store_si128(reinterpret_cast<__m128i*>(tables + I8PlaceOfTable(t)), table);
  }
}

struct Isa {
  static constexpr int64_t kRowBlock = 4;

  template <int kRows>
  static void Run(const I8Pass& pass) {
    RunHalfTile<kRows>(pass, 0);
    RunHalfTile<kRows>(pass, kHalfTile);
  }

  // Lookups of a plane's blocks, in 16 bits: of outputs 0..15 and 16..31 of a half tile. A byte of a
  // word holds two codes: their lookups are put side by side (unpack) and added as pairs (vpmaddubsw
  // with ones). A span's 32 lookups of at most 255 fit int16.
  template <int kRows>
  BITDIAL_INLINE static void AddPlane(const I8Pass& pass, const uint32_t* codes,
                                      __m256i (&low)[kRows], __m256i (&high)[kRows]) {
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m256i ones = _mm256_set1_epi8(1);
#pragma GCC unroll 1
    for (int64_t block = 0; block < pass.num_blocks; ++block, codes += kTileLanes) {
      const uint32_t* const ahead = pass.Ahead(block, codes);
      _mm_prefetch(reinterpret_cast<const char*>(ahead), _MM_HINT_T1);
      _mm_prefetch(reinterpret_cast<const char*>(ahead + 16), _MM_HINT_T1);
      __m256i bytes[4];
      TransposeWords(codes, bytes);
#pragma GCC unroll 4
      for (int b = 0; b < 4; ++b) {
        const __m256i even = _mm256_and_si256(bytes[b], nibble);
        const __m256i odd = _mm256_and_si256(_mm256_srli_epi16(bytes[b], 4), nibble);
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          const std::byte* const tables = pass.Tables(r, block) + b * kTableEntries;
          const __m256i x = _mm256_shuffle_epi8(LoadTable(tables), even);
          const __m256i y = _mm256_shuffle_epi8(LoadTable(tables + 64), odd);
          low[r] = _mm256_add_epi16(low[r], _mm256_maddubs_epi16(_mm256_unpacklo_epi8(x, y), ones));
          high[r] = _mm256_add_epi16(high[r], _mm256_maddubs_epi16(_mm256_unpackhi_epi8(x, y), ones));
        }
      }
    }
  }

  // sums[4] of 8 outputs each += alpha * lookups. Unpacking 16-bit sums to 32 puts outputs in order.
  BITDIAL_INLINE static void AddScaled(const __m256i (&alpha)[4], __m256i low, __m256i high,
                                       __m256i* sums) {
    const __m256i zero = _mm256_setzero_si256();
    const __m256i lookups[4] = {
        _mm256_unpacklo_epi16(low, zero), _mm256_unpackhi_epi16(low, zero),
        _mm256_unpacklo_epi16(high, zero), _mm256_unpackhi_epi16(high, zero)};
#pragma GCC unroll 4
    for (int s = 0; s < 4; ++s) {
      const __m256i product = _mm256_madd_epi16(alpha[s], lookups[s]);
      _mm256_store_si256(sums + s, _mm256_add_epi32(_mm256_load_si256(sums + s), product));
    }
  }

  // Outputs [lane, lane + 32).
  template <int kRows>
  static void RunHalfTile(const I8Pass& pass, int64_t lane) {
    __m256i sums[kRows][4] = {}, alpha_sums[4] = {};
#pragma GCC unroll 1
    for (int plane = 0; plane < pass.bits; ++plane) {
      __m256i low[kRows], high[kRows];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) low[r] = high[r] = _mm256_setzero_si256();
      AddPlane<kRows>(pass, pass.codes + plane * pass.plane_stride + lane, low, high);
      __m256i alpha[4];
#pragma GCC unroll 4
      for (int s = 0; s < 4; ++s) {
        alpha[s] = LoadAlphas(pass.alpha + plane * kTileLanes + lane + s * 8);
        alpha_sums[s] = _mm256_add_epi32(alpha_sums[s], alpha[s]);
      }
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) AddScaled(alpha, low[r], high[r], sums[r]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const I8Span& span = pass.Span(r);
      // The low half of each lane; both factors fit 16 bits.
      const __m256i less = _mm256_set1_epi32(-span.abs_sum & 0xffff);
#pragma GCC unroll 4
      for (int s = 0; s < 4; ++s) {
        const int64_t out = lane + s * 8;
        const __m256i dot = _mm256_add_epi32(_mm256_add_epi32(sums[r][s], sums[r][s]),
                                             _mm256_madd_epi16(alpha_sums[s], less));
        AddSpan(pass.unit + out, pass.beta == nullptr ? nullptr : pass.beta + out, span, dot,
                pass.acc + r * pass.acc_stride + out);
      }
    }
  }
};

}  // namespace

void Lut4I8BuildAvx2(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                     std::byte* tables, float*) noexcept {
  const int64_t span_inputs = SpanInputs(args.group_size);
  std::byte* out = tables + args.TableOffset(group, row);
  auto* span = reinterpret_cast<I8Span*>(out + I8SpanOffset(args.group_size));
  for (int64_t first = 0; first < args.group_size; first += span_inputs) {
    alignas(32) int8_t x8[kMaxSpanInputs];
    *span++ = QuantizeSpan(x + first, span_inputs, x8);
    for (int64_t i = 0; i < span_inputs; i += kBlockInputs, out += kI8BlockBytes) {
      BuildTables(x8 + i, out);
    }
  }
}

int64_t Lut4I8TileAvx2(const Lut4Args& args, int64_t tile, float* acc,
                       int64_t acc_stride) noexcept {
  return RunI8Tile<Isa>(args, tile, acc, acc_stride);
}

}  // namespace bitdial::kernels::bcq
