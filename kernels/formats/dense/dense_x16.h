// Body of dense_avx2.cc and dense_avx512.cc, after their F32x16 header and Transpose16.
#include "kernels/formats/dense/dense_kernels.h"

namespace bitdial::kernels::cpu::BITDIAL_ISA {
namespace {

// Four outputs at a time, so that one ReduceAdd4 ends them.
constexpr int kDotOuts = 4;

template <typename Reader>
using Rows = const typename Reader::Element* [kDotOuts];

// kRows rows of x times four rows of w, which are read once. Stores the first num_outs sums of each
// row.
template <typename Reader, int kRows>
BITDIAL_X16 void Dot4(const Rows<Reader>& w, const float* x, int64_t x_stride, int64_t num_k,
                      const float* bias, float* y, int64_t y_stride, int64_t num_outs) {
  F32x16 sum[kRows][kDotOuts];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int o = 0; o < kDotOuts; ++o) sum[r][o] = Zero();
  }
  int64_t k = 0;
  for (; k + 16 <= num_k; k += 16) {
    F32x16 weight[kDotOuts];
#pragma GCC unroll 4
    for (int o = 0; o < kDotOuts; ++o) weight[o] = Reader::Read(w[o] + k);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const F32x16 value = Load(x + r * x_stride + k);
#pragma GCC unroll 4
      for (int o = 0; o < kDotOuts; ++o) sum[r][o] = Fma(value, weight[o], sum[r][o]);
    }
  }
  if (const int64_t rest = num_k - k; rest > 0) {
    for (int r = 0; r < kRows; ++r) {
      const F32x16 value = LoadPartial(x + r * x_stride + k, rest);
      for (int o = 0; o < kDotOuts; ++o) {
        sum[r][o] = Fma(value, ReadPartial<Reader>(w[o] + k, rest), sum[r][o]);
      }
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    float sums[kDotOuts];
    _mm_storeu_ps(sums, ReduceAdd4(sum[r][0], sum[r][1], sum[r][2], sum[r][3]));
    for (int64_t o = 0; o < num_outs; ++o) {
      y[r * y_stride + o] = bias != nullptr ? sums[o] + bias[o] : sums[o];
    }
  }
}

template <typename Reader>
BITDIAL_X16 void Dot(const DenseDotArgs& args) {
  const auto* matrix = static_cast<const typename Reader::Element*>(args.block.w);
  for (int64_t out = 0; out < args.block.num_outs; out += kDotOuts) {
    const int64_t rest = args.block.num_outs - out;
    const int64_t num_outs = rest < kDotOuts ? rest : kDotOuts;
    Rows<Reader> w;  // a missing output repeats the last one; its sum is dropped
    for (int64_t o = 0; o < kDotOuts; ++o)
      w[o] = matrix + (out + (o < rest ? o : rest - 1)) * args.block.stride;
    const float* bias = args.bias != nullptr ? args.bias + out : nullptr;
    int64_t row = 0;
    for (; row + kDotRows <= args.num_rows; row += kDotRows) {
      Dot4<Reader, kDotRows>(w, args.x + row * args.x_stride, args.x_stride, args.block.num_k, bias,
                             args.y + row * args.y_stride + out, args.y_stride, num_outs);
    }
    for (; row < args.num_rows; ++row) {
      Dot4<Reader, 1>(w, args.x + row * args.x_stride, args.x_stride, args.block.num_k, bias,
                      args.y + row * args.y_stride + out, args.y_stride, num_outs);
    }
  }
}

// Sixteen outputs by sixteen inputs at a time through a register transpose.
template <typename Reader>
BITDIAL_X16 void Pack(const DenseBlock& block, float* panel) {
  const auto* matrix = static_cast<const typename Reader::Element*>(block.w);
  for (int64_t out = 0; out < block.num_outs; out += 16, panel += block.num_k * 16) {
    const int64_t lanes = block.num_outs - out < 16 ? block.num_outs - out : 16;
    for (int64_t k = 0; k < block.num_k; k += 16) {
      const int64_t num_k = block.num_k - k < 16 ? block.num_k - k : 16;
      F32x16 tile[16];
#pragma GCC unroll 16
      for (int64_t o = 0; o < 16; ++o) {
        const auto* w = matrix + (out + (o < lanes ? o : 0)) * block.stride + k;
        tile[o] = o >= lanes    ? Zero()
                  : num_k == 16 ? Reader::Read(w)
                                : ReadPartial<Reader>(w, num_k);
      }
      Transpose16(tile);
#pragma GCC unroll 16
      for (int64_t i = 0; i < 16; ++i) {
        if (i < num_k) Store(panel + (k + i) * 16, tile[i]);
      }
    }
  }
}

}  // namespace

void DenseDotF32(const DenseDotArgs& args) noexcept { Dot<F32Reader>(args); }
void DenseDotF16(const DenseDotArgs& args) noexcept { Dot<F16Reader>(args); }
void DenseDotBF16(const DenseDotArgs& args) noexcept { Dot<BF16Reader>(args); }
void DensePackF32(const DenseBlock& block, float* panel) noexcept { Pack<F32Reader>(block, panel); }
void DensePackF16(const DenseBlock& block, float* panel) noexcept { Pack<F16Reader>(block, panel); }
void DensePackBF16(const DenseBlock& block, float* panel) noexcept {
  Pack<BF16Reader>(block, panel);
}

}  // namespace bitdial::kernels::cpu::BITDIAL_ISA
