// Body of elementwise_avx2.cc and elementwise_avx512.cc, after their F32x16 header.
#include "kernels/ops/elementwise/elementwise_kernels.h"

namespace bitdial::kernels::cpu::BITDIAL_ISA {
namespace {

BITDIAL_X16 F32x16 SiluMul(F32x16 gate, F32x16 up) {
  const F32x16 denominator = Add(Set1(1.0f), Exp(Sub(Zero(), gate)));
  return Mul(Div(gate, denominator), up);
}

}  // namespace

void SiluMulRun(const float* gate, const float* up, float* out, int64_t n) noexcept {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) Store(out + i, SiluMul(Load(gate + i), Load(up + i)));
  if (i < n)
    StorePartial(out + i, n - i, SiluMul(LoadPartial(gate + i, n - i), LoadPartial(up + i, n - i)));
}

void AddRun(const float* x, float* out, int64_t n) noexcept {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) Store(out + i, Add(Load(out + i), Load(x + i)));
  if (i < n)
    StorePartial(out + i, n - i, Add(LoadPartial(out + i, n - i), LoadPartial(x + i, n - i)));
}

void ExpRun(const float* x, float* out, int64_t n) noexcept {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) Store(out + i, Exp(Load(x + i)));
  if (i < n) StorePartial(out + i, n - i, Exp(LoadPartial(x + i, n - i)));
}

}  // namespace bitdial::kernels::cpu::BITDIAL_ISA
