#include "kernels/backends/cpu/row_tasks.h"
#include "kernels/ops/layer_norm/layer_norm_impl.h"
#include "kernels/ops/layer_norm/layer_norm_kernels.h"

namespace bitdial::kernels {
namespace {

void LayerNorm(cpu::LayerNormRowFn* norm, const LayerNormArgs& args, Stream& stream) {
  cpu::ForEachRow(stream.pool(), args.x.rows, [&](int64_t row) {
    norm(args.x.Row(row), args.weight, args.bias, args.eps, args.out.Row(row), args.x.cols);
  });
}

}  // namespace

void LayerNormAvx2(const LayerNormArgs& args, Stream& stream) noexcept {
  LayerNorm(cpu::avx2::LayerNormRow, args, stream);
}
void LayerNormAvx512(const LayerNormArgs& args, Stream& stream) noexcept {
  LayerNorm(cpu::avx512::LayerNormRow, args, stream);
}

}  // namespace bitdial::kernels
