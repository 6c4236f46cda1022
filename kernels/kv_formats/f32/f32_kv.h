// K/V elements stored as f32.
#pragma once

#include <cstdint>

#include "kernels/core/dtype.h"

namespace bitdial::kernels {

struct F32Kv {
  using Element = float;
  static float Load(Element element) { return element; }
  static Element Store(float value) { return value; }
};

}  // namespace bitdial::kernels
