// Percentiles.
#pragma once

#include <cstdint>
#include <vector>

namespace bitdial::server {

// The nearest rank: the least sample that at least `percent` percent of the samples do not exceed.
// It is always a sample, never between two.
// sorted: ascending, not empty. percent: (0, 100].
double Percentile(const std::vector<double>& sorted, double percent);

// All 0 when there is no sample.
struct Distribution {
  int64_t count = 0;
  double mean = 0, p50 = 0, p90 = 0, p95 = 0, p99 = 0, max = 0;
};
Distribution MakeDistribution(std::vector<double> samples);

}  // namespace bitdial::server
