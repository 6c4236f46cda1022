// K/V elements stored as f16.
#pragma once

#include <cstdint>

#include "kernels/core/dtype.h"

namespace bitdial::kernels {

struct F16Kv {
  using Element = uint16_t;
  static float Load(Element element) { return F16ToF32(element); }
  static Element Store(float value) { return F32ToF16(value); }
};

}  // namespace bitdial::kernels
