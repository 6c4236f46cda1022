// The CUDA seam: the functions exist in both builds and never fail hard, with or without a driver.
#include "kernels/backends/cuda/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>

namespace bitdial::kernels::cuda {
namespace {

TEST(CudaDevice, ListsDevicesOrSaysWhyNot) {
  const std::vector<std::string> lines = DescribeCudaDevices();
  std::printf("CUDA is %s; %zu lines\n", IsBuilt() ? "built" : "not built", lines.size());
  EXPECT_TRUE(IsBuilt() || lines.empty());
  for (const std::string& line : lines) {
    std::printf("%s\n", line.c_str());
    EXPECT_THAT(line, ::testing::StartsWith("cuda:"));
  }
}

}  // namespace
}  // namespace bitdial::kernels::cuda
