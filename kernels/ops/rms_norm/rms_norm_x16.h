// Body of rms_norm_avx2.cc and rms_norm_avx512.cc, after their F32x16 header.
#include "kernels/ops/rms_norm/rms_norm_kernels.h"

namespace bitdial::kernels::cpu::BITDIAL_ISA {
namespace {

BITDIAL_X16 float SumOfSquares(const float* x, int64_t n) {
  F32x16 sum = Zero();
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) sum = Fma(Load(x + i), Load(x + i), sum);
  if (i < n) sum = Fma(LoadPartial(x + i, n - i), LoadPartial(x + i, n - i), sum);
  return ReduceAdd(sum);
}

}  // namespace

void RmsNormRow(const float* x, const float* weight, float eps, float* out, int64_t n) noexcept {
  const float mean = SumOfSquares(x, n) / static_cast<float>(n);
  const __m128 root = _mm_sqrt_ss(_mm_set_ss(mean + eps));
  const F32x16 scale = Set1(1.0f / _mm_cvtss_f32(root));
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) Store(out + i, Mul(Mul(Load(x + i), scale), Load(weight + i)));
  if (i < n) {
    StorePartial(out + i, n - i,
                 Mul(Mul(LoadPartial(x + i, n - i), scale), LoadPartial(weight + i, n - i)));
  }
}

}  // namespace bitdial::kernels::cpu::BITDIAL_ISA
