// out[t, i] = x[t, i] / sqrt(mean_i(x[t, i]^2) + eps) * weight[i]
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace bitdial::kernels {

// Shapes    x, out [num_tokens, hidden_size]; weight [hidden_size] f32. out may alias x.
struct RmsNormArgs {
  Matrix<const float> x;
  Matrix<float> out;
  const float* weight = nullptr;
  float eps = 1e-5f;
};
using RmsNormFn = void (*)(const RmsNormArgs&, Stream&) noexcept;

}  // namespace bitdial::kernels
