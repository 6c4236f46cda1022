// The functions behind the rows of the dense weight format.
#pragma once

#include "kernels/ops/embedding/embedding.h"
#include "kernels/ops/linear/linear.h"

namespace bitdial::kernels {

// In double, one rounding at the end.
void DenseLinearRef(const LinearArgs& args, Stream& stream) noexcept;
void DenseEmbeddingRef(const EmbeddingArgs& args, Stream& stream) noexcept;

// Prompt rows: W is packed to panels once for up to 192 rows (chain_linear.h). Compute-bound from
// about 16 rows on.
void DensePromptAvx2(const LinearArgs& args, Stream& stream) noexcept;
void DensePromptAvx512(const LinearArgs& args, Stream& stream) noexcept;

// Decode rows: dot products along W as it lies, each weight read once for all rows. Bandwidth-bound
// at one row.
void DenseDecodeAvx2(const LinearArgs& args, Stream& stream) noexcept;
void DenseDecodeAvx512(const LinearArgs& args, Stream& stream) noexcept;

void DenseEmbeddingAvx2(const EmbeddingArgs& args, Stream& stream) noexcept;
void DenseEmbeddingAvx512(const EmbeddingArgs& args, Stream& stream) noexcept;

}  // namespace bitdial::kernels
