// The kernel rows of layer_norm.
#pragma once

#include <span>

#include "kernels/kernel_table.h"

namespace bitdial::kernels {

std::span<const KernelRow> LayerNormRows();

}  // namespace bitdial::kernels
