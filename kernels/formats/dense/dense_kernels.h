// Micro-kernels of the dense weight format. POD only (invariant 6).
#pragma once

#include <cstdint>

namespace bitdial::kernels::cpu {

// A block of a row-major weight [out, in] in f32, f16 or bf16: num_outs rows of num_k elements.
struct DenseBlock {
  const void* w;
  int64_t stride;  // elements between rows
  int64_t num_outs;
  int64_t num_k;
};

// y[r, o] = sum_k x[r, k] * w[o, k] (+ bias[o]): an FMA chain in each of 16 lanes (k mod 16,
// ascending), then over the lanes in the order of ReduceAdd, then one addition of bias. Class
// "dot16_f32": the same for any num_rows.
struct DenseDotArgs {
  DenseBlock block;
  const float* x;  // [num_rows, num_k]
  int64_t x_stride;
  float* y;  // [num_rows, num_outs]
  int64_t y_stride;
  int64_t num_rows;
  const float* bias;  // [num_outs] or null
};
using DenseDotFn = void(const DenseDotArgs& args) noexcept;

// The block as a panel of ChainGemm (chain_gemm.h), zeros in the lanes past num_outs.
using DensePackFn = void(const DenseBlock& block, float* panel) noexcept;

namespace avx2 {
DenseDotFn DenseDotF32, DenseDotF16, DenseDotBF16;
DensePackFn DensePackF32, DensePackF16, DensePackBF16;
}  // namespace avx2
namespace avx512 {
DenseDotFn DenseDotF32, DenseDotF16, DenseDotBF16;
DensePackFn DensePackF32, DensePackF16, DensePackBF16;
}  // namespace avx512

}  // namespace bitdial::kernels::cpu
