// Body of elementwise_avx2.cc and elementwise_avx512.cc, after their F32x16 header.
#include "kernels/ops/elementwise/elementwise_kernels.h"

namespace bitdial::kernels::cpu::BITDIAL_ISA {
namespace {

BITDIAL_X16 F32x16 SiluMul(F32x16 gate, F32x16 up) {
  const F32x16 denominator = Add(Set1(1.0f), Exp(Sub(Zero(), gate)));
  return Mul(Div(gate, denominator), up);
}

// With z = |x| and erfc(z / sqrt 2) = P: gelu(x) = max(x, 0) - z P / 2 for either sign, without a
// cancellation. erfc by Abramowitz and Stegun 7.1.26, at most 1.5e-7 off.
BITDIAL_X16 F32x16 Gelu(F32x16 x) {
  const F32x16 z = Max(x, Sub(Zero(), x));
  const F32x16 t = Div(Set1(1.0f), Fma(z, Set1(0.3275911f * 0.70710678f), Set1(1.0f)));
  F32x16 p = Set1(1.061405429f);
  p = Fma(p, t, Set1(-1.453152027f));
  p = Fma(p, t, Set1(1.421413741f));
  p = Fma(p, t, Set1(-0.284496736f));
  p = Fma(p, t, Set1(0.254829592f));
  const F32x16 bell = Exp(Mul(Mul(z, Set1(-0.5f)), z));
  const F32x16 tail = Mul(Mul(p, t), bell);
  return Sub(Max(Zero(), x), Mul(Mul(z, Set1(0.5f)), tail));
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

void ReluRun(const float* x, float* out, int64_t n) noexcept {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) Store(out + i, Max(Zero(), Load(x + i)));
  if (i < n) StorePartial(out + i, n - i, Max(Zero(), LoadPartial(x + i, n - i)));
}

void GeluRun(const float* x, float* out, int64_t n) noexcept {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) Store(out + i, Gelu(Load(x + i)));
  if (i < n) StorePartial(out + i, n - i, Gelu(LoadPartial(x + i, n - i)));
}

void ExpRun(const float* x, float* out, int64_t n) noexcept {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) Store(out + i, Exp(Load(x + i)));
  if (i < n) StorePartial(out + i, n - i, Exp(LoadPartial(x + i, n - i)));
}

}  // namespace bitdial::kernels::cpu::BITDIAL_ISA
