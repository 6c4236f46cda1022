// Compiled with AVX-512 flags, VNNI among them: intrinsics and POD headers only, everything but the
// entry points in an anonymous namespace (invariant 6).
//
// A panel is uint8 [quad of inputs][64 outputs][4], a weight plus 128: vpdpbusd multiplies 16
// outputs' quads with one quad of a row. Quad q of a block of 32 inputs is {2q, 2q + 1, 16 + 2q,
// 17 + 2q}: bits t and 16 + t of a word are the same bit of its two halves, so one 16-bit operation
// works on both. Rows of x lie in that order.
#include <immintrin.h>

#include "kernels/formats/bcq/dequant_i8.h"
#include "kernels/formats/bcq/lut4_avx512.h"
#include "kernels/formats/bcq/vnni_avx512.h"

namespace bitdial::kernels::bcq {
namespace {

using avx512::DotBytes;
using avx512::Int32x16;
using avx512::kSlices;
using avx512::LoadHalf;
using avx512::ToFloats;

constexpr int64_t kQuad = 4;
constexpr int64_t kQuadBytes = kTileLanes * kQuad;
constexpr int64_t kSliceBytes = kQuadBytes / kSlices;
constexpr int kOffset = 128;  // of a weight in a panel

struct BitMasks {
  alignas(64) uint16_t of[16][32];
};
constexpr BitMasks MakeBitMasks() {
  BitMasks masks = {};
  for (int t = 0; t < 16; ++t) {
    for (int i = 0; i < 32; ++i) masks.of[t][i] = static_cast<uint16_t>(1u << t);
  }
  return masks;
}
constexpr BitMasks kBitMasks = MakeBitMasks();

// 16 values of 16 bits in both halves of their lanes.
__m512i InBothHalves(__m512i values) {
  return _mm512_or_si512(_mm512_and_si512(values, _mm512_set1_epi32(0xffff)),
                         _mm512_slli_epi32(values, 16));
}

// What the 16 outputs of a slice need to rebuild weights of one group.
template <int kBits>
struct SliceScales {
  __m512i base;          // all signs +, with offset and rounding
  __m512i twice[kBits];  // 2 * a16: what a sign - takes away
  __m512 sw;
};

template <int kBits>
SliceScales<kBits> LoadScales(const uint16_t* alphas) {
  __m512 alpha[kBits], size = _mm512_setzero_ps();
#pragma GCC unroll 8
  for (int p = 0; p < kBits; ++p) {
    alpha[p] = LoadHalf(alphas + p * kTileLanes);
    size = _mm512_add_ps(size, _mm512_abs_ps(alpha[p]));
  }
  const __mmask16 positive = _mm512_cmp_ps_mask(size, _mm512_setzero_ps(), _CMP_GT_OQ);
  const __m512 inverse =
      _mm512_maskz_div_ps(positive, _mm512_set1_ps(127.0f * (1 << kI8FractionBits)), size);
  SliceScales<kBits> scales;
  __m512i base = _mm512_set1_epi32((1 << (kI8FractionBits - 1)) + (kOffset << kI8FractionBits));
#pragma GCC unroll 8
  for (int p = 0; p < kBits; ++p) {
    const __m512i a16 = _mm512_cvtps_epi32(_mm512_mul_ps(alpha[p], inverse));
    base = _mm512_add_epi32(base, a16);
    scales.twice[p] = InBothHalves(_mm512_add_epi32(a16, a16));
  }
  scales.base = InBothHalves(base);
  scales.sw = _mm512_div_ps(size, _mm512_set1_ps(127.0f));
  return scales;
}

// Inputs t and 16 + t of 16 outputs: (weight + 128) << 7, rounded up by half.
template <int kBits>
__m512i Rebuild(const SliceScales<kBits>& scales, const __m512i* words, int t) {
  const __m512i bit = _mm512_load_si512(kBitMasks.of[t]);
  __m512i sum = scales.base;
#pragma GCC unroll 8
  for (int p = 0; p < kBits; ++p) {
    sum = _mm512_mask_sub_epi16(sum, _mm512_testn_epi16_mask(words[p], bit), sum, scales.twice[p]);
  }
  return sum;
}

template <int kBits>
void BuildSlice(const I8PanelArgs& a, int64_t slice) {
  const int64_t lane = slice * 16, span_blocks = a.span_inputs / kBlockInputs;
  std::byte* out = a.panel.weights + slice * kSliceBytes;
  for (int64_t s = 0; s < a.num_spans; ++s) {
    const int64_t first_block = (a.first_span + s) * span_blocks;
    const int64_t group = first_block * kBlockInputs / a.group_size;
    const SliceScales<kBits> scales =
        LoadScales<kBits>(a.set.alpha + a.layout.AlphaOffset(a.tile, group, kBits) + lane);
    _mm512_store_ps(a.panel.scales + s * kTileLanes + lane, scales.sw);
    if (a.panel.has_beta) {
      _mm512_store_ps(a.panel.betas + s * kTileLanes + lane,
                      LoadHalf(a.set.beta + a.layout.BetaOffset(a.tile, group) + lane));
    }
    for (int64_t block = first_block; block < first_block + span_blocks; ++block) {
      const uint32_t* const codes = a.codes + a.layout.CodeOffset(a.tile, 0, block) + lane;
      __m512i words[kBits];
#pragma GCC unroll 8
      for (int p = 0; p < kBits; ++p) {
        words[p] = _mm512_load_si512(codes + p * a.layout.plane_stride);
      }
      for (int t = 0; t < 16; t += 2, out += kQuadBytes) {
        const __m512i low = _mm512_srli_epi16(Rebuild(scales, words, t), kI8FractionBits);
        const __m512i high =
            _mm512_slli_epi16(Rebuild(scales, words, t + 1), 8 - kI8FractionBits);
        // low | (high & 0xff00)
        _mm512_store_si512(out, _mm512_ternarylogic_epi32(
                                    low, high, _mm512_set1_epi16(static_cast<short>(0xff00)), 0xf8));
      }
    }
  }
}

template <int kBits>
void BuildPanel(const I8PanelArgs& args) {
  for (int64_t slice = 0; slice < kSlices; ++slice) BuildSlice<kBits>(args, slice);
}

// 6 rows x 4 slices: 24 sums + 4 weights + 1 quad of a row, of 32 registers.
constexpr int kTileRows = 6;

// One span, for rows [first, first + kRows) of the call. A function of its own: inside the loop over
// spans gcc 12 keeps copies of the sums in memory.
template <int kRows, bool kHasBeta>
__attribute__((noinline)) void RunSpan(const I8GemmArgs& a, int64_t first, int64_t span) {
  const int64_t row = a.first_row + first, num_spans = a.rows.num_spans;
  const float* const scales = a.rows.scales + row * num_spans + a.first_span + span;
  const int32_t* const input_sums = a.rows.sums + row * num_spans + a.first_span + span;
  const std::byte* x =
      a.rows.x + row * a.rows.row_bytes + (a.first_span + span) * a.rows.span_inputs;
  const std::byte* const end = x + a.rows.span_inputs;
  const std::byte* w = a.panel.weights + span * a.rows.span_inputs * kTileLanes;
  const int64_t row_bytes = a.rows.row_bytes;
  Int32x16 sum[kRows][kSlices];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int i = 0; i < kSlices; ++i) {
      sum[r][i] = Int32x16(_mm512_set1_epi32(-kOffset * input_sums[r * num_spans]));
    }
  }
#pragma GCC unroll 1
  for (; x < end; x += kQuad, w += kQuadBytes) {
    __m512i weights[kSlices];
#pragma GCC unroll 4
    for (int i = 0; i < kSlices; ++i) weights[i] = _mm512_load_si512(w + i * kSliceBytes);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      int32_t inputs;
      __builtin_memcpy(&inputs, x + r * row_bytes, sizeof(inputs));
      const __m512i of_quad = _mm512_set1_epi32(inputs);
#pragma GCC unroll 4
      for (int i = 0; i < kSlices; ++i) {
        sum[r][i] = DotBytes(sum[r][i], weights[i], of_quad);
      }
    }
  }
  const float* const weight_scales = a.panel.scales + span * kTileLanes;
  const float* const betas = a.panel.betas + span * kTileLanes;
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    const float scale = scales[r * num_spans];
    const __m512 sx = _mm512_set1_ps(scale);
    const __m512 input_sum =
        _mm512_set1_ps(scale * static_cast<float>(input_sums[r * num_spans]));
    float* const acc = a.acc + (first + r) * kTileLanes;
#pragma GCC unroll 4
    for (int i = 0; i < kSlices; ++i) {
      const __m512 dot = _mm512_mul_ps(sx, ToFloats(sum[r][i]));
      __m512 y = _mm512_fmadd_ps(_mm512_load_ps(weight_scales + i * 16), dot,
                                 _mm512_load_ps(acc + i * 16));
      if constexpr (kHasBeta) {
        y = _mm512_fmadd_ps(_mm512_load_ps(betas + i * 16), input_sum, y);
      }
      _mm512_store_ps(acc + i * 16, y);
    }
  }
}

template <int kRows, bool kHasBeta>
void RunRows(const I8GemmArgs& a, int64_t first) {
  for (int64_t span = 0; span < a.num_spans; ++span) RunSpan<kRows, kHasBeta>(a, first, span);
}

// 16 inputs as int8, saturated.
__m128i Round(const float* x, __m512 inverse) {
  return _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), inverse)));
}

}  // namespace

void I8QuantizeAvx512(const float* x, int64_t row, const I8Rows& rows) noexcept {
  std::byte* out = rows.x + row * rows.row_bytes;
  for (int64_t span = 0; span < rows.num_spans; ++span) {
    __m512 size = _mm512_setzero_ps(), poison = _mm512_setzero_ps();
    for (int64_t i = 0; i < rows.span_inputs; i += 16) {
      const __m512 values = _mm512_loadu_ps(x + i);
      size = _mm512_max_ps(size, _mm512_abs_ps(values));
      poison = _mm512_fmadd_ps(values, _mm512_setzero_ps(), poison);
    }
    const float largest = _mm512_reduce_max_ps(size);
    const bool is_zero = !(largest > kIntTiny);
    const __m512 inverse = _mm512_set1_ps(is_zero ? 0.0f : 127.0f / largest);
    __m512i sum = _mm512_setzero_si512();
    for (int64_t i = 0; i < rows.span_inputs; i += kBlockInputs, out += kBlockInputs) {
      const __m128i low = Round(x + i, inverse), high = Round(x + i + 16, inverse);
      _mm_store_si128(reinterpret_cast<__m128i*>(out), _mm_unpacklo_epi16(low, high));
      _mm_store_si128(reinterpret_cast<__m128i*>(out) + 1, _mm_unpackhi_epi16(low, high));
      sum = _mm512_add_epi32(sum, _mm512_add_epi32(_mm512_cvtepi8_epi32(low),
                                                   _mm512_cvtepi8_epi32(high)));
    }
    const int64_t i_row = row * rows.num_spans + span;
    rows.scales[i_row] = (is_zero ? 0.0f : largest / 127.0f) + _mm512_reduce_add_ps(poison);
    rows.sums[i_row] = _mm512_reduce_add_epi32(sum);
    x += rows.span_inputs;
  }
}

void I8PanelAvx512(const I8PanelArgs& args) noexcept {
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

void I8GemmAvx512(const I8GemmArgs& args) noexcept {
  using RowsFn = void (*)(const I8GemmArgs&, int64_t);
  constexpr RowsFn kRuns[2][kTileRows] = {
      {RunRows<1, false>, RunRows<2, false>, RunRows<3, false>, RunRows<4, false>,
       RunRows<5, false>, RunRows<6, false>},
      {RunRows<1, true>, RunRows<2, true>, RunRows<3, true>, RunRows<4, true>, RunRows<5, true>,
       RunRows<6, true>}};
  for (int64_t row = 0; row < args.num_rows; row += kTileRows) {
    const int64_t count = args.num_rows - row < kTileRows ? args.num_rows - row : kTileRows;
    kRuns[args.panel.has_beta ? 1 : 0][count - 1](args, row);
  }
}

}  // namespace bitdial::kernels::bcq
