// The functions behind the rows of elementwise.
#pragma once

#include "kernels/ops/elementwise/elementwise.h"

namespace bitdial::kernels {

void SiluMulRef(const SiluMulArgs& args, Stream& stream) noexcept;
void AddRef(const AddArgs& args, Stream& stream) noexcept;

}  // namespace bitdial::kernels
