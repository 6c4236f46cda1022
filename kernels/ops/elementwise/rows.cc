#include "kernels/ops/elementwise/rows.h"

#include "kernels/ops/elementwise/elementwise_impl.h"

namespace bitdial::kernels {
namespace {

std::string Supports(const KernelShape&) { return ""; }

constexpr KernelKey kSiluMul{.op = Op::kSiluMul};
constexpr KernelKey kAdd{.op = Op::kAdd};
constexpr KernelKey kRelu{.op = Op::kRelu};
constexpr KernelKey kGelu{.op = Op::kGelu};

// An addition rounds once in every backend, the reference included, and relu never: one class each.
const KernelRow kRows[] = {
    {kSiluMul, Backend::kCpuRef, "silu_mul_f32__ref", "ref_f64", Supports, SiluMulRef},
    {kSiluMul, Backend::kCpuAvx2, "silu_mul_f32__avx2", "poly_f32", Supports, SiluMulAvx2},
    {kSiluMul, Backend::kCpuAvx512, "silu_mul_f32__avx512", "poly_f32", Supports, SiluMulAvx512},
    {kAdd, Backend::kCpuRef, "add_f32__ref", "rounded_once", Supports, AddRef},
    {kAdd, Backend::kCpuAvx2, "add_f32__avx2", "rounded_once", Supports, AddAvx2},
    {kAdd, Backend::kCpuAvx512, "add_f32__avx512", "rounded_once", Supports, AddAvx512},
    {kRelu, Backend::kCpuRef, "relu_f32__ref", "exact", Supports, ReluRef},
    {kRelu, Backend::kCpuAvx2, "relu_f32__avx2", "exact", Supports, ReluAvx2},
    {kRelu, Backend::kCpuAvx512, "relu_f32__avx512", "exact", Supports, ReluAvx512},
    {kGelu, Backend::kCpuRef, "gelu_f32__ref", "ref_f64", Supports, GeluRef},
    {kGelu, Backend::kCpuAvx2, "gelu_f32__avx2", "poly_f32", Supports, GeluAvx2},
    {kGelu, Backend::kCpuAvx512, "gelu_f32__avx512", "poly_f32", Supports, GeluAvx512},
};

}  // namespace

std::span<const KernelRow> ElementwiseRows() { return kRows; }

}  // namespace bitdial::kernels
