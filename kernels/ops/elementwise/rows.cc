#include "kernels/ops/elementwise/rows.h"

#include "kernels/ops/elementwise/elementwise_impl.h"

namespace bitdial::kernels {
namespace {

std::string Supports(const KernelShape&) { return ""; }

constexpr KernelKey kSiluMul{.op = Op::kSiluMul};
constexpr KernelKey kAdd{.op = Op::kAdd};

// An addition rounds once in every backend, the reference included: one class.
const KernelRow kRows[] = {
    {kSiluMul, Backend::kCpuRef, "silu_mul_f32__ref", "ref_f64", Supports, SiluMulRef},
    {kAdd, Backend::kCpuRef, "add_f32__ref", "rounded_once", Supports, AddRef},
};

}  // namespace

std::span<const KernelRow> ElementwiseRows() { return kRows; }

}  // namespace bitdial::kernels
