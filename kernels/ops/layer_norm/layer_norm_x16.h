// Body of layer_norm_avx2.cc and layer_norm_avx512.cc, after their F32x16 header.
#include "kernels/ops/layer_norm/layer_norm_kernels.h"

namespace bitdial::kernels::cpu::BITDIAL_ISA {
namespace {

BITDIAL_X16 float Sum(const float* x, int64_t n) {
  F32x16 sum = Zero();
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) sum = Add(sum, Load(x + i));
  if (i < n) sum = Add(sum, LoadPartial(x + i, n - i));
  return ReduceAdd(sum);
}

BITDIAL_X16 float SumOfSquaredDistances(const float* x, F32x16 mean, int64_t n) {
  F32x16 sum = Zero();
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const F32x16 distance = Sub(Load(x + i), mean);
    sum = Fma(distance, distance, sum);
  }
  if (i < n) {
    // The lanes behind the row hold 0 - mean, which is no part of the sum.
    float distances[16] = {};
    StorePartial(distances, n - i, Sub(LoadPartial(x + i, n - i), mean));
    sum = Fma(Load(distances), Load(distances), sum);
  }
  return ReduceAdd(sum);
}

}  // namespace

void LayerNormRow(const float* x, const float* weight, const float* bias, float eps, float* out,
                  int64_t n) noexcept {
  const float size = static_cast<float>(n);
  const F32x16 mean = Set1(Sum(x, n) / size);
  const float variance = SumOfSquaredDistances(x, mean, n) / size;
  const __m128 root = _mm_sqrt_ss(_mm_set_ss(variance + eps));
  const F32x16 scale = Set1(1.0f / _mm_cvtss_f32(root));
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    Store(out + i, Fma(Mul(Sub(Load(x + i), mean), scale), Load(weight + i), Load(bias + i)));
  }
  if (const int64_t rest = n - i; rest > 0) {
    StorePartial(out + i, rest,
                 Fma(Mul(Sub(LoadPartial(x + i, rest), mean), scale), LoadPartial(weight + i, rest),
                     LoadPartial(bias + i, rest)));
  }
}

}  // namespace bitdial::kernels::cpu::BITDIAL_ISA
