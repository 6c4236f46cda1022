#include "kernels/ops/layer_norm/rows.h"

#include "kernels/ops/layer_norm/layer_norm_impl.h"

namespace bitdial::kernels {
namespace {

std::string Supports(const KernelShape&) { return ""; }

constexpr KernelKey kKey{.op = Op::kLayerNorm};

const KernelRow kRows[] = {
    {kKey, Backend::kCpuRef, "layer_norm_f32__ref", "ref_f64", Supports, LayerNormRef},
    {kKey, Backend::kCpuAvx2, "layer_norm_f32__avx2", "dot16_f32", Supports, LayerNormAvx2},
    {kKey, Backend::kCpuAvx512, "layer_norm_f32__avx512", "dot16_f32", Supports, LayerNormAvx512},
};

}  // namespace

std::span<const KernelRow> LayerNormRows() { return kRows; }

}  // namespace bitdial::kernels
