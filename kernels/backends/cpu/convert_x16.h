// Body of convert_avx2.cc and convert_avx512.cc, after their F32x16 header.
#include "kernels/backends/cpu/convert_kernels.h"

namespace bitdial::kernels::cpu::BITDIAL_ISA {
namespace {

template <typename Reader>
BITDIAL_X16 void Widen(const uint16_t* from, float* to, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) Store(to + i, Reader::Read(from + i));
  if (i < n) StorePartial(to + i, n - i, ReadPartial<Reader>(from + i, n - i));
}

}  // namespace

void WidenF16(const uint16_t* from, float* to, int64_t n) noexcept {
  Widen<F16Reader>(from, to, n);
}
void WidenBF16(const uint16_t* from, float* to, int64_t n) noexcept {
  Widen<BF16Reader>(from, to, n);
}

void NarrowF16(const float* from, uint16_t* to, int64_t n) noexcept {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) StoreF16(to + i, Load(from + i));
  if (i == n) return;
  uint16_t padded[16];
  StoreF16(padded, LoadPartial(from + i, n - i));
  for (int64_t rest = 0; i + rest < n; ++rest) to[i + rest] = padded[rest];
}

}  // namespace bitdial::kernels::cpu::BITDIAL_ISA
