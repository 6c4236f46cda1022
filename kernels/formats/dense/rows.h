// The kernel rows of the dense weight format: linear and embedding.
#pragma once

#include <span>

#include "kernels/kernel_table.h"

namespace bitdial::kernels {

std::span<const KernelRow> DenseRows();

}  // namespace bitdial::kernels
