// The small element-wise ops of a decoder layer.
#pragma once

#include "kernels/core/stream.h"
#include "kernels/core/view.h"

namespace bitdial::kernels {

// out = silu(gate) * up, silu(z) = z / (1 + exp(-z)). Shapes [num_tokens, intermediate_size]; out
// may alias gate or up.
struct SiluMulArgs {
  Matrix<const float> gate;
  Matrix<const float> up;
  Matrix<float> out;
};
using SiluMulFn = void (*)(const SiluMulArgs&, Stream&) noexcept;

// out += x. Shapes [num_tokens, hidden_size].
struct AddArgs {
  Matrix<const float> x;
  Matrix<float> out;
};
using AddFn = void (*)(const AddArgs&, Stream&) noexcept;

// out = max(x, 0); NaN stays NaN. Shapes [num_tokens, intermediate_size]; out may alias x.
struct ReluArgs {
  Matrix<const float> x;
  Matrix<float> out;
};
using ReluFn = void (*)(const ReluArgs&, Stream&) noexcept;

// out = x (1 + erf(x / sqrt 2)) / 2, the exact form. Shapes [num_tokens, intermediate_size]; out
// may alias x.
struct GeluArgs {
  Matrix<const float> x;
  Matrix<float> out;
};
using GeluFn = void (*)(const GeluArgs&, Stream&) noexcept;

}  // namespace bitdial::kernels
