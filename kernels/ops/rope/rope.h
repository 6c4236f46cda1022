// Rotary position embedding, rotate-half form (Hugging Face): channels c and c + head_dim/2 make a pair.
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace bitdial::kernels {

// In place: (a, b) -> (a cos - b sin, b cos + a sin) with the angle positions[t] * inv_freq[c].
// Shapes    x [num_tokens, num_heads * head_dim]; cos, sin [max_positions, head_dim / 2] (tables made at load,
//           in double, so that scaling variants live in the model and not here); positions [num_tokens] < max_positions
struct RopeArgs {
  Matrix<float> x;
  int64_t num_heads = 0;
  int64_t head_dim = 0;
  const float* cos = nullptr;
  const float* sin = nullptr;
  const int32_t* positions = nullptr;
};
using RopeFn = void (*)(const RopeArgs&, Stream&) noexcept;

}  // namespace bitdial::kernels
