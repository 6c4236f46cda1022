// out[t, i] = (x[t, i] - mean_i(x[t, i])) / sqrt(variance_i(x[t, i]) + eps) * weight[i] + bias[i]
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace bitdial::kernels {

// The variance is the mean of the squared distances from the mean (n, not n - 1, in the divisor).
// Shapes    x, out [num_tokens, hidden_size]; weight, bias [hidden_size] f32. out may alias x.
struct LayerNormArgs {
  Matrix<const float> x;
  Matrix<float> out;
  const float* weight = nullptr;
  const float* bias = nullptr;
  float eps = 1e-5f;
};
using LayerNormFn = void (*)(const LayerNormArgs&, Stream&) noexcept;

}  // namespace bitdial::kernels
