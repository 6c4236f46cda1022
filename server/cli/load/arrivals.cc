#include "server/cli/load/arrivals.h"

#include <cmath>

namespace bitdial::server {

double Arrivals::Next() {
  const int64_t index = index_++;
  // Evenly spaced times are products, not sums, so that rounding does not add up.
  if (kind_ == ArrivalKind::kConstant) return static_cast<double>(index) / rate_;
  if (kind_ == ArrivalKind::kBurst) {
    return static_cast<double>(index / burst_ * burst_) / rate_;
  }
  if (index > 0) at_s_ -= std::log1p(-draw_.Unit()) / rate_;
  return at_s_;
}

}  // namespace bitdial::server
