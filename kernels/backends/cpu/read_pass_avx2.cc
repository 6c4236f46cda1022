// Compiled with AVX2 flags (invariant 6).
#include <immintrin.h>

#include "kernels/backends/cpu/read_pass.h"

namespace bitdial::kernels {

uint64_t ReadPassAvx2(const std::byte* data, size_t num_bytes) noexcept {
  __m256i sum[8];
  for (int i = 0; i < 8; ++i) sum[i] = _mm256_setzero_si256();
  for (size_t offset = 0; offset < num_bytes; offset += 256) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const auto* const from = reinterpret_cast<const __m256i*>(data + offset + 32 * i);
      sum[i] = _mm256_xor_si256(sum[i], _mm256_load_si256(from));
    }
  }
  uint64_t total = 0;
  for (int i = 0; i < 8; ++i) {
    alignas(32) uint64_t lanes[4];
    _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), sum[i]);
    for (const uint64_t lane : lanes) total ^= lane;
  }
  return total;
}

}  // namespace bitdial::kernels
