// Every read pass reads every byte: their sums agree, and each bit of the input reaches them.
#include "kernels/backends/cpu/read_pass.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "kernels/core/buffer.h"
#include "kernels/core/cpu_features.h"

namespace bitdial::kernels {
namespace {

TEST(ReadPassTest, AllWidthsSeeEveryByte) {
  std::vector<ReadPassFn> passes = {&ReadPassPlain, WidestReadPass()};
  if (DetectCpuFeatures().avx2) passes.push_back(&ReadPassAvx2);
  if (DetectCpuFeatures().avx512) passes.push_back(&ReadPassAvx512);
  constexpr size_t kBytes = 256 * 5;
  absl::StatusOr<Buffer> buffer = Buffer::Allocate(Device::kCpu, kBytes);
  ASSERT_TRUE(buffer.ok());
  std::mt19937_64 random(3);
  auto* const words = buffer->As<uint64_t>();
  for (size_t i = 0; i < kBytes / 8; ++i) words[i] = random();
  const uint64_t expected = ReadPassPlain(buffer->As<std::byte>(), kBytes);
  for (const ReadPassFn pass : passes) EXPECT_EQ(pass(buffer->As<std::byte>(), kBytes), expected);
  for (size_t i = 0; i < kBytes / 8; ++i) {
    words[i] ^= uint64_t{1} << i % 64;
    for (const ReadPassFn pass : passes) {
      EXPECT_EQ(pass(buffer->As<std::byte>(), kBytes), expected ^ uint64_t{1} << i % 64) << i;
    }
    words[i] ^= uint64_t{1} << i % 64;
  }
}

}  // namespace
}  // namespace bitdial::kernels
