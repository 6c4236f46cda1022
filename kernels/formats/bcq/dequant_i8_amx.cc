// Compiled with AVX-512 VBMI and VNNI flags and AMX's: intrinsics and POD headers only, everything but
// the entry points in an anonymous namespace (invariant 6).
//
// A panel (I8SignedPanelAvx512) is int8 [quad of inputs][64 outputs][4], so 16 outputs of it are a
// tile register as tdpbssd wants its second operand: a quad of inputs a row, 256 bytes apart. The
// first operand is up to 16 rows of x as they are. One instruction multiplies 16 rows with 64 inputs
// of 16 outputs, so what is left to pay for is the sum of each span becoming fp32.
#include <immintrin.h>

#include "kernels/formats/bcq/dequant_i8.h"
#include "kernels/formats/bcq/i8_avx512.h"

namespace bitdial::kernels::bcq {
namespace {

using namespace avx512;  // NOLINT: all of it is this file's

constexpr int64_t kQuadBytes = kTileLanes * kQuadInputs;
constexpr int64_t kSliceBytes = kQuadBytes / kSlices;
constexpr int64_t kMaxRows = 16;        // of a tile register
constexpr int64_t kMaxTileInputs = 64;  // bytes of its row

// Sums of a span lie as [slice][row][16].
constexpr int64_t kSliceSums = kMaxRows * 16;
constexpr int64_t kSpanSums = kSlices * kSliceSums;
// Spans multiplied before their sums are added: what is in registers then stays there for all.
constexpr int64_t kBatchSpans = 4;

// Tile registers, which gcc's intrinsics want as literals: 0 to 3 are the sums of a slice each, 4 is
// x, 5 and 6 are weights in turn. The struct is what ldtilecfg reads.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

void Configure(int64_t num_rows, int64_t tile_inputs) {
  TileConfig config;
  const auto set = [&config](int tile, int64_t rows, int64_t row_bytes) {
    config.rows[tile] = static_cast<uint8_t>(rows);
    config.row_bytes[tile] = static_cast<uint16_t>(row_bytes);
  };
  for (int slice = 0; slice < kSlices; ++slice) set(slice, num_rows, kSliceBytes);
  set(4, num_rows, tile_inputs);
  set(5, tile_inputs / kQuadInputs, kSliceBytes);
  set(6, tile_inputs / kQuadInputs, kSliceBytes);
  // gcc 12's intrinsic says that it reads 8 bytes of it.
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

// The exact sums of a span, for the rows that Configure was told of.
void MultiplySpan(const std::byte* x, int64_t row_bytes, const std::byte* weights,
                  int64_t span_inputs, int64_t tile_inputs, int32_t* sums) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t i = 0; i < span_inputs; i += tile_inputs) {
    const std::byte* const w = weights + i * kTileLanes;
    _tile_loadd(4, x + i, row_bytes);
    _tile_loadd(5, w, kQuadBytes);
    _tile_dpbssd(0, 4, 5);
    _tile_loadd(6, w + kSliceBytes, kQuadBytes);
    _tile_dpbssd(1, 4, 6);
    _tile_loadd(5, w + 2 * kSliceBytes, kQuadBytes);
    _tile_dpbssd(2, 4, 5);
    _tile_loadd(6, w + 3 * kSliceBytes, kQuadBytes);
    _tile_dpbssd(3, 4, 6);
  }
  _tile_stored(0, sums, kSliceBytes);
  _tile_stored(1, sums + kSliceSums, kSliceBytes);
  _tile_stored(2, sums + 2 * kSliceSums, kSliceBytes);
  _tile_stored(3, sums + 3 * kSliceSums, kSliceBytes);
}

// One slice of kRows rows goes on over spans [first_span, first_span + num_spans), in registers.
// sums: of the first of these spans and rows.
template <int kRows>
void AddSums(const I8GemmArgs& a, int64_t first_row, int64_t slice, int64_t first_span,
             int64_t num_spans, const int32_t* sums) {
  float* const acc = a.acc + first_row * kTileLanes + slice * 16;
  __m512 y[kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) y[r] = _mm512_load_ps(acc + r * kTileLanes);
#pragma GCC unroll 1
  for (int64_t span = first_span; span < first_span + num_spans; ++span, sums += kSpanSums) {
    const SpanScales scales = LoadScales(a.panel.Unit(span), a.panel.Beta(span), slice);
    const I8Span* const spans = &a.Span(first_row, span);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const auto dot = Int32x16(_mm512_load_si512(sums + r * 16));
      y[r] = AddSpan(scales, spans[r * a.rows.num_spans], dot, y[r]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) _mm512_store_ps(acc + r * kTileLanes, y[r]);
}

// All slices of up to kMaxRows rows.
void AddSums(const I8GemmArgs& a, int64_t first_row, int64_t num_rows, int64_t first_span,
             int64_t num_spans, const int32_t* sums) {
  using AddFn = void (*)(const I8GemmArgs&, int64_t, int64_t, int64_t, int64_t, const int32_t*);
  constexpr AddFn kAdds[] = {AddSums<1>, AddSums<2>, AddSums<3>, AddSums<4>,
                             AddSums<5>, AddSums<6>, AddSums<7>, AddSums<8>};
  constexpr int64_t kAtOnce = sizeof(kAdds) / sizeof(kAdds[0]);
  for (int64_t r = 0; r < num_rows; r += kAtOnce) {
    const int64_t count = num_rows - r < kAtOnce ? num_rows - r : kAtOnce;
    for (int64_t slice = 0; slice < kSlices; ++slice) {
      kAdds[count - 1](a, first_row + r, slice, first_span, num_spans,
                       sums + slice * kSliceSums + r * 16);
    }
  }
}

// Rows [first, first + num_rows), num_rows a multiple of tile_rows, which is at most kMaxRows.
void RunRows(const I8GemmArgs& a, int64_t first, int64_t num_rows, int64_t tile_rows) {
  if (num_rows == 0) return;
  const int64_t span_inputs = a.panel.span_inputs, row_bytes = a.rows.row_bytes;
  const int64_t tile_inputs = span_inputs < kMaxTileInputs ? span_inputs : kMaxTileInputs;
  const std::byte* const x = a.rows.x + a.first_row * row_bytes + a.panel.first_span * span_inputs;
  alignas(64) int32_t sums[kBatchSpans * kSpanSums];
  Configure(tile_rows, tile_inputs);
  // All rows pass a batch while its weights are in L1.
  for (int64_t span = 0; span < a.panel.num_spans; span += kBatchSpans) {
    const int64_t left = a.panel.num_spans - span;
    const int64_t num_spans = left < kBatchSpans ? left : kBatchSpans;
    for (int64_t row = first; row < first + num_rows; row += tile_rows) {
      for (int64_t s = 0; s < num_spans; ++s) {
        const int64_t input = (span + s) * span_inputs;
        MultiplySpan(x + row * row_bytes + input, row_bytes, a.panel.weights + input * kTileLanes,
                     span_inputs, tile_inputs, sums + s * kSpanSums);
      }
      AddSums(a, row, tile_rows, span, num_spans, sums);
    }
  }
  // A thread with empty tile registers is cheaper to switch away from.
  _tile_release();
}

}  // namespace

void I8GemmAmx(const I8GemmArgs& args) noexcept {
  const int64_t num_left = args.num_rows % kMaxRows;
  RunRows(args, 0, args.num_rows - num_left, kMaxRows);
  RunRows(args, args.num_rows - num_left, num_left, num_left);
}

}  // namespace bitdial::kernels::bcq
