// The rows whose logits are wanted, out of a step's hidden states.
#pragma once

#include <cstring>
#include <span>

#include "engine/batch.h"
#include "kernels/core/view.h"

namespace bitdial::engine {

// Shapes  hidden [num_tokens, hidden_size], out [wanted.size(), hidden_size]
inline void GatherRows(Matrix<const float> hidden, std::span<const LogitsRow> wanted,
                       Matrix<float> out) {
  for (size_t i = 0; i < wanted.size(); ++i) {
    std::memcpy(out.Row(static_cast<int64_t>(i)), hidden.Row(wanted[i].row),
                static_cast<size_t>(hidden.cols) * sizeof(float));
  }
}

}  // namespace bitdial::engine
