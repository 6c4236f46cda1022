// Compiled with AVX-512 flags: intrinsics and POD headers only, everything but the entry point in
// an anonymous namespace (invariant 6).
#include <immintrin.h>

#include "kernels/backends/cpu/chain_gemm.h"

namespace bitdial::kernels::cpu {
namespace {

// 6 rows x 4 slices of 16 outputs: 24 accumulators + 4 weights + 1 broadcast of 32 registers, 10
// loads for 24 FMAs.
constexpr int kTileRows = 6;
constexpr int kTileSlices = 4;

struct Tile {
  const float* x;
  int64_t x_stride;
  const float* panel;
  int64_t slice_stride;  // floats from one slice of the panel to the next
  float* y;
  int64_t y_stride;
  int64_t num_k;
  __mmask16 last_mask;  // lanes of the last slice that exist in y
  bool accumulate;
};

template <int kRows, int kSlices>
void RunTile(const Tile& t) {
  __m512 sum[kRows][kSlices];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int s = 0; s < kSlices; ++s) {
      const __mmask16 mask = s == kSlices - 1 ? t.last_mask : static_cast<__mmask16>(0xffff);
      sum[r][s] = t.accumulate ? _mm512_maskz_loadu_ps(mask, t.y + r * t.y_stride + s * 16)
                               : _mm512_setzero_ps();
    }
  }
  const float* w = t.panel;
  for (int64_t k = 0; k < t.num_k; ++k, w += 16) {
    __m512 weight[kSlices];
#pragma GCC unroll 4
    for (int s = 0; s < kSlices; ++s) weight[s] = _mm512_load_ps(w + s * t.slice_stride);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m512 x = _mm512_set1_ps(t.x[r * t.x_stride + k]);
#pragma GCC unroll 4
      for (int s = 0; s < kSlices; ++s) sum[r][s] = _mm512_fmadd_ps(x, weight[s], sum[r][s]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int s = 0; s < kSlices; ++s) {
      const __mmask16 mask = s == kSlices - 1 ? t.last_mask : static_cast<__mmask16>(0xffff);
      _mm512_mask_storeu_ps(t.y + r * t.y_stride + s * 16, mask, sum[r][s]);
    }
  }
}

using TileFn = void (*)(const Tile&);
constexpr TileFn kTiles[kTileRows][kTileSlices] = {
    {RunTile<1, 1>, RunTile<1, 2>, RunTile<1, 3>, RunTile<1, 4>},
    {RunTile<2, 1>, RunTile<2, 2>, RunTile<2, 3>, RunTile<2, 4>},
    {RunTile<3, 1>, RunTile<3, 2>, RunTile<3, 3>, RunTile<3, 4>},
    {RunTile<4, 1>, RunTile<4, 2>, RunTile<4, 3>, RunTile<4, 4>},
    {RunTile<5, 1>, RunTile<5, 2>, RunTile<5, 3>, RunTile<5, 4>},
    {RunTile<6, 1>, RunTile<6, 2>, RunTile<6, 3>, RunTile<6, 4>},
};

}  // namespace

void ChainGemmAvx512(const ChainGemmArgs& args) noexcept {
  constexpr int64_t kTileOuts = kTileSlices * kPanelLanes;
  const int64_t slice_stride = args.num_k * kPanelLanes;
  for (int64_t out = 0; out < args.num_outs; out += kTileOuts) {
    const int64_t num_outs = args.num_outs - out < kTileOuts ? args.num_outs - out : kTileOuts;
    const int64_t num_slices = (num_outs + kPanelLanes - 1) / kPanelLanes;
    const int64_t last_lanes = num_outs - (num_slices - 1) * kPanelLanes;
    for (int64_t row = 0; row < args.num_rows; row += kTileRows) {
      const int64_t num_rows = args.num_rows - row < kTileRows ? args.num_rows - row : kTileRows;
      kTiles[num_rows - 1][num_slices - 1](
          {.x = args.x + row * args.x_stride,
           .x_stride = args.x_stride,
           .panel = args.panel + out / kPanelLanes * slice_stride,
           .slice_stride = slice_stride,
           .y = args.y + row * args.y_stride + out,
           .y_stride = args.y_stride,
           .num_k = args.num_k,
           .last_mask = static_cast<__mmask16>((1u << last_lanes) - 1u),
           .accumulate = args.accumulate});
    }
  }
}

}  // namespace bitdial::kernels::cpu
