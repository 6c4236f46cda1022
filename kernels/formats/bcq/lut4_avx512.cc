// Compiled with AVX-512 flags: intrinsics and POD headers only, everything but the entry points in
// an anonymous namespace (invariant 6).
#include "kernels/formats/bcq/lut4_avx512.h"

#include <immintrin.h>

#include "kernels/formats/bcq/lut4.h"
#include "kernels/formats/bcq/lut4_tile.h"

namespace bitdial::kernels::bcq {
namespace {

using namespace avx512;  // NOLINT: all of it is this file's

// kRows x 4 sums + 4 code registers + a table of 32 registers. A table is one register, so one
// vpermps is 16 lookups: it takes its index from the low 4 bits of every lane and ignores the rest,
// which lets the word be shifted in place. Within 16 bits the shift is a multiplication (vpmulhuw
// by 2^12): it runs beside the lookups where vpsrld competes for their port (Zen 4).
//
// The loop over tables stays rolled: unrolled, gcc 12 moves lookups up and spills the sums.
template <int kRows>
void RunPlane(const PlanePass& pass, int64_t plane) {
  const __m512i shift4 = _mm512_set1_epi16(1 << 12);
  __m512 sum[kRows][kSlices];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int s = 0; s < kSlices; ++s) sum[r][s] = _mm512_setzero_ps();
  }
  const uint32_t* codes = pass.codes + plane * pass.plane_stride;
  const auto* table = reinterpret_cast<const float*>(pass.tables);
  const int64_t table_stride = pass.table_stride / static_cast<int64_t>(sizeof(float));
  for (int64_t block = 0; block < pass.num_blocks; ++block, codes += kTileLanes) {
    const uint32_t* const ahead = pass.Ahead(block, codes);
#pragma GCC unroll 4
    for (int s = 0; s < kSlices; ++s) {
      _mm_prefetch(reinterpret_cast<const char*>(ahead + s * 16), _MM_HINT_T1);
    }
    for (unsigned int half = 0; half < 32; half += 16) {  // 4 tables to 16 bits of a word
      __m512i code[kSlices];
#pragma GCC unroll 4
      for (int s = 0; s < kSlices; ++s) {
        code[s] = _mm512_srli_epi32(_mm512_load_si512(codes + s * 16), half);
      }
#pragma GCC unroll 1
      for (int t = 0; t < 4; ++t, table += kTableEntries) {
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          const __m512 entries = _mm512_load_ps(table + r * table_stride);
#pragma GCC unroll 4
          for (int s = 0; s < kSlices; ++s) {
            sum[r][s] = _mm512_add_ps(sum[r][s], _mm512_permutexvar_ps(code[s], entries));
          }
        }
#pragma GCC unroll 4
        for (int s = 0; s < kSlices; ++s) code[s] = _mm512_mulhi_epu16(code[s], shift4);
      }
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    float* const acc = pass.acc + r * pass.acc_stride;
#pragma GCC unroll 4
    for (int s = 0; s < kSlices; ++s) {
      AddScaled(pass.alpha[r] + plane * kTileLanes, sum[r][s], acc, s * 16);
    }
  }
}

struct Isa {
  static constexpr int64_t kRowBlock = 4;

  template <int kRows>
  static void Run(const PlanePass& pass) {
    for (int64_t plane = pass.begin_plane; plane < pass.end_plane; ++plane) {
      RunPlane<kRows>(pass, plane);
    }
  }
  static void Beta(const uint16_t* beta, const float* group_sums, int64_t num_rows, float* acc,
                   int64_t acc_stride) {
    AddBeta(beta, group_sums, num_rows, acc, acc_stride);
  }
};

}  // namespace

void Lut4BuildAvx512(const float* x, int64_t row, int64_t group, const Lut4Args& args,
                     std::byte* tables, float* group_sums) noexcept {
  const int64_t num_tables = args.group_size / kTableInputs;
  auto* out = reinterpret_cast<float*>(tables + args.TableOffset(group, row));
  float sum = 0;
  for (int64_t i = 0; i < num_tables; ++i, x += kTableInputs, out += kTableEntries) {
    _mm512_store_ps(out, MakeTable(x));
    sum += out[kTableEntries - 1];
  }
  group_sums[group * args.num_rows + row] = sum;
}

int64_t Lut4TileAvx512(const Lut4Args& args, int64_t tile, float* acc,
                       int64_t acc_stride) noexcept {
  return RunLut4Tile<Isa>(args, tile, acc, acc_stride);
}

}  // namespace bitdial::kernels::bcq
