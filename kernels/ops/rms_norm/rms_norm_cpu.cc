#include "kernels/backends/cpu/row_tasks.h"
#include "kernels/ops/rms_norm/rms_norm_impl.h"
#include "kernels/ops/rms_norm/rms_norm_kernels.h"

namespace bitdial::kernels {
namespace {

void RmsNorm(cpu::RmsNormRowFn* norm, const RmsNormArgs& args, Stream& stream) {
  cpu::ForEachRow(stream.pool(), args.x.rows, [&](int64_t row) {
    norm(args.x.Row(row), args.weight, args.eps, args.out.Row(row), args.x.cols);
  });
}

}  // namespace

void RmsNormAvx2(const RmsNormArgs& args, Stream& stream) noexcept {
  RmsNorm(cpu::avx2::RmsNormRow, args, stream);
}
void RmsNormAvx512(const RmsNormArgs& args, Stream& stream) noexcept {
  RmsNorm(cpu::avx512::RmsNormRow, args, stream);
}

}  // namespace bitdial::kernels
