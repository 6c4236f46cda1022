// K/V elements stored as f32.
#pragma once

#include <cstdint>

#include "kernels/core/dtype.h"
#include "kernels/ops/attention/attention.h"

namespace bitdial::kernels {

struct F32Kv {
  using Element = float;
  static float Load(Element element) { return element; }
  static Element Store(float value) { return value; }
};

void AttentionF32Avx2(const AttentionArgs& args, Stream& stream) noexcept;
void AttentionF32Avx512(const AttentionArgs& args, Stream& stream) noexcept;

}  // namespace bitdial::kernels
