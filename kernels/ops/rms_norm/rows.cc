#include "kernels/ops/rms_norm/rows.h"

#include "kernels/ops/rms_norm/rms_norm_impl.h"

namespace bitdial::kernels {
namespace {

std::string Supports(const KernelShape&) { return ""; }

constexpr KernelKey kKey{.op = Op::kRmsNorm};

const KernelRow kRows[] = {
    {kKey, Backend::kCpuRef, "rms_norm_f32__ref", "ref_f64", Supports, RmsNormRef},
};

}  // namespace

std::span<const KernelRow> RmsNormRows() { return kRows; }

}  // namespace bitdial::kernels
