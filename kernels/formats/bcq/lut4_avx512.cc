// Compiled with AVX-512 flags: intrinsics and POD headers only, everything but the entry points in
// an anonymous namespace (invariant 6).
#include <immintrin.h>

#include "kernels/formats/bcq/lut4.h"
#include "kernels/formats/bcq/lut4_tile.h"

namespace bitdial::kernels::bcq {
namespace {

constexpr int kSlices = 4;  // registers of 16 lanes in a tile

__m512 LoadHalf(const uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

// kRows x 4 sums + 4 code registers + a table of 32 registers. A table is one register, so one
// vpermps is 16 lookups: it takes its index from the low 4 bits of every lane and ignores the rest,
// which lets the word be shifted in place. Within 16 bits the shift is a multiplication (vpmulhuw
// by 2^12): it runs beside the lookups where vpsrld competes for their port (Zen 4).
//
// The loop over tables stays rolled: unrolled, gcc 12 moves lookups up and spills the sums.
template <int kRows>
void RunPlane(const PlanePass& pass) {
  const __m512i shift4 = _mm512_set1_epi16(1 << 12);
  __m512 sum[kRows][kSlices];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int s = 0; s < kSlices; ++s) sum[r][s] = _mm512_setzero_ps();
  }
  const uint32_t* codes = pass.codes;
  const auto* table = reinterpret_cast<const float*>(pass.tables);
  const int64_t table_stride = pass.table_stride / static_cast<int64_t>(sizeof(float));
  for (int64_t block = 0; block < pass.num_blocks; ++block, codes += kTileLanes) {
    if (block < pass.num_prefetch) {
#pragma GCC unroll 4
      for (int s = 0; s < kSlices; ++s) {
        _mm_prefetch(reinterpret_cast<const char*>(codes + kPrefetchBlocks * kTileLanes + s * 16),
                     _MM_HINT_T0);
      }
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
      const __m512 next = _mm512_fmadd_ps(LoadHalf(pass.alpha[r] + s * 16), sum[r][s],
                                          _mm512_loadu_ps(acc + s * 16));
      _mm512_storeu_ps(acc + s * 16, next);
    }
  }
}

struct Avx512 {
  static constexpr int64_t kRowBlock = 4;

  static void Plane(int64_t num_rows, const PlanePass& pass) {
    switch (num_rows) {
      case 1:
        return RunPlane<1>(pass);
      case 2:
        return RunPlane<2>(pass);
      case 3:
        return RunPlane<3>(pass);
      default:
        return RunPlane<4>(pass);
    }
  }

  static void Beta(const uint16_t* beta, float group_sum, float* acc) {
    const __m512 x = _mm512_set1_ps(group_sum);
#pragma GCC unroll 4
    for (int s = 0; s < kSlices; ++s) {
      _mm512_storeu_ps(acc + s * 16,
                       _mm512_fmadd_ps(LoadHalf(beta + s * 16), x, _mm512_loadu_ps(acc + s * 16)));
    }
  }
};

// Lane c: x with its sign flipped where bit t of c is 0.
template <int t>
__m512 Signed(float x) {
  constexpr int kNegative = t == 0 ? 0x5555 : t == 1 ? 0x3333 : t == 2 ? 0x0f0f : 0x00ff;
  const __m512 value = _mm512_set1_ps(x);
  return _mm512_mask_xor_ps(value, static_cast<__mmask16>(kNegative), value, _mm512_set1_ps(-0.0f));
}

}  // namespace

void Lut4BuildAvx512(const float* x, int64_t row, const Lut4Args& args, std::byte* tables,
                     float* group_sums) noexcept {
  const int64_t num_tables = args.group_size / kTableInputs;
  for (int64_t group = 0; group < args.layout.num_groups; ++group) {
    auto* out = reinterpret_cast<float*>(tables + args.TableOffset(group, row));
    float sum = 0;
    for (int64_t i = 0; i < num_tables; ++i, x += kTableInputs, out += kTableEntries) {
      __m512 table = _mm512_add_ps(Signed<0>(x[0]), Signed<1>(x[1]));
      table = _mm512_add_ps(table, Signed<2>(x[2]));
      table = _mm512_add_ps(table, Signed<3>(x[3]));
      _mm512_store_ps(out, table);
      sum += out[kTableEntries - 1];
    }
    group_sums[group * args.num_rows + row] = sum;
  }
}

int64_t Lut4TileAvx512(const Lut4Args& args, int64_t tile, float* acc,
                       int64_t acc_stride) noexcept {
  return RunLut4Tile<Avx512>(args, tile, acc, acc_stride);
}

}  // namespace bitdial::kernels::bcq
