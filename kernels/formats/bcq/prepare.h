// From the canonical AnyBCQ tensors of a checkpoint to the layout the BCQ kernels read (layout.h
// draws it).
#pragma once

#include <vector>

#include "kernels/core/status.h"
#include "kernels/core/thread_pool.h"
#include "kernels/formats/bcq/layout.h"
#include "kernels/ops/linear/linear.h"

namespace bitdial::kernels {

// The canonical tensors of one linear, as the AnyBCQ release stores them (views into a mapped
// file). beta may be an empty view (data == nullptr): all zeros.
struct CanonicalScales {
  int bits = 0;
  TensorView alpha;  // f16 (or f32) [in_features / group_size, bits, out_features]
  TensorView beta;   // f16 (or f32) [in_features / group_size, out_features]
};
struct CanonicalBcq {
  // i32 [in_features / 32, max_bits, out_features], bit t of word j is the sign of element 32 j + t
  TensorView codes;
  int64_t group_size = 0;
  std::vector<CanonicalScales> scales;  // ascending bits
};

// Copies one weight into kernel layout; nothing else is allocated. f32 scales are rounded to f16, a
// beta of zeros only is dropped, group_size -1 is not understood here (the reader resolves it).
// Errors  INVALID_ARGUMENT when shapes or dtypes do not fit each other, or a scale is not finite
//         or overflows f16; RESOURCE_EXHAUSTED without memory.
absl::StatusOr<BcqWeight> PrepareBcq(const CanonicalBcq& canonical, ThreadPool& pool);

namespace bcq {

// Strides of a prepared weight.
inline Layout LayoutOf(const BcqWeight& weight) {
  return MakeLayout(weight.in_features, weight.out_features, weight.group_size, weight.max_bits);
}

inline ScaleView ViewOf(const BcqScales& set) {
  return {.alpha = set.alpha.As<uint16_t>(),
          .beta = set.beta.As<uint16_t>(),
          .alpha_i8 = set.alpha_i8.As<int8_t>(),
          .unit = set.unit.As<uint16_t>(),
          .bits = set.bits};
}

}  // namespace bcq
}  // namespace bitdial::kernels
