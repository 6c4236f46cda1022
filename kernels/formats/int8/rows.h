// The kernel table's rows of the format int8.
#pragma once

#include <span>

#include "kernels/kernel_table.h"

namespace bitdial::kernels {

std::span<const KernelRow> Int8Rows();

}  // namespace bitdial::kernels
