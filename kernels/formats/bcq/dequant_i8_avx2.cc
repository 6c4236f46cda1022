// Compiled with AVX2 flags: intrinsics and POD headers only, everything but the entry points in an
// anonymous namespace (invariant 6).
//
// A panel is int16 [pair of inputs][64 outputs][2] for vpmaddwd, which has no saturation to fear;
// pair t of a block of 32 inputs is {t, 16 + t}, the same bit of a word's two halves. Rows of x are
// int16 in that order.
#include <immintrin.h>

#include "kernels/formats/bcq/dequant_i8.h"
#include "kernels/formats/bcq/lut4_avx2.h"

namespace bitdial::kernels::bcq {
namespace {

using avx2::LargestLane;
using avx2::LoadHalf;

constexpr int64_t kPairBytes = kTileLanes * 2 * 2;
constexpr int64_t kLanes = 8;

__m256i InBothHalves(__m256i values) {
  return _mm256_or_si256(_mm256_and_si256(values, _mm256_set1_epi32(0xffff)),
                         _mm256_slli_epi32(values, 16));
}

__m256 Abs(__m256 values) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), values); }

// What 8 outputs need to rebuild weights of one group.
template <int kBits>
struct SliceScales {
  __m256i base;          // all signs -, with rounding
  __m256i twice[kBits];  // 2 * a16: what a sign + adds
  __m256 sw;
};

template <int kBits>
SliceScales<kBits> LoadScales(const uint16_t* alphas) {
  __m256 alpha[kBits], size = _mm256_setzero_ps();
#pragma GCC unroll 8
  for (int p = 0; p < kBits; ++p) {
    alpha[p] = LoadHalf(alphas + p * kTileLanes);
    size = _mm256_add_ps(size, Abs(alpha[p]));
  }
  const __m256 positive = _mm256_cmp_ps(size, _mm256_setzero_ps(), _CMP_GT_OQ);
  const __m256 inverse = _mm256_and_ps(
      positive, _mm256_div_ps(_mm256_set1_ps(127.0f * (1 << kI8FractionBits)), size));
  SliceScales<kBits> scales;
  __m256i base = _mm256_set1_epi32(1 << (kI8FractionBits - 1));
#pragma GCC unroll 8
  for (int p = 0; p < kBits; ++p) {
    const __m256i a16 = _mm256_cvtps_epi32(_mm256_mul_ps(alpha[p], inverse));
    base = _mm256_sub_epi32(base, a16);
    scales.twice[p] = InBothHalves(_mm256_add_epi32(a16, a16));
  }
  scales.base = InBothHalves(base);
  scales.sw = _mm256_div_ps(size, _mm256_set1_ps(127.0f));
  return scales;
}

template <int kBits>
void BuildSlice(const I8PanelArgs& a, int64_t lane) {
  const int64_t span_blocks = a.span_inputs / kBlockInputs;
  std::byte* out = a.panel.weights + lane * 4;
  for (int64_t s = 0; s < a.num_spans; ++s) {
    const int64_t first_block = (a.first_span + s) * span_blocks;
    const int64_t group = first_block * kBlockInputs / a.group_size;
    const SliceScales<kBits> scales =
        LoadScales<kBits>(a.set.alpha + a.layout.AlphaOffset(a.tile, group, kBits) + lane);
    _mm256_store_ps(a.panel.scales + s * kTileLanes + lane, scales.sw);
    if (a.panel.has_beta) {
      _mm256_store_ps(a.panel.betas + s * kTileLanes + lane,
                      LoadHalf(a.set.beta + a.layout.BetaOffset(a.tile, group) + lane));
    }
    for (int64_t block = first_block; block < first_block + span_blocks; ++block) {
      const uint32_t* const codes = a.codes + a.layout.CodeOffset(a.tile, 0, block) + lane;
      __m256i words[kBits];
#pragma GCC unroll 8
      for (int p = 0; p < kBits; ++p) {
        words[p] = _mm256_load_si256(
            reinterpret_cast<const __m256i*>(codes + p * a.layout.plane_stride));
      }
      // The words walk left, so the sign of the current pair is on top of each half.
      for (int64_t t = 15; t >= 0; --t) {
        __m256i sum = scales.base;
#pragma GCC unroll 8
        for (int p = 0; p < kBits; ++p) {
          const __m256i is_plus = _mm256_srai_epi16(words[p], 15);
          sum = _mm256_add_epi16(sum, _mm256_and_si256(is_plus, scales.twice[p]));
          words[p] = _mm256_add_epi16(words[p], words[p]);
        }
        _mm256_store_si256(reinterpret_cast<__m256i*>(out + t * kPairBytes),
                           _mm256_srai_epi16(sum, kI8FractionBits));
      }
      out += 16 * kPairBytes;
    }
  }
}

template <int kBits>
void BuildPanel(const I8PanelArgs& args) {
  for (int64_t lane = 0; lane < kTileLanes; lane += kLanes) BuildSlice<kBits>(args, lane);
}

// A type of their own for sums: why is said in vnni_avx512.h.
using Int32x8 = int32_t __attribute__((vector_size(32)));

// 4 rows x 2 slices: 8 sums + 2 weights + a pair of a row and a product, of 16 registers.
constexpr int kTileRows = 4;
constexpr int kTileSlices = 2;

template <int kRows>
void RunRows(const I8GemmArgs& a, int64_t first, int64_t lane) {
  const int64_t of_row = (a.first_row + first) * a.rows.num_spans + a.first_span;
  const std::byte* x = a.rows.x + (a.first_row + first) * a.rows.row_bytes +
                       a.first_span * a.rows.span_inputs * 2;
  const std::byte* w = a.panel.weights + lane * 4;
  for (int64_t s = 0; s < a.num_spans; ++s) {
    Int32x8 sum[kRows][kTileSlices];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (int i = 0; i < kTileSlices; ++i) sum[r][i] = Int32x8{};
    }
    for (int64_t pair = 0; pair < a.rows.span_inputs / 2; ++pair) {
      __m256i weights[kTileSlices];
#pragma GCC unroll 2
      for (int i = 0; i < kTileSlices; ++i) {
        weights[i] = _mm256_load_si256(reinterpret_cast<const __m256i*>(w + i * kLanes * 4));
      }
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        int32_t inputs;
        __builtin_memcpy(&inputs, x + r * a.rows.row_bytes, sizeof(inputs));
        const __m256i of_pair = _mm256_set1_epi32(inputs);
#pragma GCC unroll 2
        for (int i = 0; i < kTileSlices; ++i) {
          sum[r][i] += Int32x8(_mm256_madd_epi16(weights[i], of_pair));
        }
      }
      w += kPairBytes;
      x += 4;
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const int64_t i_row = of_row + r * a.rows.num_spans + s;
      const float scale = a.rows.scales[i_row];
      const __m256 sx = _mm256_set1_ps(scale);
      const __m256 input_sum = _mm256_set1_ps(scale * static_cast<float>(a.rows.sums[i_row]));
#pragma GCC unroll 2
      for (int i = 0; i < kTileSlices; ++i) {
        const int64_t out = lane + i * kLanes;
        float* const acc = a.acc + (first + r) * kTileLanes + out;
        const __m256 dot = _mm256_mul_ps(sx, _mm256_cvtepi32_ps(__m256i(sum[r][i])));
        __m256 y = _mm256_fmadd_ps(_mm256_load_ps(a.panel.scales + s * kTileLanes + out), dot,
                                   _mm256_load_ps(acc));
        if (a.panel.has_beta) {
          y = _mm256_fmadd_ps(_mm256_load_ps(a.panel.betas + s * kTileLanes + out), input_sum, y);
        }
        _mm256_store_ps(acc, y);
      }
    }
  }
}

float SumOfLanes(__m256 values) {
  __m128 m = _mm_add_ps(_mm256_castps256_ps128(values), _mm256_extractf128_ps(values, 1));
  m = _mm_add_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_add_ss(m, _mm_movehdup_ps(m)));
}

// 16 inputs as int16 in order.
__m256i Round(const float* x, __m256 inverse) {
  const __m256i low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), inverse));
  const __m256i high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8), inverse));
  return _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8);
}

}  // namespace

void I8QuantizeAvx2(const float* x, int64_t row, const I8Rows& rows) noexcept {
  std::byte* out = rows.x + row * rows.row_bytes;
  for (int64_t span = 0; span < rows.num_spans; ++span) {
    __m256 size = _mm256_setzero_ps(), poison = _mm256_setzero_ps();
    for (int64_t i = 0; i < rows.span_inputs; i += 8) {
      const __m256 values = _mm256_loadu_ps(x + i);
      size = _mm256_max_ps(size, Abs(values));
      poison = _mm256_fmadd_ps(values, _mm256_setzero_ps(), poison);
    }
    const float largest = LargestLane(size);
    const bool is_zero = !(largest > kIntTiny);
    const __m256 inverse = _mm256_set1_ps(is_zero ? 0.0f : 127.0f / largest);
    __m256i sum = _mm256_setzero_si256();  // of int16 pairs
    for (int64_t i = 0; i < rows.span_inputs; i += kBlockInputs, out += kBlockInputs * 2) {
      const __m256i low = Round(x + i, inverse), high = Round(x + i + 16, inverse);
      // unpack works within 128-bit lanes: pairs 0..3 and 8..11, then 4..7 and 12..15.
      const __m256i even = _mm256_unpacklo_epi16(low, high);
      const __m256i odd = _mm256_unpackhi_epi16(low, high);
      auto* const to = reinterpret_cast<__m256i*>(out);
      _mm256_store_si256(to, _mm256_permute2x128_si256(even, odd, 0x20));
      _mm256_store_si256(to + 1, _mm256_permute2x128_si256(even, odd, 0x31));
      const __m256i ones = _mm256_set1_epi16(1);
      sum = _mm256_add_epi32(sum, _mm256_add_epi32(_mm256_madd_epi16(low, ones),
                                                   _mm256_madd_epi16(high, ones)));
    }
    alignas(32) int32_t sums[kLanes];
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums), sum);
    int32_t total = 0;
    for (int32_t part : sums) total += part;
    const int64_t i_row = row * rows.num_spans + span;
    rows.scales[i_row] = (is_zero ? 0.0f : largest / 127.0f) + SumOfLanes(poison);
    rows.sums[i_row] = total;
    x += rows.span_inputs;
  }
}

void I8PanelAvx2(const I8PanelArgs& args) noexcept {
  switch (args.set.bits) {
    case 1:
      return BuildPanel<1>(args);
    case 2:
      return BuildPanel<2>(args);
    case 3:
      return BuildPanel<3>(args);
    case 4:
      return BuildPanel<4>(args);
    case 5:
      return BuildPanel<5>(args);
    case 6:
      return BuildPanel<6>(args);
    case 7:
      return BuildPanel<7>(args);
    default:
      return BuildPanel<8>(args);
  }
}

void I8GemmAvx2(const I8GemmArgs& args) noexcept {
  using RowsFn = void (*)(const I8GemmArgs&, int64_t, int64_t);
  constexpr RowsFn kRuns[kTileRows] = {RunRows<1>, RunRows<2>, RunRows<3>, RunRows<4>};
  for (int64_t row = 0; row < args.num_rows; row += kTileRows) {
    const int64_t count = args.num_rows - row < kTileRows ? args.num_rows - row : kTileRows;
    for (int64_t lane = 0; lane < kTileLanes; lane += kTileSlices * kLanes) {
      kRuns[count - 1](args, row, lane);
    }
  }
}

}  // namespace bitdial::kernels::bcq
