#include "kernels/backends/cpu/chain_linear.h"

#include <algorithm>

namespace bitdial::kernels::cpu {
namespace {

// Rows that share one packed panel: a multiple of the register tile's 6 rows, large enough that
// packing (about half a cycle a weight) stays a few percent of the FMAs, small enough that 512 rows
// of a narrow layer feed several threads.
constexpr int64_t kChunkRows = 192;

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

void AddBias(const float* bias, Matrix<float> y, int64_t out_begin, int64_t num_outs) {
  for (int64_t row = 0; row < y.rows; ++row) {
    float* out = y.Row(row) + out_begin;
    for (int64_t o = 0; o < num_outs; ++o) out[o] += bias[out_begin + o];
  }
}

}  // namespace

void ChainLinear(ChainGemmFn gemm, const PanelSource& weight, Matrix<const float> x,
                 Matrix<float> y, const float* bias, ThreadPool& pool) {
  const int64_t num_chunks = CeilDiv(x.rows, kChunkRows);
  const int64_t num_tiles = CeilDiv(y.cols, kPanelOuts);
  pool.ParallelFor(num_tiles * num_chunks, [&](int64_t task) {
    const int64_t out_begin = task / num_chunks * kPanelOuts;
    const int64_t num_outs = std::min(kPanelOuts, y.cols - out_begin);
    const int64_t row_begin = task % num_chunks * kChunkRows;
    const int64_t num_rows = std::min(kChunkRows, x.rows - row_begin);
    alignas(64) float panel[kPanelOuts * kPanelK];
    for (int64_t k = 0; k < x.cols; k += kPanelK) {
      const int64_t num_k = std::min(kPanelK, x.cols - k);
      weight.pack(weight.context, out_begin, num_outs, k, num_k, panel);
      gemm({.x = x.Row(row_begin) + k,
            .x_stride = x.stride,
            .panel = panel,
            .y = y.Row(row_begin) + out_begin,
            .y_stride = y.stride,
            .num_rows = num_rows,
            .num_outs = num_outs,
            .num_k = num_k,
            .accumulate = k > 0});
    }
    if (bias != nullptr) AddBias(bias, y.Rows(row_begin, num_rows), out_begin, num_outs);
  });
}

}  // namespace bitdial::kernels::cpu
