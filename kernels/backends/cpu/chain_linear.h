// y = x W^T (+ bias) as packed panels times rows: what the prompt rows of every weight format
// share. A format brings a packer (dense: convert and transpose; BCQ: rebuild weights from planes)
// and nothing else.
#pragma once

#include "kernels/backends/cpu/chain_gemm.h"
#include "kernels/core/thread_pool.h"
#include "kernels/core/view.h"

namespace bitdial::kernels::cpu {

// Writes w[out_begin .. +num_outs, k_begin .. +num_k] as a panel (layout: chain_gemm.h), zeros in
// the lanes past num_outs. out_begin is a multiple of kPanelOuts, k_begin of kPanelK; num_outs <=
// kPanelOuts, num_k <= kPanelK. Called from several threads at once.
struct PanelSource {
  const void* context;
  void (*pack)(const void* context, int64_t out_begin, int64_t num_outs, int64_t k_begin,
               int64_t num_k, float* panel) noexcept;
};

// Shapes    x [num_tokens, in_features], y [num_tokens, out_features], bias [out_features] or null
// Writes    y[r, o] = chain_k fma(x[r, k], w[o, k]) from +0 over all k, then one addition of
// bias[o].
//           Independent of num_tokens and of the number of threads, bit for bit.
void ChainLinear(ChainGemmFn gemm, const PanelSource& weight, Matrix<const float> x,
                 Matrix<float> y, const float* bias, ThreadPool& pool);

}  // namespace bitdial::kernels::cpu
