// The functions behind the rows of rope.
#pragma once

#include "kernels/ops/rope/rope.h"

namespace bitdial::kernels {

void RopeRef(const RopeArgs& args, Stream& stream) noexcept;
void RopeAvx2(const RopeArgs& args, Stream& stream) noexcept;
void RopeAvx512(const RopeArgs& args, Stream& stream) noexcept;

}  // namespace bitdial::kernels
