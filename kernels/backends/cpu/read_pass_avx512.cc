// Compiled with AVX-512 flags (invariant 6).
#include <immintrin.h>

#include "kernels/backends/cpu/read_pass.h"

namespace bitdial::kernels {

uint64_t ReadPassAvx512(const std::byte* data, size_t num_bytes) noexcept {
  __m512i sum[4];
  for (int i = 0; i < 4; ++i) sum[i] = _mm512_setzero_si512();
  for (size_t offset = 0; offset < num_bytes; offset += 256) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      sum[i] = _mm512_xor_si512(sum[i], _mm512_load_si512(data + offset + 64 * i));
    }
  }
  uint64_t total = 0;
  for (int i = 0; i < 4; ++i) {
    alignas(64) uint64_t lanes[8];
    _mm512_store_si512(lanes, sum[i]);
    for (const uint64_t lane : lanes) total ^= lane;
  }
  return total;
}

}  // namespace bitdial::kernels
