// The functions behind the rows of the dense weight format.
#pragma once

#include "kernels/ops/embedding/embedding.h"
#include "kernels/ops/linear/linear.h"

namespace bitdial::kernels {

void DenseLinearRef(const LinearArgs& args, Stream& stream) noexcept;
void DenseEmbeddingRef(const EmbeddingArgs& args, Stream& stream) noexcept;

}  // namespace bitdial::kernels
