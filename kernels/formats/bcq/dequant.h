// Rebuilds fp32 weights from bit-planes as a GEMM panel. POD only: included by files compiled with
// ISA flags.
#pragma once

#include <cstdint>

#include "kernels/formats/bcq/layout.h"

namespace bitdial::kernels::bcq {

// Writes    panel[slice][i][lane] = w[o, k] for o = 64 * tile + 16 * slice + lane and
//           k = 32 * first_block + i, i < 32 * num_blocks: the panel of backends/cpu/chain_gemm.h.
//           Lanes past out_features get zeros.
//
// w = ((±alpha_0 ± alpha_1) ... ) + beta in fp32, planes ascending, beta last and left out when the
// set has none: one rounding a step, so all implementations agree bit for bit.
struct DequantArgs {
  Layout layout;
  int64_t group_size;
  const uint32_t* codes;
  ScaleView set;
  int64_t tile;
  int64_t num_slices;  // of 16 outputs, 1 .. 4
  int64_t first_block;
  int64_t num_blocks;
  float* panel;  // 64-byte aligned
};
using DequantFn = void (*)(const DequantArgs&) noexcept;

void DequantPanelAvx2(const DequantArgs& args) noexcept;
void DequantPanelAvx512(const DequantArgs& args) noexcept;

}  // namespace bitdial::kernels::bcq
