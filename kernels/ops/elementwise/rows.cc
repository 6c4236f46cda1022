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
    {kSiluMul, Backend::kCpuAvx2, "silu_mul_f32__avx2", "poly_f32", Supports, SiluMulAvx2},
    {kSiluMul, Backend::kCpuAvx512, "silu_mul_f32__avx512", "poly_f32", Supports, SiluMulAvx512},
    {kAdd, Backend::kCpuRef, "add_f32__ref", "rounded_once", Supports, AddRef},
    {kAdd, Backend::kCpuAvx2, "add_f32__avx2", "rounded_once", Supports, AddAvx2},
    {kAdd, Backend::kCpuAvx512, "add_f32__avx512", "rounded_once", Supports, AddAvx512},
};

}  // namespace

std::span<const KernelRow> ElementwiseRows() { return kRows; }

}  // namespace bitdial::kernels
