// The loops of the classes with integer tables on AVX2. Included only by lut4_i8_avx2.cc and
// lut4_i16_avx2.cc; in an anonymous namespace or always inlined, so no copy leaves them.
//
// Table brings Entry, kLargest, AddBlock<kRows>(bytes, tables, table_stride, low, high), which adds
// the lookups of a block to 16-bit sums for outputs 0..15 and 16..31, and StoreTable(block, t,
// entries, inverse), which scales, rounds and writes table t of a block.
#pragma once

#include <immintrin.h>

#include "kernels/formats/bcq/lut4_avx2.h"
#include "kernels/formats/bcq/lut4_int.h"
#include "kernels/formats/bcq/lut4_tile.h"
#include "kernels/formats/bcq/words_avx2.h"

namespace bitdial::kernels::bcq::avx2 {
namespace {

// 16 int16 sums in the order of TransposeWords -> outputs 0..7 and 8..15 of their half as floats.
void SumsToFloats(__m256i sums, __m256 floats[2]) {
  const __m256 lane0 = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_castsi256_si128(sums)));
  const __m256 lane1 = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_extracti128_si256(sums, 1)));
  floats[0] = _mm256_permute2f128_ps(lane0, lane1, 0x20);
  floats[1] = _mm256_permute2f128_ps(lane0, lane1, 0x31);
}

// 16 scaled entries, rounded to int16 in their order; what was not finite is the least.
__m256i RoundEntries(const float* entries, __m256 inverse) {
  const __m256i low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_load_ps(entries), inverse));
  const __m256i high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_load_ps(entries + 8), inverse));
  return _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8);
}

// Outputs [lane, lane + 32).
template <typename Table, int kRows>
void RunHalfTile(const PlanePass& pass, int64_t plane, int64_t lane) {
  const int64_t group_size = pass.num_blocks * kBlockInputs;
  const int64_t span_blocks = SpanInputs(group_size) / kBlockInputs;
  const int64_t scale_offset = IntScaleOffset<typename Table::Entry>(group_size);
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
      Table::template AddBlock<kRows>(bytes, tables, pass.table_stride, low, high);
      codes += kTileLanes;
      tables += kIntBlockBytes<typename Table::Entry>;
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

template <typename Table>
struct Isa {
  static constexpr int64_t kRowBlock = 4;

  template <int kRows>
  static void Run(const PlanePass& pass) {
    for (int64_t plane = pass.begin_plane; plane < pass.end_plane; ++plane) {
      for (int64_t lane = 0; lane < kTileLanes; lane += kHalfTile) {
        RunHalfTile<Table, kRows>(pass, plane, lane);
      }
    }
  }
  static void Beta(const uint16_t* beta, const float* group_sums, int64_t num_rows, float* acc,
                   int64_t acc_stride) {
    AddBeta(beta, group_sums, num_rows, acc, acc_stride);
  }
};

}  // namespace

template <typename Table>
BITDIAL_INLINE void BuildTables(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                                std::byte* tables, float* group_sums) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  const int64_t span_tables = SpanInputs(args.group_size) / kTableInputs;
  const int64_t num_spans = args.group_size / SpanInputs(args.group_size);
  std::byte* out = tables + args.TableOffset(group, row);
  const int64_t scale_offset = IntScaleOffset<typename Table::Entry>(args.group_size);
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
    const bool is_zero = !(largest > kIntTiny);
    scales[span] = is_zero ? 0.0f : largest / Table::kLargest;
    const __m256 inverse = _mm256_set1_ps(is_zero ? 0.0f : Table::kLargest / largest);
    for (int64_t i = 0; i < span_tables; ++i) {
      const int64_t t = i % kTablesPerBlock;
      Table::StoreTable(out, t, entries[i], inverse);
      if (t == kTablesPerBlock - 1) out += kIntBlockBytes<typename Table::Entry>;
    }
  }
  group_sums[group * args.num_rows + row] = sum;
  for (int64_t span = 0; span < num_spans; ++span) scales[span] += sum - sum;
}

}  // namespace bitdial::kernels::bcq::avx2
