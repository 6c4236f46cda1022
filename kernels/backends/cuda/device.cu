#include <cuda_runtime.h>

#include <cstdio>

#include "kernels/backends/cuda/device.h"

namespace bitdial::kernels::cuda {
namespace {

std::string Describe(int device) {
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device);
      error != cudaSuccess) {
    return "cuda:" + std::to_string(device) + ": " + cudaGetErrorString(error);
  }
  char line[512];
  std::snprintf(line, sizeof(line),
                "cuda:%d: %s, %.1f GiB, compute capability %d.%d, %d multiprocessors", device,
                properties.name, static_cast<double>(properties.totalGlobalMem) / (1 << 30),
                properties.major, properties.minor, properties.multiProcessorCount);
  return line;
}

}  // namespace

bool IsBuilt() { return true; }

std::vector<std::string> DescribeCudaDevices() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorNoDevice) return {};
  if (error != cudaSuccess) return {std::string("cuda: ") + cudaGetErrorString(error)};
  std::vector<std::string> lines;
  for (int device = 0; device < count; ++device) lines.push_back(Describe(device));
  return lines;
}

}  // namespace bitdial::kernels::cuda
