// A histogram that the engine thread may write: prometheus-cpp's own takes a lock.
#pragma once

#include <prometheus/client_metric.h>

#include <array>
#include <atomic>
#include <cstdint>

namespace bitdial::server {

// Upper bounds, seconds: 1 ms, a token of a small model on a GPU, to 2560 s, a long answer of a
// large model on a CPU. Neighbours lie a factor of 2 to 2.5 apart.
inline constexpr std::array<double, 21> kSecondsBuckets = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,  1,   2.5,
    5,     10,     20,    40,   80,    160,  320, 640,  1280, 2560};

// Counts durations. Never blocks, allocates or takes a lock.
// Thread   any. A scrape beside an Observe may see its bucket and not yet its sum.
class SecondsHistogram {
 public:
  // Negative and NaN count as 0: a clock of ours does not run backwards.
  void Observe(double seconds);
  prometheus::ClientMetric Collect() const;

 private:
  std::array<std::atomic<uint64_t>, kSecondsBuckets.size() + 1> counts_{};  // the last: beyond
  std::atomic<double> sum_{0};
};

}  // namespace bitdial::server
