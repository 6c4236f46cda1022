// Compiled with AVX-512 flags: intrinsics and POD headers only, everything but the entry points in
// an anonymous namespace (invariant 6).
#include "kernels/formats/bcq/lut4_i16.h"

#include <immintrin.h>

#include "kernels/formats/bcq/lut4_avx512.h"
#include "kernels/formats/bcq/lut4_tile.h"

namespace bitdial::kernels::bcq {
namespace {

using namespace avx512;  // NOLINT: all of it is this file's

// As Int32x16: a type of its own keeps gcc 12 from copying sums.
using Int16x32 = int16_t __attribute__((vector_size(64)));

// The halves of a word ask tables k and 4 + k with their nibble k. One vpermw looks up both for 16
// outputs in one register: the index is the nibble, with 16 above it in the upper half. A lane adds
// up 16 lookups of the longest span.
template <int kRows>
BITDIAL_INLINE void AddBlock(const uint32_t* codes, const std::byte* tables, int64_t table_stride,
                             Int16x32 (&sum)[kRows][kSlices]) {
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

BITDIAL_INLINE __m512 ToFloats(Int16x32 sum) {
  return _mm512_cvtepi32_ps(_mm512_madd_epi16(__m512i(sum), _mm512_set1_epi16(1)));
}

// kIsOneSpan: the group is one span, as nearly always; u is then one product.
template <int kRows, bool kIsOneSpan>
void RunPlanes(const PlanePass& pass) {
  const int64_t group_size = pass.num_blocks * kBlockInputs;
  const int64_t span_blocks = kIsOneSpan ? pass.num_blocks : SpanInputs(group_size) / kBlockInputs;
  const std::byte* const scales = pass.tables + I16ScaleOffset(group_size);
  for (int64_t plane = pass.begin_plane; plane < pass.end_plane; ++plane) {
    alignas(64) float u[kIsOneSpan ? 1 : kRows][kTileLanes];
    if constexpr (!kIsOneSpan) __builtin_memset(u, 0, sizeof(u));
    const uint32_t* codes = pass.codes + plane * pass.plane_stride;
    const std::byte* tables = pass.tables;
    const int64_t lanes = plane * kTileLanes;
    for (int64_t first = 0, span = 0; first < pass.num_blocks; first += span_blocks, ++span) {
      Int16x32 sum[kRows][kSlices];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int s = 0; s < kSlices; ++s) sum[r][s] = Int16x32{};
      }
#pragma GCC unroll 1
      for (int64_t block = first; block < first + span_blocks; ++block) {
        const uint32_t* const ahead = pass.Ahead(block, codes);
#pragma GCC unroll 4
        for (int s = 0; s < kSlices; ++s) {
          _mm_prefetch(reinterpret_cast<const char*>(ahead + s * 16), _MM_HINT_T1);
        }
        AddBlock<kRows>(codes, tables, pass.table_stride, sum);
        codes += kTileLanes;
        tables += kI16BlockBytes;
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
          const __m512 dot = ToFloats(sum[r][s]);
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

struct Isa {
  static constexpr int64_t kRowBlock = 4;

  template <int kRows>
  static void Run(const PlanePass& pass) {
    const int64_t group_size = pass.num_blocks * kBlockInputs;
    if (SpanInputs(group_size) == group_size) {
      RunPlanes<kRows, true>(pass);
    } else {
      RunPlanes<kRows, false>(pass);
    }
  }
  static void Beta(const uint16_t* beta, const float* group_sums, int64_t num_rows, float* acc,
                   int64_t acc_stride) {
    AddBeta(beta, group_sums, num_rows, acc, acc_stride);
  }
};

// Rounds and writes table t of a block.
BITDIAL_INLINE void StoreTable(std::byte* block, int64_t t, __m512 scaled) {
  // What was not finite is the least int32 by now.
  const __m512i rounded = _mm512_max_epi32(_mm512_cvtps_epi32(scaled), _mm512_set1_epi32(-1023));
  _mm256_store_si256(reinterpret_cast<__m256i*>(block + t % 4 * 64 + t / 4 * 32),
                     _mm512_cvtepi32_epi16(rounded));
}

void BuildTables(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                 std::byte* tables, float* group_sums) {
  const int64_t span_tables = SpanInputs(args.group_size) / kTableInputs;
  const int64_t num_spans = args.group_size / SpanInputs(args.group_size);
  std::byte* out = tables + args.TableOffset(group, row);
  const int64_t scale_offset = I16ScaleOffset(args.group_size);
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
    const bool is_zero = !(largest > kI16Tiny);
    scales[span] = is_zero ? 0.0f : largest / kI16Largest;
    const __m512 inverse = _mm512_set1_ps(is_zero ? 0.0f : kI16Largest / largest);
    for (int64_t i = 0; i < span_tables; ++i) {
      const int64_t t = i % kTablesPerBlock;
      StoreTable(out, t, _mm512_mul_ps(_mm512_load_ps(entries[i]), inverse));
      if (t == kTablesPerBlock - 1) out += kI16BlockBytes;
    }
  }
  group_sums[group * args.num_rows + row] = sum;
  for (int64_t span = 0; span < num_spans; ++span) scales[span] += sum - sum;
}

}  // namespace

void Lut4I16BuildAvx512(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                        std::byte* tables, float* group_sums) noexcept {
  BuildTables(x, row, group, args, tables, group_sums);
}

int64_t Lut4I16TileAvx512(const Lut4Args& args, int64_t tile, float* acc,
                          int64_t acc_stride) noexcept {
  return RunLut4Tile<Isa>(args, tile, acc, acc_stride);
}

}  // namespace bitdial::kernels::bcq
