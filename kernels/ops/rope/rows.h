// The kernel rows of rope.
#pragma once

#include <span>

#include "kernels/kernel_table.h"

namespace bitdial::kernels {

std::span<const KernelRow> RopeRows();

}  // namespace bitdial::kernels
