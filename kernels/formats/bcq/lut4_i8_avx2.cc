// Compiled with AVX2 flags: intrinsics and POD headers only, everything but the entry points in an
// anonymous namespace (invariant 6).
#include <immintrin.h>

#include "kernels/formats/bcq/lut4_avx2.h"
#include "kernels/formats/bcq/lut4_i8.h"
#include "kernels/formats/bcq/lut4_tile.h"

namespace bitdial::kernels::bcq {
namespace {

using namespace avx2;  // NOLINT: all of it is this file's

constexpr int kHalfTile = 32;  // outputs at a time: as many as a register has bytes

// bytes[b]: byte b of the words of 32 outputs. vpshufb has one table for 16 bytes, so all bytes of
// a register must ask the same one. Within lane L, byte 4k + i belongs to output 8k + 4L + i.
void TransposeWords(const uint32_t* words, __m256i bytes[4]) {
  const __m256i by_byte = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  __m256i w[4];
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    w[k] = _mm256_shuffle_epi8(_mm256_load_si256(reinterpret_cast<const __m256i*>(words + k * 8)),
                               by_byte);
  }
  const __m256i low01 = _mm256_unpacklo_epi32(w[0], w[1]);
  const __m256i low23 = _mm256_unpacklo_epi32(w[2], w[3]);
  const __m256i high01 = _mm256_unpackhi_epi32(w[0], w[1]);
  const __m256i high23 = _mm256_unpackhi_epi32(w[2], w[3]);
  bytes[0] = _mm256_unpacklo_epi64(low01, low23);
  bytes[1] = _mm256_unpackhi_epi64(low01, low23);
  bytes[2] = _mm256_unpacklo_epi64(high01, high23);
  bytes[3] = _mm256_unpackhi_epi64(high01, high23);
}

// 16 int16 sums in the order of TransposeWords -> outputs 0..7 and 8..15 of their half as floats.
void SumsToFloats(__m256i sums, __m256 floats[2]) {
  const __m256 lane0 = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_castsi256_si128(sums)));
  const __m256 lane1 = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm256_extracti128_si256(sums, 1)));
  floats[0] = _mm256_permute2f128_ps(lane0, lane1, 0x20);
  floats[1] = _mm256_permute2f128_ps(lane0, lane1, 0x31);
}

__m256i LoadTable(const std::byte* from) {
  return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(from)));
}

// Outputs [lane, lane + 32). A byte holds two codes: their lookups are put side by side (unpack)
// and added as pairs (vpmaddubsw with ones). A span's 32 lookups of at most 127 fit int16.
template <int kRows>
void RunHalfTile(const PlanePass& pass, int64_t plane, int64_t lane) {
  const __m256i nibble = _mm256_set1_epi8(15);
  const __m256i ones = _mm256_set1_epi8(1);
  const int64_t group_size = pass.num_blocks * kBlockInputs;
  const int64_t span_blocks = SpanInputs(group_size) / kBlockInputs;
  const int64_t scale_offset = Lut4I8ScaleOffset(group_size);
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
#pragma GCC unroll 4
      for (int b = 0; b < 4; ++b) {
        const __m256i even = _mm256_and_si256(bytes[b], nibble);
        const __m256i odd = _mm256_and_si256(_mm256_srli_epi16(bytes[b], 4), nibble);
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          const std::byte* const of_row = tables + r * pass.table_stride + b * kTableEntries;
          const __m256i x = _mm256_shuffle_epi8(LoadTable(of_row), even);
          const __m256i y = _mm256_shuffle_epi8(LoadTable(of_row + 64), odd);
          low[r] = _mm256_add_epi16(low[r], _mm256_maddubs_epi16(ones, _mm256_unpacklo_epi8(x, y)));
          high[r] =
              _mm256_add_epi16(high[r], _mm256_maddubs_epi16(ones, _mm256_unpackhi_epi8(x, y)));
        }
      }
      codes += kTileLanes;
      tables += kI8BlockBytes;
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

// 16 scaled entries, rounded and saturated to int8.
__m128i RoundTable(const float* entries, __m256 inverse) {
  const __m256i low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_load_ps(entries), inverse));
  const __m256i high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_load_ps(entries + 8), inverse));
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8);
  return _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

}  // namespace

void Lut4I8BuildAvx2(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                     std::byte* tables, float* group_sums) noexcept {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  const int64_t span_tables = SpanInputs(args.group_size) / kTableInputs;
  const int64_t num_spans = args.group_size / SpanInputs(args.group_size);
  std::byte* out = tables + args.TableOffset(group, row);
  auto* const scales = reinterpret_cast<float*>(out + Lut4I8ScaleOffset(args.group_size));
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
    const bool is_zero = !(largest > kLut4I8Tiny);
    scales[span] = is_zero ? 0.0f : largest / 127.0f;
    const __m256 inverse = _mm256_set1_ps(is_zero ? 0.0f : 127.0f / largest);
    for (int64_t i = 0; i < span_tables; ++i) {
      const int64_t t = i % kTablesPerBlock;
      _mm_store_si128(reinterpret_cast<__m128i*>(out + (t % 2 * 4 + t / 2) * kTableEntries),
                      RoundTable(entries[i], inverse));
      if (t == kTablesPerBlock - 1) out += kI8BlockBytes;
    }
  }
  group_sums[group * args.num_rows + row] = sum;
  for (int64_t span = 0; span < num_spans; ++span) scales[span] += sum - sum;
}

int64_t Lut4I8TileAvx2(const Lut4Args& args, int64_t tile, float* acc,
                       int64_t acc_stride) noexcept {
  return RunLut4Tile<Isa>(args, tile, acc, acc_stride);
}

}  // namespace bitdial::kernels::bcq
