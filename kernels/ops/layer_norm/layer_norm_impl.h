// The functions behind the rows of layer_norm.
#pragma once

#include "kernels/ops/layer_norm/layer_norm.h"

namespace bitdial::kernels {

void LayerNormRef(const LayerNormArgs& args, Stream& stream) noexcept;
void LayerNormAvx2(const LayerNormArgs& args, Stream& stream) noexcept;
void LayerNormAvx512(const LayerNormArgs& args, Stream& stream) noexcept;

}  // namespace bitdial::kernels
