// When the requests of an open load arrive: at times that follow from a seed, whatever the server
// does.
#pragma once

#include <cstdint>

#include "server/cli/load/draw.h"

namespace bitdial::server {

enum class ArrivalKind {
  kPoisson,   // independent users: exponential gaps
  kBurst,     // groups at one instant, the groups evenly apart
  kConstant,  // evenly apart
  kClosed,    // so many clients, each asking again when it is answered; no times of its own
};

class Arrivals {
 public:
  // kind: not kClosed. rate: requests/s on average, > 0. burst: requests of a group, >= 1.
  Arrivals(ArrivalKind kind, double rate, int64_t burst, uint64_t seed)
      : kind_(kind), rate_(rate), burst_(burst), draw_(seed, /*stream=*/~uint64_t{0}) {}

  // Seconds after the start of the load; never less than the one before. The first is 0.
  double Next();

 private:
  const ArrivalKind kind_;
  const double rate_;
  const int64_t burst_;
  Draw draw_;
  int64_t index_ = 0;
  double at_s_ = 0;
};

}  // namespace bitdial::server
