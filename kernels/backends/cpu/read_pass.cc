#include "kernels/backends/cpu/read_pass.h"

#include <cstring>

#include "kernels/core/cpu_features.h"

namespace bitdial::kernels {

uint64_t ReadPassPlain(const std::byte* data, size_t num_bytes) noexcept {
  uint64_t sum = 0;
  for (size_t i = 0; i < num_bytes; i += 8) {
    uint64_t word;
    std::memcpy(&word, data + i, 8);
    sum ^= word;
  }
  return sum;
}

ReadPassFn WidestReadPass() {
  const CpuFeatures cpu = DetectCpuFeatures();
  if (cpu.avx512) return &ReadPassAvx512;
  if (cpu.avx2) return &ReadPassAvx2;
  return &ReadPassPlain;
}

}  // namespace bitdial::kernels
