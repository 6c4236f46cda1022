// The kernel rows of silu_mul and add.
#pragma once

#include <span>

#include "kernels/kernel_table.h"

namespace bitdial::kernels {

std::span<const KernelRow> ElementwiseRows();

}  // namespace bitdial::kernels
