// The references: double accumulation, product code and selectable (BITDIAL_FORCE_BACKEND=cpu_ref).
#pragma once

#include "kernels/ops/embedding/embedding.h"
#include "kernels/ops/linear/linear.h"

namespace bitdial::kernels::bcq {

// The formula as it is written, summed in double and rounded to fp32 once. Every plane is read once
// for 16 rows.
void LinearRef(const LinearArgs& args, Stream& stream) noexcept;

// Gathers row token_ids[t] from the planes, with the set of bits[t]. Exact up to one rounding a
// weight.
void EmbeddingRef(const EmbeddingArgs& args, Stream& stream) noexcept;

}  // namespace bitdial::kernels::bcq
