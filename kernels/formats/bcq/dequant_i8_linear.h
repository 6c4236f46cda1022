// The driver of dequant_i8.h: quantizes the rows, then tiles over threads.
#pragma once

#include "kernels/formats/bcq/dequant_i8.h"
#include "kernels/ops/linear/linear.h"

namespace bitdial::kernels::bcq {

// A LinearFn but for the instruction set.
void DequantI8Linear(const DequantI8Isa& isa, const LinearArgs& args, Stream& stream) noexcept;

}  // namespace bitdial::kernels::bcq
