// A kernel that counts its calls and their time.
#pragma once

#include "kernels/kernel_table.h"

namespace bitdial::kernels {

// The row's function behind one that adds to stream.call_times(), which must be set.
// Requires  a row of AllRows().
KernelFn TimedForm(const KernelRow& row);

}  // namespace bitdial::kernels
