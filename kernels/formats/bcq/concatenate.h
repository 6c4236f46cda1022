// Several weights of one input as one: q, k and v, or gate and up, are then one kernel call, with
// one set of tables and one parallel region.
#pragma once

#include <span>

#include "kernels/core/status.h"
#include "kernels/ops/linear/linear.h"

namespace bitdial::kernels {

// True when the weights have the same in_features, group size, planes and sets of scales, and every
// one but the last fills its tiles of 64 outputs: then the kernel layout of the whole is theirs one
// after the other, and each output is computed as it was.
bool CanConcatenate(std::span<const BcqWeight* const> parts);

// The outputs of all parts in order. Where one part has a beta, the others get zeros.
// Requires  CanConcatenate. Errors  RESOURCE_EXHAUSTED.
absl::StatusOr<BcqWeight> Concatenate(std::span<const BcqWeight* const> parts);

}  // namespace bitdial::kernels
