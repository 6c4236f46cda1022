// out[t, :] = W[token_ids[t], :]
#pragma once

#include "kernels/ops/linear/linear.h"

namespace bitdial::kernels {

// Shapes    weight [vocab_size, hidden_size] as a linear's [out_features, in_features]; out [num_tokens, hidden_size]
// Requires  0 <= token_ids[t] < vocab_size (the validator's work; checked with BITDIAL_CHECK)
struct EmbeddingArgs {
  const DenseWeight* dense = nullptr;
  const BcqWeight* bcq = nullptr;
  const int32_t* token_ids = nullptr;  // [num_tokens]
  const uint8_t* bits = nullptr;       // [num_tokens], ignored for dense
  Matrix<float> out;
};
using EmbeddingFn = void (*)(const EmbeddingArgs&, Stream&) noexcept;

}  // namespace bitdial::kernels
