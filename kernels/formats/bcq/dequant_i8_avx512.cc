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
constexpr int kBlockQuads = kBlockInputs / kQuadInputs;
constexpr int kOffset = 128;  // of a weight in a panel

// 16 outputs of a span. A quad of a block of 32 inputs is {q, 8 + q, 16 + q, 24 + q}: bit q of each
// byte of a word, so that a word as it lies in memory is tested for all four at once.
template <int kBits, int kAdded>
BITDIAL_INLINE void BuildSlice(const I8Panel& panel, int64_t span, int slice) {
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
    __m512i sum[kBlockQuads];
#pragma GCC unroll 8
    for (int q = 0; q < kBlockQuads; ++q) sum[q] = base;
#pragma GCC unroll 8
    for (int p = 0; p < kBits; ++p) {
      const uint32_t* const of_plane = codes + p * panel.layout.plane_stride;
      const __m512i words = _mm512_load_si512(of_plane);
      _mm_prefetch(reinterpret_cast<const char*>(of_plane + ahead), _MM_HINT_T1);
#pragma GCC unroll 8
      for (int q = 0; q < kBlockQuads; ++q) {
        const __mmask64 is_plus =
            _mm512_test_epi8_mask(words, _mm512_set1_epi8(static_cast<char>(1 << q)));
        sum[q] = _mm512_mask_add_epi8(sum[q], is_plus, sum[q], twice[p]);
      }
    }
#pragma GCC unroll 8
    for (int q = 0; q < kBlockQuads; ++q, out += kQuadBytes) _mm512_store_si512(out, sum[q]);
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
  // From inputs in order to quads (BuildSlice).
  alignas(32) static constexpr uint8_t kOrder[kBlockInputs] = {
      0, 8,  16, 24, 1, 9,  17, 25, 2, 10, 18, 26, 3, 11, 19, 27,
      4, 12, 20, 28, 5, 13, 21, 29, 6, 14, 22, 30, 7, 15, 23, 31};
  const __m256i order = _mm256_load_si256(reinterpret_cast<const __m256i*>(kOrder));
  std::byte* out = rows.x + row * rows.row_bytes;
  for (int64_t span = 0; span < rows.num_spans; ++span, x += rows.span_inputs) {
    alignas(32) int8_t x8[kMaxSpanInputs];
    rows.spans[row * rows.num_spans + span] = QuantizeSpan(x, rows.span_inputs, x8);
    for (int64_t i = 0; i < rows.span_inputs; i += kBlockInputs, out += kBlockInputs) {
      const __m256i block = _mm256_load_si256(reinterpret_cast<const __m256i*>(x8 + i));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out),
                          _mm256_permutexvar_epi8(order, block));
    }
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
