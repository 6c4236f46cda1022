// Compiled with AVX2 flags: intrinsics and POD headers only, everything but the entry points in an
// anonymous namespace (invariant 6).
#include "kernels/formats/bcq/lut4_i16.h"

#include <immintrin.h>

#include "kernels/formats/bcq/lut4_avx2.h"
#include "kernels/formats/bcq/lut4_tile.h"
#include "kernels/formats/bcq/words_avx2.h"

namespace bitdial::kernels::bcq {
namespace {

using namespace avx2;  // NOLINT: all of it is this file's

constexpr int64_t kTableBytes = 32;  // 16 low bytes of entries, then the high ones

// 16 int16 sums in the order of TransposeWords -> outputs 0..7 and 8..15 of their half as floats.
void SumsToFloats(__m256i sums, __m256 floats[2]) {
  const __m256 lane0 = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_castsi256_si128(sums)));
  const __m256 lane1 = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_extracti128_si256(sums, 1)));
  floats[0] = _mm256_permute2f128_ps(lane0, lane1, 0x20);
  floats[1] = _mm256_permute2f128_ps(lane0, lane1, 0x31);
}

// Adds the lookups of a block to 16-bit sums for outputs 0..15 and 16..31. vpshufb looks up bytes:
// the low and the high one of an entry, put together again by the unpack.
template <int kRows>
BITDIAL_INLINE void AddBlock(const __m256i (&bytes)[4], const std::byte* tables,
                             int64_t table_stride, __m256i (&low)[kRows], __m256i (&high)[kRows]) {
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

// Outputs [lane, lane + 32).
template <int kRows>
void RunHalfTile(const PlanePass& pass, int64_t plane, int64_t lane) {
  const int64_t group_size = pass.num_blocks * kBlockInputs;
  const int64_t span_blocks = SpanInputs(group_size) / kBlockInputs;
  const int64_t scale_offset = I16ScaleOffset(group_size);
  alignas(32) float u[kRows][kHalfTile] = {};
  const uint32_t* codes = pass.codes + plane * pass.plane_stride + lane;
  const std::byte* tables = pass.tables;
  for (int64_t first = 0, span = 0; first < pass.num_blocks; first += span_blocks, ++span) {
    __m256i low[kRows], high[kRows];  // outputs 0..15, 16..31
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) low[r] = high[r] = _mm256_setzero_si256();
#pragma GCC unroll 1
    for (int64_t block = first; block < first + span_blocks; ++block) {
      const uint32_t* const ahead = pass.Ahead(block, codes);
      _mm_prefetch(reinterpret_cast<const char*>(ahead), _MM_HINT_T1);
      _mm_prefetch(reinterpret_cast<const char*>(ahead + 16), _MM_HINT_T1);
      __m256i bytes[4];
      TransposeWords(codes, bytes);
      AddBlock<kRows>(bytes, tables, pass.table_stride, low, high);
      codes += kTileLanes;
      tables += kI16BlockBytes;
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const auto* const scales =
          reinterpret_cast<const float*>(pass.tables + r * pass.table_stride + scale_offset);
      const __m256 scale = _mm256_set1_ps(scales[span]);
      float* const acc = pass.acc + r * pass.acc_stride + lane;
      __m256 sums[4];
      SumsToFloats(low[r], sums);
      SumsToFloats(high[r], sums + 2);
#pragma GCC unroll 4
      for (int s = 0; s < 4; ++s) {
        const __m256 now = _mm256_fmadd_ps(scale, sums[s], _mm256_load_ps(u[r] + s * 8));
        if (first + span_blocks < pass.num_blocks) {
          _mm256_store_ps(u[r] + s * 8, now);
        } else {
          AddScaled(pass.alpha[r] + plane * kTileLanes + lane, now, acc, s * 8);
        }
      }
    }
  }
}

struct Isa {
  static constexpr int64_t kRowBlock = 4;

  template <int kRows>
  static void Run(const PlanePass& pass) {
    for (int64_t plane = pass.begin_plane; plane < pass.end_plane; ++plane) {
      for (int64_t lane = 0; lane < kTileLanes; lane += kHalfTile) {
        RunHalfTile<kRows>(pass, plane, lane);
      }
    }
  }
  static void Beta(const uint16_t* beta, const float* group_sums, int64_t num_rows, float* acc,
                   int64_t acc_stride) {
    AddBeta(beta, group_sums, num_rows, acc, acc_stride);
  }
};

// 16 scaled entries, rounded to int16 in their order; what was not finite is the least.
__m256i RoundEntries(const float* entries, __m256 inverse) {
  const __m256i low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_load_ps(entries), inverse));
  const __m256i high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_load_ps(entries + 8), inverse));
  return _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8);
}

// Scales, rounds and writes table t of a block.
BITDIAL_INLINE void StoreTable(std::byte* block, int64_t t, const float* entries, __m256 inverse) {
  const __m256i words = _mm256_max_epi16(RoundEntries(entries, inverse), _mm256_set1_epi16(-1023));
  const __m256i low_bytes = _mm256_and_si256(words, _mm256_set1_epi16(255));
  // Within a 128-bit lane: 8 low bytes, 8 high ones; then the low ones of both lanes first.
  const __m256i split = _mm256_packus_epi16(low_bytes, _mm256_srli_epi16(words, 8));
  _mm256_store_si256(reinterpret_cast<__m256i*>(block + t * kTableBytes),
                     _mm256_permute4x64_epi64(split, 0xD8));
}

void BuildTables(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                 std::byte* tables, float* group_sums) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  const int64_t span_tables = SpanInputs(args.group_size) / kTableInputs;
  const int64_t num_spans = args.group_size / SpanInputs(args.group_size);
  std::byte* out = tables + args.TableOffset(group, row);
  const int64_t scale_offset = I16ScaleOffset(args.group_size);
  auto* const scales = reinterpret_cast<float*>(out + scale_offset);
  float sum = 0;
  for (int64_t span = 0; span < num_spans; ++span) {
    alignas(32) float entries[kMaxSpanInputs / kTableInputs][kTableEntries];
    __m256 size = _mm256_setzero_ps();
    for (int64_t i = 0; i < span_tables; ++i, x += kTableInputs) {
      const __m256 upper = HalfTable(x, true);
      _mm256_store_ps(entries[i], HalfTable(x, false));
      _mm256_store_ps(entries[i] + 8, upper);
      size = _mm256_max_ps(size, _mm256_and_ps(upper, magnitude));  // the lower half mirrors it
      sum += entries[i][kTableEntries - 1];
    }
    const float largest = LargestLane(size);
    const bool is_zero = !(largest > kI16Tiny);
    scales[span] = is_zero ? 0.0f : largest / kI16Largest;
    const __m256 inverse = _mm256_set1_ps(is_zero ? 0.0f : kI16Largest / largest);
    for (int64_t i = 0; i < span_tables; ++i) {
      const int64_t t = i % kTablesPerBlock;
      StoreTable(out, t, entries[i], inverse);
      if (t == kTablesPerBlock - 1) out += kI16BlockBytes;
    }
  }
  group_sums[group * args.num_rows + row] = sum;
  for (int64_t span = 0; span < num_spans; ++span) scales[span] += sum - sum;
}

}  // namespace

void Lut4I16BuildAvx2(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                      std::byte* tables, float* group_sums) noexcept {
  BuildTables(x, row, group, args, tables, group_sums);
}

int64_t Lut4I16TileAvx2(const Lut4Args& args, int64_t tile, float* acc,
                        int64_t acc_stride) noexcept {
  return RunLut4Tile<Isa>(args, tile, acc, acc_stride);
}

}  // namespace bitdial::kernels::bcq
