// The kernel rows of silu_mul, add, relu and gelu.
#pragma once

#include <span>

#include "kernels/kernel_table.h"

namespace bitdial::kernels {

std::span<const KernelRow> ElementwiseRows();

}  // namespace bitdial::kernels
