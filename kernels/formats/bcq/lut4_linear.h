// The threaded driver of the lut4 kernels.
#pragma once

#include "kernels/formats/bcq/lut4.h"
#include "kernels/ops/linear/linear.h"

namespace bitdial::kernels::bcq {

// One pass over the planes for all rows: tables first, then one task a tile of 64 outputs.
void Lut4Linear(const Lut4Isa& isa, const LinearArgs& args, Stream& stream) noexcept;

}  // namespace bitdial::kernels::bcq
