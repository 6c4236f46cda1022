// K/V elements stored as f16.
#pragma once

#include <cstdint>

#include "kernels/core/dtype.h"
#include "kernels/ops/attention/attention.h"

namespace bitdial::kernels {

struct F16Kv {
  using Element = uint16_t;
  static float Load(Element element) { return F16ToF32(element); }
  static Element Store(float value) { return F32ToF16(value); }
};

void KvAppendF16Avx2(const KvAppendArgs& args, Stream& stream) noexcept;
void KvAppendF16Avx512(const KvAppendArgs& args, Stream& stream) noexcept;
void AttentionF16Avx2(const AttentionArgs& args, Stream& stream) noexcept;
void AttentionF16Avx512(const AttentionArgs& args, Stream& stream) noexcept;

}  // namespace bitdial::kernels
