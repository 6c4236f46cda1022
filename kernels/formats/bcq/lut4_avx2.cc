// Compiled with AVX2 flags: intrinsics and POD headers only, everything but the entry points in an
// anonymous namespace (invariant 6).
#include <immintrin.h>

#include "kernels/formats/bcq/lut4.h"
#include "kernels/formats/bcq/lut4_tile.h"

namespace bitdial::kernels::bcq {
namespace {

constexpr int kSlices = 4;  // registers of 8 lanes handled together: half a tile
constexpr int kHalfLanes = 32;

__m256 LoadHalf(const uint16_t* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

// A table is two registers. vpermps takes 3 index bits from every lane; the 4th, moved to the sign,
// picks the half.
template <int kRows>
void RunHalf(const uint32_t* codes, int64_t num_blocks, const float* tables, int64_t table_stride,
             const uint16_t* const* alpha, int64_t lane, float* acc, int64_t acc_stride) {
  __m256 sum[kRows][kSlices];
#pragma GCC unroll 2
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int s = 0; s < kSlices; ++s) sum[r][s] = _mm256_setzero_ps();
  }
  for (int64_t block = 0; block < num_blocks; ++block) {
    __m256i code[kSlices];
#pragma GCC unroll 4
    for (int s = 0; s < kSlices; ++s) {
      code[s] = _mm256_load_si256(reinterpret_cast<const __m256i*>(codes + s * 8));
    }
#pragma GCC unroll 8
    for (int t = 0; t < static_cast<int>(kTablesPerBlock); ++t) {
#pragma GCC unroll 4
      for (int s = 0; s < kSlices; ++s) {
        const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(code[s], 28));
#pragma GCC unroll 2
        for (int r = 0; r < kRows; ++r) {
          const float* const table = tables + r * table_stride + t * kTableEntries;
          const __m256 low = _mm256_permutevar8x32_ps(_mm256_load_ps(table), code[s]);
          const __m256 high = _mm256_permutevar8x32_ps(_mm256_load_ps(table + 8), code[s]);
          sum[r][s] = _mm256_add_ps(sum[r][s], _mm256_blendv_ps(low, high, upper));
        }
        code[s] = _mm256_srli_epi32(code[s], 4);
      }
    }
    codes += kTileLanes;
    tables += kTablesPerBlock * kTableEntries;
  }
#pragma GCC unroll 2
  for (int r = 0; r < kRows; ++r) {
    float* const out = acc + r * acc_stride;
#pragma GCC unroll 4
    for (int s = 0; s < kSlices; ++s) {
      const __m256 scale = LoadHalf(alpha[r] + lane + s * 8);
      _mm256_storeu_ps(out + s * 8,
                       _mm256_fmadd_ps(scale, sum[r][s], _mm256_loadu_ps(out + s * 8)));
    }
  }
}

struct Avx2 {
  static constexpr int64_t kRowBlock = 2;

  static void PlanePass(int64_t num_rows, const uint32_t* codes, int64_t num_blocks,
                        const float* tables, int64_t table_stride, const uint16_t* const* alpha,
                        float* acc, int64_t acc_stride) {
    const auto run = num_rows == 1 ? RunHalf<1> : RunHalf<2>;
    for (int64_t lane = 0; lane < kTileLanes; lane += kHalfLanes) {
      run(codes + lane, num_blocks, tables, table_stride, alpha, lane, acc + lane, acc_stride);
    }
  }

  static void BetaPass(const uint16_t* beta, float group_sum, float* acc) {
    const __m256 x = _mm256_set1_ps(group_sum);
    for (int64_t lane = 0; lane < kTileLanes; lane += 8) {
      _mm256_storeu_ps(acc + lane,
                       _mm256_fmadd_ps(LoadHalf(beta + lane), x, _mm256_loadu_ps(acc + lane)));
    }
  }
};

// Half a table: lane c holds ((±x0 ± x1) ± x2) ± x3 for index c (upper = false) or c + 8.
__m256 HalfTable(const float* x, bool upper) {
  const __m256 minus0 = _mm256_setr_ps(-0.0f, 0.0f, -0.0f, 0.0f, -0.0f, 0.0f, -0.0f, 0.0f);
  const __m256 minus1 = _mm256_setr_ps(-0.0f, -0.0f, 0.0f, 0.0f, -0.0f, -0.0f, 0.0f, 0.0f);
  const __m256 minus2 = _mm256_setr_ps(-0.0f, -0.0f, -0.0f, -0.0f, 0.0f, 0.0f, 0.0f, 0.0f);
  const __m256 minus3 = _mm256_set1_ps(upper ? 0.0f : -0.0f);
  __m256 table = _mm256_add_ps(_mm256_xor_ps(_mm256_set1_ps(x[0]), minus0),
                               _mm256_xor_ps(_mm256_set1_ps(x[1]), minus1));
  table = _mm256_add_ps(table, _mm256_xor_ps(_mm256_set1_ps(x[2]), minus2));
  return _mm256_add_ps(table, _mm256_xor_ps(_mm256_set1_ps(x[3]), minus3));
}

}  // namespace

void Lut4BuildAvx2(const float* x, int64_t row, const Lut4Args& args, float* tables,
                   float* group_sums) noexcept {
  const int64_t num_tables = args.group_size / kTableInputs;
  for (int64_t group = 0; group < args.layout.num_groups; ++group) {
    float* out = tables + (group * args.num_rows + row) * num_tables * kTableEntries;
    float sum = 0;
    for (int64_t i = 0; i < num_tables; ++i, x += kTableInputs, out += kTableEntries) {
      _mm256_store_ps(out, HalfTable(x, false));
      _mm256_store_ps(out + 8, HalfTable(x, true));
      sum += out[kTableEntries - 1];
    }
    group_sums[group * args.num_rows + row] = sum;
  }
}

int64_t Lut4TileAvx2(const Lut4Args& args, int64_t tile, float* acc, int64_t acc_stride) noexcept {
  return RunLut4Tile<Avx2>(args, tile, acc, acc_stride);
}

}  // namespace bitdial::kernels::bcq
