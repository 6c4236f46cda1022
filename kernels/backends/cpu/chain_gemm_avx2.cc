// Compiled with AVX2 + FMA flags: intrinsics and POD headers only, everything but the entry point
// in an anonymous namespace (invariant 6).
#include <immintrin.h>

#include "kernels/backends/cpu/chain_gemm.h"

namespace bitdial::kernels::cpu {
namespace {

// 6 rows x 1 slice (two registers): 12 accumulators + 2 weights + 1 broadcast of 16 registers, 8
// loads for 12 FMAs. A slice of a panel is 16 KiB and stays in L1 while the rows pass.
constexpr int kTileRows = 6;

template <int kRows>
void RunTile(const float* x, int64_t x_stride, const float* slice, float* y, int64_t y_stride,
             int64_t num_k, bool accumulate) {
  __m256 low[kRows];
  __m256 high[kRows];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    low[r] = accumulate ? _mm256_loadu_ps(y + r * y_stride) : _mm256_setzero_ps();
    high[r] = accumulate ? _mm256_loadu_ps(y + r * y_stride + 8) : _mm256_setzero_ps();
  }
  for (int64_t k = 0; k < num_k; ++k, slice += kPanelLanes) {
    const __m256 weight_low = _mm256_load_ps(slice);
    const __m256 weight_high = _mm256_load_ps(slice + 8);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m256 value = _mm256_broadcast_ss(x + r * x_stride + k);
      low[r] = _mm256_fmadd_ps(value, weight_low, low[r]);
      high[r] = _mm256_fmadd_ps(value, weight_high, high[r]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    _mm256_storeu_ps(y + r * y_stride, low[r]);
    _mm256_storeu_ps(y + r * y_stride + 8, high[r]);
  }
}

using TileFn = void (*)(const float*, int64_t, const float*, float*, int64_t, int64_t, bool);
constexpr TileFn kTiles[kTileRows] = {RunTile<1>, RunTile<2>, RunTile<3>,
                                      RunTile<4>, RunTile<5>, RunTile<6>};

// The last slice of a layer whose out_features is no multiple of 16: through a full-width copy of
// y's lanes.
void RunPartialTile(const ChainGemmArgs& args, const float* slice, int64_t out, int64_t row,
                    int64_t num_rows) {
  const int64_t lanes = args.num_outs - out;
  float tile[kTileRows * kPanelLanes] = {};
  float* y = args.y + row * args.y_stride + out;
  for (int64_t r = 0; r < num_rows && args.accumulate; ++r) {
    for (int64_t lane = 0; lane < lanes; ++lane)
      tile[r * kPanelLanes + lane] = y[r * args.y_stride + lane];
  }
  kTiles[num_rows - 1](args.x + row * args.x_stride, args.x_stride, slice, tile, kPanelLanes,
                       args.num_k, args.accumulate);
  for (int64_t r = 0; r < num_rows; ++r) {
    for (int64_t lane = 0; lane < lanes; ++lane)
      y[r * args.y_stride + lane] = tile[r * kPanelLanes + lane];
  }
}

}  // namespace

void ChainGemmAvx2(const ChainGemmArgs& args) noexcept {
  for (int64_t out = 0; out < args.num_outs; out += kPanelLanes) {
    const float* slice = args.panel + out * args.num_k;
    for (int64_t row = 0; row < args.num_rows; row += kTileRows) {
      const int64_t num_rows = args.num_rows - row < kTileRows ? args.num_rows - row : kTileRows;
      if (args.num_outs - out < kPanelLanes) {
        RunPartialTile(args, slice, out, row, num_rows);
      } else {
        kTiles[num_rows - 1](args.x + row * args.x_stride, args.x_stride, slice,
                             args.y + row * args.y_stride + out, args.y_stride, args.num_k,
                             args.accumulate);
      }
    }
  }
}

}  // namespace bitdial::kernels::cpu
