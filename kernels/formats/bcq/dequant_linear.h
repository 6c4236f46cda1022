// The prompt kernel: planes to fp32 panels, panels times rows.
#pragma once

#include "kernels/backends/cpu/chain_gemm.h"
#include "kernels/formats/bcq/dequant.h"
#include "kernels/ops/linear/linear.h"

namespace bitdial::kernels::bcq {

struct DequantIsa {
  DequantFn dequant;
  cpu::ChainGemmFn gemm;
};

// y[r, o] = chain over k of fma(x[r, k], w[o, k]) from +0, then + bias[o], with w of the row's own
// bits (dequant.h). Numeric class "dequant_chain_f32": independent of the number of rows, of tiling
// and of threads. Rows of equal bits share a rebuilt panel; where bits differ, a panel is rebuilt
// once for each, its codes coming from cache after the first (the largest). Codes are read from
// DRAM once for each 192 rows.
void DequantLinear(const DequantIsa& isa, const LinearArgs& args, Stream& stream) noexcept;

}  // namespace bitdial::kernels::bcq
