// Seeded numbers that are the same on every machine; the standard library's distributions are not.
#pragma once

#include <cstdint>

namespace bitdial::server {

// SplitMix64. Draw(seed, n) for n = 0, 1, ... are streams of their own.
class Draw {
 public:
  explicit Draw(uint64_t seed, uint64_t stream = 0) : state_(seed) {
    state_ = Next() ^ (stream * 0xD1B54A32D192ED03u);
  }

  uint64_t Next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  // In [0, 1).
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1p-53; }
  // In [min, max], every value as likely as the next one; max - min < 2^32.
  int64_t In(int64_t min, int64_t max) {
    const uint64_t span = static_cast<uint64_t>(max - min) + 1;
    return min + static_cast<int64_t>(((Next() >> 32) * span) >> 32);
  }

 private:
  uint64_t state_;
};

}  // namespace bitdial::server
