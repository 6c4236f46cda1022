// Compiled with AVX-512 flags, VBMI and VNNI among them: intrinsics and POD headers only, everything
// but the entry points in an anonymous namespace (invariant 6).
//
// A panel is uint8 [quad of inputs][64 outputs][4], a weight plus 128: vpdpbusd multiplies 16
// outputs' quads with one quad of a row. That of AMX (dequant_i8_amx.cc) is the same without the 128.
#include <immintrin.h>

#include "kernels/formats/bcq/dequant_i8.h"
#include "kernels/formats/bcq/i8_avx512.h"

namespace bitdial::kernels::bcq {
namespace {

using namespace avx512;  // NOLINT: all of it is this file's

constexpr int64_t kQuadBytes = kTileLanes * kQuadInputs;
constexpr int64_t kSliceBytes = kQuadBytes / kSlices;
constexpr int kOffset = 128;  // of a weight in a panel

// 16 outputs of a span. Byte b of their words holds the signs of quads 2b and 2b + 1: copied to all
// bytes of its lane, each tests the bit of its input.
template <int kBits, int kAdded>
void BuildSlice(const I8Panel& panel, int64_t span, int slice) {
  const __m512i low_quad = _mm512_set1_epi32(0x08040201);
  const __m512i high_quad = _mm512_set1_epi32(static_cast<int>(0x80402010));
  __m512i base = _mm512_set1_epi8(static_cast<char>(kAdded)), twice[kBits];
#pragma GCC unroll 8
  for (int p = 0; p < kBits; ++p) {
    const __m512i alpha = SpreadAlphas(panel.Alpha(span) + p * kTileLanes, slice);
    base = _mm512_sub_epi8(base, alpha);
    twice[p] = _mm512_add_epi8(alpha, alpha);
  }
  std::byte* out = panel.weights + span * panel.span_inputs * kTileLanes + slice * kSliceBytes;
  for (int64_t block = 0; block < panel.span_inputs / kBlockInputs; ++block) {
    const uint32_t* const codes = panel.Codes(span, block) + slice * 16;
    const int64_t ahead = panel.Ahead(span, block);
    __m512i words[kBits];
#pragma GCC unroll 8
    for (int p = 0; p < kBits; ++p) {
      const uint32_t* const of_plane = codes + p * panel.layout.plane_stride;
      words[p] = _mm512_load_si512(of_plane);
      _mm_prefetch(reinterpret_cast<const char*>(of_plane + ahead), _MM_HINT_T1);
    }
    __m512i of_byte = _mm512_set4_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0x00000000);
    for (int b = 0; b < 4; ++b, out += 2 * kQuadBytes) {
      __m512i low = base, high = base;
#pragma GCC unroll 8
      for (int p = 0; p < kBits; ++p) {
        const __m512i signs = _mm512_shuffle_epi8(words[p], of_byte);
        low = _mm512_mask_add_epi8(low, _mm512_test_epi8_mask(signs, low_quad), low, twice[p]);
        high = _mm512_mask_add_epi8(high, _mm512_test_epi8_mask(signs, high_quad), high, twice[p]);
      }
      _mm512_store_si512(out, low);
      _mm512_store_si512(out + kQuadBytes, high);
      of_byte = _mm512_add_epi8(of_byte, _mm512_set1_epi8(1));
    }
  }
}

template <int kBits, int kAdded>
void BuildSlices(const I8Panel& panel) {
  for (int64_t span = 0; span < panel.num_spans; ++span) {
    for (int slice = 0; slice < kSlices; ++slice) BuildSlice<kBits, kAdded>(panel, span, slice);
  }
}

// Each weight plus kAdded.
template <int kAdded>
void BuildPanel(const I8Panel& panel) {
  switch (panel.set.bits) {
    case 1:
      return BuildSlices<1, kAdded>(panel);
    case 2:
      return BuildSlices<2, kAdded>(panel);
    case 3:
      return BuildSlices<3, kAdded>(panel);
    case 4:
      return BuildSlices<4, kAdded>(panel);
    default:
      return BuildSlices<kI8MaxPlanes, kAdded>(panel);
  }
}

// 6 rows x 4 slices: 24 sums + 4 weights + 1 quad of a row, of 32 registers.
constexpr int kTileRows = 6;

// One span, for rows [first, first + kRows) of the call. A function of its own: inside the loop over
// spans gcc 12 keeps copies of the sums in memory.
template <int kRows>
__attribute__((noinline)) void RunSpan(const I8GemmArgs& a, int64_t first, int64_t span) {
  const int64_t row_bytes = a.rows.row_bytes, span_inputs = a.panel.span_inputs;
  const std::byte* x =
      a.rows.x + (a.first_row + first) * row_bytes + (a.panel.first_span + span) * span_inputs;
  const std::byte* const end = x + span_inputs;
  const std::byte* w = a.panel.weights + span * span_inputs * kTileLanes;
  Int32x16 sum[kRows][kSlices];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int i = 0; i < kSlices; ++i) {
      sum[r][i] = Int32x16(_mm512_set1_epi32(-kOffset * a.Span(first + r, span).sum));
    }
  }
#pragma GCC unroll 1
  for (; x < end; x += kQuadInputs, w += kQuadBytes) {
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
#pragma GCC unroll 4
  for (int i = 0; i < kSlices; ++i) {
    const SpanScales scales = LoadScales(a.panel.Unit(span), a.panel.Beta(span), i);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      AddSpan(scales, a.Span(first + r, span), sum[r][i],
              a.acc + (first + r) * kTileLanes + i * 16);
    }
  }
}

template <int kRows>
void RunRows(const I8GemmArgs& a, int64_t first) {
  for (int64_t span = 0; span < a.panel.num_spans; ++span) RunSpan<kRows>(a, first, span);
}

}  // namespace

void I8QuantizeAvx512(const float* x, int64_t row, const I8Rows& rows) noexcept {
  auto* out = reinterpret_cast<int8_t*>(rows.x + row * rows.row_bytes);
  for (int64_t span = 0; span < rows.num_spans; ++span) {
    const int64_t at = span * rows.span_inputs;
    rows.spans[row * rows.num_spans + span] = QuantizeSpan(x + at, rows.span_inputs, out + at);
  }
}

void I8PanelAvx512(const I8Panel& panel) noexcept { BuildPanel<kOffset>(panel); }
void I8SignedPanelAvx512(const I8Panel& panel) noexcept { BuildPanel<0>(panel); }

void I8GemmAvx512(const I8GemmArgs& args) noexcept {
  using RowsFn = void (*)(const I8GemmArgs&, int64_t);
  constexpr RowsFn kRuns[kTileRows] = {RunRows<1>, RunRows<2>, RunRows<3>,
                                       RunRows<4>, RunRows<5>, RunRows<6>};
  for (int64_t row = 0; row < args.num_rows; row += kTileRows) {
    const int64_t count = args.num_rows - row < kTileRows ? args.num_rows - row : kTileRows;
    kRuns[count - 1](args, row);
  }
}

}  // namespace bitdial::kernels::bcq
