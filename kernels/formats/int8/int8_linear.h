// The driver of the class int8_i16 (int8.h): quantizes the rows, then tiles over threads.
#pragma once

#include "kernels/formats/int8/int8.h"
#include "kernels/ops/linear/linear.h"

namespace bitdial::kernels::int8 {

// A LinearFn but for the instruction set.
void Int8Linear(const Isa& isa, const LinearArgs& args, Stream& stream) noexcept;

}  // namespace bitdial::kernels::int8
