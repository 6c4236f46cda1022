#include "server/metrics/histogram.h"

#include <algorithm>
#include <limits>

namespace bitdial::server {

void SecondsHistogram::Observe(double seconds) {
  if (!(seconds >= 0)) seconds = 0;
  const auto bound = std::lower_bound(kSecondsBuckets.begin(), kSecondsBuckets.end(), seconds);
  const auto index = static_cast<size_t>(bound - kSecondsBuckets.begin());
  counts_[index].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(seconds, std::memory_order_relaxed);
}

prometheus::ClientMetric SecondsHistogram::Collect() const {
  prometheus::ClientMetric metric;
  uint64_t cumulative = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    cumulative += counts_[i].load(std::memory_order_relaxed);
    const bool is_last = i == kSecondsBuckets.size();
    metric.histogram.bucket.push_back(
        {cumulative, is_last ? std::numeric_limits<double>::infinity() : kSecondsBuckets[i]});
  }
  metric.histogram.sample_count = cumulative;
  metric.histogram.sample_sum = sum_.load(std::memory_order_relaxed);
  return metric;
}

}  // namespace bitdial::server
