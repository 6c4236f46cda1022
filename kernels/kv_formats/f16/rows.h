// The kernel rows of the f16 KV format: append and attention.
#pragma once

#include <span>

#include "kernels/kernel_table.h"

namespace bitdial::kernels {

std::span<const KernelRow> F16KvRows();

}  // namespace bitdial::kernels
