#include "kernels/ops/rope/rows.h"

#include "kernels/ops/rope/rope_impl.h"

namespace bitdial::kernels {
namespace {

std::string Supports(const KernelShape& shape) {
  if (shape.head_dim > 0 && shape.head_dim % 2 == 0) return "";
  return fmt::format("head_dim {} is not a positive even number", shape.head_dim);
}

constexpr KernelKey kKey{.op = Op::kRope};

const KernelRow kRows[] = {
    {kKey, Backend::kCpuRef, "rope_f32__ref", "ref_f64", Supports, RopeRef},
    {kKey, Backend::kCpuAvx2, "rope_f32__avx2", "fma_f32", Supports, RopeAvx2},
    {kKey, Backend::kCpuAvx512, "rope_f32__avx512", "fma_f32", Supports, RopeAvx512},
};

}  // namespace

std::span<const KernelRow> RopeRows() { return kRows; }

}  // namespace bitdial::kernels
