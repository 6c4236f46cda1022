// The functions behind the rows of rms_norm.
#pragma once

#include "kernels/ops/rms_norm/rms_norm.h"

namespace bitdial::kernels {

void RmsNormRef(const RmsNormArgs& args, Stream& stream) noexcept;
void RmsNormAvx2(const RmsNormArgs& args, Stream& stream) noexcept;
void RmsNormAvx512(const RmsNormArgs& args, Stream& stream) noexcept;

}  // namespace bitdial::kernels
