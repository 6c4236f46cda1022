// Compiled with AVX-512 flags, VBMI and VNNI among them: intrinsics and POD headers only,
// everything but the entry points in an anonymous namespace (invariant 6).
#include <immintrin.h>

#include "kernels/formats/bcq/i8_avx512.h"
#include "kernels/formats/bcq/lut4_i8_tile.h"

namespace bitdial::kernels::bcq {
namespace {

using namespace avx512;  // NOLINT: all of it is this file's

// Tables of 32 x8. A quad's lookups are byte products: with x8 (signed) where bit t of the entry is 1.
// Entries start from the least one, so that they are sums of |x8|.
void BuildTables(const int8_t* x8, std::byte* tables) {
  const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x8));
  const __m256i zero = _mm256_setzero_si256();
  const __m256i below = _mm256_max_epi8(_mm256_sub_epi8(zero, x), zero);
  alignas(32) int32_t first[kTablesPerBlock];
  _mm256_store_si256(reinterpret_cast<__m256i*>(first),
                     _mm256_dpbusd_epi32(zero, below, _mm256_set1_epi8(1)));
  // Lane c, byte t: bit t of c.
  const __m512i is_set = _mm512_set_epi32(0x01010101, 0x01010100, 0x01010001, 0x01010000, 0x01000101,
                                          0x01000100, 0x01000001, 0x01000000, 0x00010101, 0x00010100,
                                          0x00010001, 0x00010000, 0x00000101, 0x00000100, 0x00000001,
                                          0x00000000);
  for (int64_t t = 0; t < kTablesPerBlock; ++t) {
    int32_t quad;
    __builtin_memcpy(&quad, x8 + t * kQuadInputs, sizeof(quad));
    const Int32x16 entries =
        DotBytes(Int32x16(_mm512_set1_epi32(first[t])), is_set, _mm512_set1_epi32(quad));
    _mm_store_si128(reinterpret_cast<__m128i*>(tables + I8PlaceOfTable(t)),
                    _mm512_cvtepi32_epi8(__m512i(entries)));
  }
}

// Byte b of a word asks table 2b with its low nibble and table 2b + 1 with its high one. One vpermb
// looks up 64 bytes in the 4 even (or odd) tables of a block, which are one register: the index is
// the nibble with 16b above it. vpdpbusd multiplies the 4 lookups of a word with the plane's a8 and
// adds them to its lane.
struct Isa {
  static constexpr int64_t kRowBlock = 4;

  template <int kRows>
  static void Run(const I8Pass& pass) {
    const __m512i nibble = _mm512_set1_epi8(15);
    const __m512i table_of_byte = _mm512_set1_epi32(0x30201000);
    const __m512i first_byte = _mm512_set1_epi32(1);
    Int32x16 sum[kRows][kSlices], alpha_sum[kSlices];
#pragma GCC unroll 4
    for (int s = 0; s < kSlices; ++s) {
      alpha_sum[s] = Int32x16{};
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) sum[r][s] = Int32x16{};
    }
#pragma GCC unroll 1
    for (int plane = 0; plane < pass.bits; ++plane) {
      __m512i alpha[kSlices];
#pragma GCC unroll 4
      for (int s = 0; s < kSlices; ++s) {
        alpha[s] = SpreadAlphas(pass.alpha + plane * kTileLanes, s);
        alpha_sum[s] = DotBytes(alpha_sum[s], first_byte, alpha[s]);
      }
      const uint32_t* codes = pass.codes + plane * pass.plane_stride;
#pragma GCC unroll 1
      for (int64_t block = 0; block < pass.num_blocks; ++block, codes += kTileLanes) {
        const uint32_t* const ahead = pass.Ahead(block, codes);
#pragma GCC unroll 4
        for (int s = 0; s < kSlices; ++s) {
          _mm_prefetch(reinterpret_cast<const char*>(ahead + s * 16), _MM_HINT_T1);
        }
#pragma GCC unroll 4
        for (int s = 0; s < kSlices; ++s) {
          const __m512i word = _mm512_load_si512(codes + s * 16);
          // (word & nibble) | table_of_byte
          const __m512i even = _mm512_ternarylogic_epi32(word, nibble, table_of_byte, 0xEA);
          const __m512i odd =
              _mm512_ternarylogic_epi32(_mm512_srli_epi32(word, 4), nibble, table_of_byte, 0xEA);
#pragma GCC unroll 4
          for (int r = 0; r < kRows; ++r) {
            const std::byte* const tables = pass.Tables(r, block);
            sum[r][s] = DotBytes(
                sum[r][s], _mm512_permutexvar_epi8(even, _mm512_load_si512(tables)), alpha[s]);
            sum[r][s] = DotBytes(
                sum[r][s], _mm512_permutexvar_epi8(odd, _mm512_load_si512(tables + 64)), alpha[s]);
          }
        }
      }
    }
#pragma GCC unroll 4
    for (int s = 0; s < kSlices; ++s) {
      const SpanScales scales = LoadScales(pass.unit, pass.beta, s);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const I8Span& span = pass.Span(r);
        // The low half of each lane; both factors fit 16 bits.
        const __m512i less = _mm512_set1_epi32(-span.abs_sum & 0xffff);
        const __m512i twice = _mm512_slli_epi32(__m512i(sum[r][s]), 1);
        const __m512i dot = _mm512_dpwssd_epi32(twice, __m512i(alpha_sum[s]), less);
        AddSpan(scales, span, Int32x16(dot), pass.acc + r * pass.acc_stride + s * 16);
      }
    }
  }
};

}  // namespace

void Lut4I8BuildAvx512(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                       std::byte* tables, float*) noexcept {
  const int64_t span_inputs = SpanInputs(args.group_size);
  std::byte* out = tables + args.TableOffset(group, row);
  auto* span = reinterpret_cast<I8Span*>(out + I8SpanOffset(args.group_size));
  for (int64_t first = 0; first < args.group_size; first += span_inputs) {
    alignas(64) int8_t x8[kMaxSpanInputs];
    *span++ = QuantizeSpan(x + first, span_inputs, x8);
    for (int64_t i = 0; i < span_inputs; i += kBlockInputs, out += kI8BlockBytes) {
      BuildTables(x8 + i, out);
    }
  }
}

int64_t Lut4I8TileAvx512(const Lut4Args& args, int64_t tile, float* acc,
                         int64_t acc_stride) noexcept {
  return RunI8Tile<Isa>(args, tile, acc, acc_stride);
}

}  // namespace bitdial::kernels::bcq
