// The explicit list of every kernel row in this build.
#pragma once

#include <span>

#include "kernels/kernel_table.h"

namespace bitdial::kernels {

// Every row, folder by folder as listed in register_all.cc; the same span on every call.
// Aborts when two rows share a name.
std::span<const KernelRow> AllRows();

}  // namespace bitdial::kernels
