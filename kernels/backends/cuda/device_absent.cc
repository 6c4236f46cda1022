// What device.h says in a build without CUDA.
#include "kernels/backends/cuda/device.h"

namespace bitdial::kernels::cuda {

bool IsBuilt() { return false; }
std::vector<std::string> DescribeCudaDevices() { return {}; }

}  // namespace bitdial::kernels::cuda
