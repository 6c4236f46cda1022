// The CUDA devices of this machine, for `bitdial doctor`. The CUDA rows of the kernel table come
// later.
#pragma once

#include <string>
#include <vector>

namespace bitdial::kernels::cuda {

// False in a build without BITDIAL_CUDA.
bool IsBuilt();

// One line a device: index, name, memory, compute capability, multiprocessors. One line with the
// driver's own words when CUDA is built but the driver is missing or refuses. Empty without a
// device, and in a build without CUDA.
std::vector<std::string> DescribeCudaDevices();

}  // namespace bitdial::kernels::cuda
