// The kernel rows of rms_norm.
#pragma once

#include <span>

#include "kernels/kernel_table.h"

namespace bitdial::kernels {

std::span<const KernelRow> RmsNormRows();

}  // namespace bitdial::kernels
