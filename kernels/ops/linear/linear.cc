#include "kernels/ops/linear/linear.h"

#include "kernels/core/check.h"

namespace bitdial::kernels {

const BcqScales& BcqWeight::ScalesFor(int bits) const {
  BITDIAL_CHECK(!scales.empty());
  const BcqScales* best = &scales.front();
  for (const BcqScales& set : scales) {
    if (set.bits <= bits) best = &set;
  }
  return *best;
}

int64_t BcqWeight::ScaleBytes() const {
  size_t num_bytes = 0;
  for (const BcqScales& set : scales) num_bytes += set.NumBytes();
  return static_cast<int64_t>(num_bytes);
}

}  // namespace bitdial::kernels
