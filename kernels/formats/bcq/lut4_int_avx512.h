// The loops of the classes with integer tables on AVX-512. Included only by lut4_i8_avx512.cc and
// lut4_i16_avx512.cc; in an anonymous namespace or always inlined, so no copy leaves them.
//
// Table brings Entry, kLargest, Sum (a register of sums for 16 outputs), AddBlock<kRows>(codes, tables,
// table_stride, sum), ToFloats(sum), and StoreTable(block, t, scaled), which rounds and writes table
// t of a block.
#pragma once

#include <immintrin.h>

#include "kernels/formats/bcq/lut4_avx512.h"
#include "kernels/formats/bcq/lut4_int.h"
#include "kernels/formats/bcq/lut4_tile.h"

namespace bitdial::kernels::bcq::avx512 {
namespace {

// kIsOneSpan: the group is one span, as nearly always; u is then one product.
template <typename Table, int kRows, bool kIsOneSpan>
void RunPlanes(const PlanePass& pass) {
  const int64_t group_size = pass.num_blocks * kBlockInputs;
  const int64_t span_blocks = kIsOneSpan ? pass.num_blocks : SpanInputs(group_size) / kBlockInputs;
  const std::byte* const scales = pass.tables + IntScaleOffset<typename Table::Entry>(group_size);
  for (int64_t plane = pass.begin_plane; plane < pass.end_plane; ++plane) {
    alignas(64) float u[kIsOneSpan ? 1 : kRows][kTileLanes];
    if constexpr (!kIsOneSpan) __builtin_memset(u, 0, sizeof(u));
    const uint32_t* codes = pass.codes + plane * pass.plane_stride;
    const std::byte* tables = pass.tables;
    const int64_t lanes = plane * kTileLanes;
    for (int64_t first = 0, span = 0; first < pass.num_blocks; first += span_blocks, ++span) {
      typename Table::Sum sum[kRows][kSlices];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int s = 0; s < kSlices; ++s) sum[r][s] = typename Table::Sum{};
      }
#pragma GCC unroll 1
      for (int64_t block = first; block < first + span_blocks; ++block) {
        const uint32_t* const ahead = pass.Ahead(block, codes);
#pragma GCC unroll 4
        for (int s = 0; s < kSlices; ++s) {
          _mm_prefetch(reinterpret_cast<const char*>(ahead + s * 16), _MM_HINT_T1);
        }
        Table::template AddBlock<kRows>(codes, tables, pass.table_stride, sum);
        codes += kTileLanes;
        tables += kIntBlockBytes<typename Table::Entry>;
      }
      const bool is_last = kIsOneSpan || first + span_blocks == pass.num_blocks;
      __m512 scale[kRows];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        scale[r] = _mm512_set1_ps(
            reinterpret_cast<const float*>(scales + r * pass.table_stride)[span]);
      }
#pragma GCC unroll 4
      for (int s = 0; s < kSlices; ++s) {
        __m512 alpha = LoadHalf(pass.alpha[0] + lanes + s * 16);
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          if (r > 0 && !pass.is_one_set) alpha = LoadHalf(pass.alpha[r] + lanes + s * 16);
          const __m512 dot = Table::ToFloats(sum[r][s]);
          __m512 now;
          if constexpr (kIsOneSpan) {
            now = _mm512_mul_ps(scale[r], dot);
          } else {
            now = _mm512_fmadd_ps(scale[r], dot, _mm512_load_ps(u[r] + s * 16));
            _mm512_store_ps(u[r] + s * 16, now);
          }
          float* const acc = pass.acc + r * pass.acc_stride + s * 16;
          if (is_last) _mm512_storeu_ps(acc, _mm512_fmadd_ps(alpha, now, _mm512_loadu_ps(acc)));
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
    const int64_t group_size = pass.num_blocks * kBlockInputs;
    if (SpanInputs(group_size) == group_size) {
      RunPlanes<Table, kRows, true>(pass);
    } else {
      RunPlanes<Table, kRows, false>(pass);
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
  const int64_t span_tables = SpanInputs(args.group_size) / kTableInputs;
  const int64_t num_spans = args.group_size / SpanInputs(args.group_size);
  std::byte* out = tables + args.TableOffset(group, row);
  const int64_t scale_offset = IntScaleOffset<typename Table::Entry>(args.group_size);
  auto* const scales = reinterpret_cast<float*>(out + scale_offset);
  float sum = 0;
  for (int64_t span = 0; span < num_spans; ++span) {
    alignas(64) float entries[kMaxSpanInputs / kTableInputs][kTableEntries];
    __m512 size = _mm512_setzero_ps();
    for (int64_t i = 0; i < span_tables; ++i, x += kTableInputs) {
      const __m512 table = MakeTable(x);
      _mm512_store_ps(entries[i], table);
      size = _mm512_max_ps(size, _mm512_abs_ps(table));
      sum += entries[i][kTableEntries - 1];
    }
    const float largest = _mm512_reduce_max_ps(size);
    const bool is_zero = !(largest > kIntTiny);
    scales[span] = is_zero ? 0.0f : largest / Table::kLargest;
    const __m512 inverse = _mm512_set1_ps(is_zero ? 0.0f : Table::kLargest / largest);
    for (int64_t i = 0; i < span_tables; ++i) {
      const int64_t t = i % kTablesPerBlock;
      Table::StoreTable(out, t, _mm512_mul_ps(_mm512_load_ps(entries[i]), inverse));
      if (t == kTablesPerBlock - 1) out += kIntBlockBytes<typename Table::Entry>;
    }
  }
  group_sums[group * args.num_rows + row] = sum;
  for (int64_t span = 0; span < num_spans; ++span) scales[span] += sum - sum;
}

}  // namespace bitdial::kernels::bcq::avx512
