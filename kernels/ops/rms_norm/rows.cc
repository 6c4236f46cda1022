#include "kernels/ops/rms_norm/rows.h"

#include "kernels/ops/rms_norm/rms_norm_impl.h"

namespace bitdial::kernels {
namespace {

std::string Supports(const KernelShape&) { return ""; }

constexpr KernelKey kKey{.op = Op::kRmsNorm};

const KernelRow kRows[] = {
    {kKey, Backend::kCpuRef, "rms_norm_f32__ref", "ref_f64", Supports, RmsNormRef},
    {kKey, Backend::kCpuAvx2, "rms_norm_f32__avx2", "dot16_f32", Supports, RmsNormAvx2},
    {kKey, Backend::kCpuAvx512, "rms_norm_f32__avx512", "dot16_f32", Supports, RmsNormAvx512},
};

}  // namespace

std::span<const KernelRow> RmsNormRows() { return kRows; }

}  // namespace bitdial::kernels
