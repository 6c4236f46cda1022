// The kernels of weight format kBcq.
#pragma once

#include <span>

#include "kernels/kernel_table.h"

namespace bitdial::kernels {

// Linear for both roles and embedding; register_all.cc lists them with the other formats'.
std::span<const KernelRow> BcqRows();

}  // namespace bitdial::kernels
