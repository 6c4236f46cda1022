#include "server/cli/load/distribution.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace bitdial::server {

double Percentile(const std::vector<double>& sorted, double percent) {
  const double size = static_cast<double>(sorted.size());
  // percent * size first: 99 * 100 / 100 is exact, 0.99 * 100 is not.
  const double rank = std::clamp(std::ceil(percent * size / 100), 1.0, size);
  return sorted[static_cast<size_t>(rank) - 1];
}

Distribution MakeDistribution(std::vector<double> samples) {
  if (samples.empty()) return {};
  std::sort(samples.begin(), samples.end());
  Distribution d;
  d.count = static_cast<int64_t>(samples.size());
  d.mean = std::accumulate(samples.begin(), samples.end(), 0.0) / static_cast<double>(d.count);
  d.p50 = Percentile(samples, 50);
  d.p90 = Percentile(samples, 90);
  d.p95 = Percentile(samples, 95);
  d.p99 = Percentile(samples, 99);
  d.max = samples.back();
  return d;
}

}  // namespace bitdial::server
