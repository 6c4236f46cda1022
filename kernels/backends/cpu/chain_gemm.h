// The fp32 GEMM micro-kernel every prompt linear runs on: x rows times a packed panel of W.
// POD only: this header is included by files compiled with ISA flags. The threaded driver is
// chain_linear.h.
#pragma once

#include <cstdint>

namespace bitdial::kernels::cpu {

// Lanes of a panel slice: one 512-bit register of floats, two 256-bit ones.
inline constexpr int64_t kPanelLanes = 16;
// Outputs and inputs of a full panel: 64 x 256 floats are 64 KiB, which stay in L2 while x rows
// pass. Half of either doubles the spills or the packing per FMA; twice leaves no L2 for x on a 256
// KiB core.
inline constexpr int64_t kPanelOuts = 64;
inline constexpr int64_t kPanelK = 256;

// y[r, o] <- chain over k ascending of fma(x[r, k], w[o, k], y[r, o]), one rounding a step.
//
// Shapes    x [num_rows, num_k] and y [num_rows, num_outs], row-major with strides in floats;
//           panel [ceil(num_outs / 16), num_k, 16]: w[o, k] lies at panel[((o / 16) * num_k + k) *
//           16 + o % 16]. Lanes past num_outs are read and dropped: the packer writes zeros there.
// Requires  panel 64-byte aligned; num_rows, num_outs, num_k >= 1; any sizes otherwise; y aliases
// neither. Writes    every y[r, o] and nothing else. accumulate: the chain goes on from y, else it
// starts at +0.
//           So a k range cut in pieces, in order, gives the bits of the whole, and a result depends
//           on row r of x and row o of w alone: all implementations are of numeric class
//           "chain_f32".
struct ChainGemmArgs {
  const float* x;
  int64_t x_stride;
  const float* panel;
  float* y;
  int64_t y_stride;
  int64_t num_rows;
  int64_t num_outs;
  int64_t num_k;
  bool accumulate;
};
using ChainGemmFn = void (*)(const ChainGemmArgs&) noexcept;

void ChainGemmAvx2(const ChainGemmArgs& args) noexcept;
void ChainGemmAvx512(const ChainGemmArgs& args) noexcept;

}  // namespace bitdial::kernels::cpu
