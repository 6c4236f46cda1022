// The vector rows of the dense format: which micro-kernel, over which piece, on which thread.
#include <algorithm>
#include <cstring>

#include "kernels/backends/cpu/chain_linear.h"
#include "kernels/backends/cpu/convert_kernels.h"
#include "kernels/core/check.h"
#include "kernels/formats/dense/dense_impl.h"
#include "kernels/formats/dense/dense_kernels.h"

namespace bitdial::kernels {
namespace {

using namespace cpu;  // the micro-kernels

// Outputs of one decode task: 32 rows of 576 f16 weights are 36 KiB, about a microsecond of
// bandwidth.
constexpr int64_t kTaskOuts = 32;

// What one dtype needs on one ISA.
struct DtypeKernels {
  DenseDotFn* dot;
  DensePackFn* pack;
};
struct DenseKernels {
  DtypeKernels f32, f16, bf16;
  WidenF16Fn* widen_f16;
  WidenBF16Fn* widen_bf16;
  ChainGemmFn gemm;

  const DtypeKernels& For(DType dtype) const {
    BITDIAL_CHECK(dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16);
    return dtype == DType::kF32 ? f32 : dtype == DType::kF16 ? f16 : bf16;
  }
};
constexpr DenseKernels kAvx2 = {.f32 = {avx2::DenseDotF32, avx2::DensePackF32},
                                .f16 = {avx2::DenseDotF16, avx2::DensePackF16},
                                .bf16 = {avx2::DenseDotBF16, avx2::DensePackBF16},
                                .widen_f16 = avx2::WidenF16,
                                .widen_bf16 = avx2::WidenBF16,
                                .gemm = ChainGemmAvx2};
constexpr DenseKernels kAvx512 = {.f32 = {avx512::DenseDotF32, avx512::DensePackF32},
                                  .f16 = {avx512::DenseDotF16, avx512::DensePackF16},
                                  .bf16 = {avx512::DenseDotBF16, avx512::DensePackBF16},
                                  .widen_f16 = avx512::WidenF16,
                                  .widen_bf16 = avx512::WidenBF16,
                                  .gemm = ChainGemmAvx512};

DenseBlock BlockOf(const TensorView& w, int64_t out_begin, int64_t num_outs, int64_t k_begin,
                   int64_t num_k) {
  const int64_t first = out_begin * w.shape[1] + k_begin;
  return {.w = w.data + static_cast<size_t>(first) * SizeOf(w.dtype),
          .stride = w.shape[1],
          .num_outs = num_outs,
          .num_k = num_k};
}

void Prompt(const DenseKernels& kernels, const LinearArgs& args, Stream& stream) {
  struct Context {
    const TensorView& w;
    DensePackFn* pack;
  };
  const Context context = {args.dense->w, kernels.For(args.dense->w.dtype).pack};
  const PanelSource source = {.context = &context,
                              .pack = [](const void* erased, int64_t out_begin, int64_t num_outs,
                                         int64_t k_begin, int64_t num_k, float* panel) noexcept {
                                const auto& self = *static_cast<const Context*>(erased);
                                self.pack(BlockOf(self.w, out_begin, num_outs, k_begin, num_k),
                                          panel);
                              }};
  ChainLinear(kernels.gemm, source, args.x, args.y, args.bias, stream.pool());
}

void Decode(const DenseKernels& kernels, const LinearArgs& args, Stream& stream) {
  const TensorView& w = args.dense->w;
  DenseDotFn* dot = kernels.For(w.dtype).dot;
  stream.pool().ParallelFor((args.y.cols + kTaskOuts - 1) / kTaskOuts, [&](int64_t task) {
    const int64_t out = task * kTaskOuts;
    const int64_t num_outs = std::min(kTaskOuts, args.y.cols - out);
    dot({.block = BlockOf(w, out, num_outs, 0, args.x.cols),
         .x = args.x.data,
         .x_stride = args.x.stride,
         .y = args.y.data + out,
         .y_stride = args.y.stride,
         .num_rows = args.x.rows,
         .bias = args.bias != nullptr ? args.bias + out : nullptr});
  });
}

void Embed(const DenseKernels& kernels, const EmbeddingArgs& args) {
  const TensorView& w = args.dense->w;
  const int64_t hidden_size = args.out.cols;
  for (int64_t row = 0; row < args.out.rows; ++row) {
    const int64_t token_id = args.token_ids[row];
    BITDIAL_CHECK(0 <= token_id && token_id < w.shape[0]);
    float* out = args.out.Row(row);
    if (w.dtype == DType::kF16) {
      kernels.widen_f16(w.As<uint16_t>() + token_id * hidden_size, out, hidden_size);
    } else if (w.dtype == DType::kBF16) {
      kernels.widen_bf16(w.As<uint16_t>() + token_id * hidden_size, out, hidden_size);
    } else {
      std::memcpy(out, w.As<float>() + token_id * hidden_size,
                  static_cast<size_t>(hidden_size) * sizeof(float));
    }
  }
}

}  // namespace

void DensePromptAvx2(const LinearArgs& args, Stream& stream) noexcept {
  Prompt(kAvx2, args, stream);
}
void DensePromptAvx512(const LinearArgs& args, Stream& stream) noexcept {
  Prompt(kAvx512, args, stream);
}
void DenseDecodeAvx2(const LinearArgs& args, Stream& stream) noexcept {
  Decode(kAvx2, args, stream);
}
void DenseDecodeAvx512(const LinearArgs& args, Stream& stream) noexcept {
  Decode(kAvx512, args, stream);
}
void DenseEmbeddingAvx2(const EmbeddingArgs& args, Stream&) noexcept { Embed(kAvx2, args); }
void DenseEmbeddingAvx512(const EmbeddingArgs& args, Stream&) noexcept { Embed(kAvx512, args); }

}  // namespace bitdial::kernels
