// Body of rope_avx2.cc and rope_avx512.cc, after their F32x16 header.
#include "kernels/ops/rope/rope_kernels.h"

namespace bitdial::kernels::cpu::BITDIAL_ISA {
namespace {

struct Pair {
  F32x16 a;
  F32x16 b;
};
BITDIAL_X16 Pair Rotate(F32x16 a, F32x16 b, F32x16 cos, F32x16 sin) {
  return {Fma(a, cos, Sub(Zero(), Mul(b, sin))), Fma(b, cos, Mul(a, sin))};
}

}  // namespace

void RopeHead(float* x, const float* cos, const float* sin, int64_t half) noexcept {
  float* second = x + half;
  int64_t c = 0;
  for (; c + 16 <= half; c += 16) {
    const Pair pair = Rotate(Load(x + c), Load(second + c), Load(cos + c), Load(sin + c));
    Store(x + c, pair.a);
    Store(second + c, pair.b);
  }
  if (const int64_t rest = half - c; rest > 0) {
    const Pair pair = Rotate(LoadPartial(x + c, rest), LoadPartial(second + c, rest),
                             LoadPartial(cos + c, rest), LoadPartial(sin + c, rest));
    StorePartial(x + c, rest, pair.a);
    StorePartial(second + c, rest, pair.b);
  }
}

}  // namespace bitdial::kernels::cpu::BITDIAL_ISA
