// Compiled with AVX2 flags: intrinsics and POD headers only, everything but the entry points in an
// anonymous namespace (invariant 6).
#include "kernels/formats/bcq/lut4_avx2.h"

#include <immintrin.h>

#include "kernels/formats/bcq/lut4.h"
#include "kernels/formats/bcq/lut4_tile.h"

namespace bitdial::kernels::bcq {
namespace {

using namespace avx2;  // NOLINT: all of it is this file's

// A table is two registers. vpermps takes 3 index bits from every lane; the 4th, moved to the sign,
// picks the half. The rest is as in lut4_avx512.cc, 8 * kSlices lanes at a time: kRows * kSlices
// sums, the codes and 4 temporaries must fit in 16 registers.
template <int kRows, int kSlices>
void RunLanes(const PlanePass& pass, int64_t plane, int64_t lane) {
  const __m256i shift4 = _mm256_set1_epi16(1 << 12);
  __m256 sum[kRows][kSlices];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int s = 0; s < kSlices; ++s) sum[r][s] = _mm256_setzero_ps();
  }
  const uint32_t* codes = pass.codes + plane * pass.plane_stride + lane;
  const auto* table = reinterpret_cast<const float*>(pass.tables);
  const int64_t table_stride = pass.table_stride / static_cast<int64_t>(sizeof(float));
  for (int64_t block = 0; block < pass.num_blocks; ++block, codes += kTileLanes) {
    const uint32_t* const ahead = pass.Ahead(block, codes);
#pragma GCC unroll 2
    for (int line = 0; line < kSlices * 8; line += 16) {
      _mm_prefetch(reinterpret_cast<const char*>(ahead + line), _MM_HINT_T1);
    }
    for (int half = 0; half < 32; half += 16) {  // 4 tables to 16 bits of a word
      __m256i code[kSlices];
#pragma GCC unroll 4
      for (int s = 0; s < kSlices; ++s) {
        const auto* const from = reinterpret_cast<const __m256i*>(codes + s * 8);
        code[s] = _mm256_srli_epi32(_mm256_load_si256(from), half);
      }
#pragma GCC unroll 1
      for (int t = 0; t < 4; ++t, table += kTableEntries) {
#pragma GCC unroll 4
        for (int s = 0; s < kSlices; ++s) {
          const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(code[s], 28));
#pragma GCC unroll 4
          for (int r = 0; r < kRows; ++r) {
            const float* const entries = table + r * table_stride;
            const __m256 low = _mm256_permutevar8x32_ps(_mm256_load_ps(entries), code[s]);
            const __m256 high = _mm256_permutevar8x32_ps(_mm256_load_ps(entries + 8), code[s]);
            sum[r][s] = _mm256_add_ps(sum[r][s], _mm256_blendv_ps(low, high, upper));
          }
          code[s] = _mm256_mulhi_epu16(code[s], shift4);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    float* const acc = pass.acc + r * pass.acc_stride + lane;
#pragma GCC unroll 4
    for (int s = 0; s < kSlices; ++s) {
      AddScaled(pass.alpha[r] + plane * kTileLanes + lane, sum[r][s], acc, s * 8);
    }
  }
}

struct Isa {
  static constexpr int64_t kRowBlock = 4;

  template <int kRows>
  static void Run(const PlanePass& pass) {
    constexpr int kSlices = kRows == 1 ? 4 : 2;
    for (int64_t plane = pass.begin_plane; plane < pass.end_plane; ++plane) {
      for (int64_t lane = 0; lane < kTileLanes; lane += kSlices * 8) {
        RunLanes<kRows, kSlices>(pass, plane, lane);
      }
    }
  }
  static void Beta(const uint16_t* beta, const float* group_sums, int64_t num_rows, float* acc,
                   int64_t acc_stride) {
    AddBeta(beta, group_sums, num_rows, acc, acc_stride);
  }
};

}  // namespace

void Lut4BuildAvx2(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                   std::byte* tables, float* group_sums) noexcept {
  const int64_t num_tables = args.group_size / kTableInputs;
  auto* out = reinterpret_cast<float*>(tables + args.TableOffset(group, row));
  float sum = 0;
  for (int64_t i = 0; i < num_tables; ++i, x += kTableInputs, out += kTableEntries) {
    _mm256_store_ps(out, HalfTable(x, false));
    _mm256_store_ps(out + 8, HalfTable(x, true));
    sum += out[kTableEntries - 1];
  }
  group_sums[group * args.num_rows + row] = sum;
}

int64_t Lut4TileAvx2(const Lut4Args& args, int64_t tile, float* acc, int64_t acc_stride) noexcept {
  return RunLut4Tile<Isa>(args, tile, acc, acc_stride);
}

}  // namespace bitdial::kernels::bcq
