#include "kernels/backends/cpu/row_tasks.h"
#include "kernels/ops/rope/rope_impl.h"
#include "kernels/ops/rope/rope_kernels.h"

namespace bitdial::kernels {
namespace {

void Rope(cpu::RopeHeadFn* rotate, const RopeArgs& args, Stream& stream) {
  const int64_t half = args.head_dim / 2;
  cpu::ForEachRow(stream.pool(), args.x.rows, [&](int64_t row) {
    const float* cos = args.cos + args.positions[row] * half;
    const float* sin = args.sin + args.positions[row] * half;
    for (int64_t head = 0; head < args.num_heads; ++head) {
      rotate(args.x.Row(row) + head * args.head_dim, cos, sin, half);
    }
  });
}

}  // namespace

void RopeAvx2(const RopeArgs& args, Stream& stream) noexcept {
  Rope(cpu::avx2::RopeHead, args, stream);
}
void RopeAvx512(const RopeArgs& args, Stream& stream) noexcept {
  Rope(cpu::avx512::RopeHead, args, stream);
}

}  // namespace bitdial::kernels
