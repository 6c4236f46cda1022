// The rows of a call by the scale set they use.
#pragma once

#include "kernels/core/check.h"
#include "kernels/formats/bcq/prepare.h"

namespace bitdial::kernels::bcq {

// Rows [begin, begin + count) of the call use `set`.
struct Segment {
  ScaleView set;
  int64_t begin;
  int64_t count;
};

// The segments of `rows` starting at row `first`: at most one for each of 8 bits, as bits descend.
inline int64_t SplitByBits(const LinearArgs& args, int64_t first, int64_t num_rows,
                           Segment* segments) {
  int64_t count = 0;
  for (int64_t r = first; r < first + num_rows; ++r) {
    const ScaleView set = ViewOf(args.bcq->ScalesFor(args.bits[r]));
    if (count > 0 && segments[count - 1].set.bits == set.bits) {
      ++segments[count - 1].count;
      continue;
    }
    BITDIAL_CHECK(count == 0 || set.bits < segments[count - 1].set.bits);
    segments[count++] = {set, r, 1};
  }
  return count;
}

}  // namespace bitdial::kernels::bcq
