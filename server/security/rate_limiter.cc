#include "server/security/rate_limiter.h"

#include <algorithm>
#include <cmath>

namespace bitdial::server {

std::optional<std::chrono::milliseconds> RateLimiter::Take(const std::string& name,
                                                           int64_t per_minute,
                                                           Clock::time_point now) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (buckets_.size() >= kMaxBuckets) ForgetFull(now);
  const auto full = Bucket{static_cast<double>(per_minute), per_minute, now};
  Bucket& bucket = buckets_.try_emplace(name, full).first->second;
  Fill(bucket, per_minute, now);
  if (bucket.num_left >= 1) {
    bucket.num_left -= 1;
    return std::nullopt;
  }
  const double wait_ms = (1 - bucket.num_left) * 60'000 / static_cast<double>(per_minute);
  return std::chrono::milliseconds(static_cast<int64_t>(std::ceil(wait_ms)));
}

void RateLimiter::Fill(Bucket& bucket, int64_t per_minute, Clock::time_point now) {
  const double minutes = std::chrono::duration<double, std::ratio<60>>(now - bucket.filled).count();
  const double size = static_cast<double>(per_minute);
  bucket.num_left = std::min(bucket.num_left + std::max(minutes, 0.0) * size, size);
  bucket.per_minute = per_minute;
  bucket.filled = std::max(now, bucket.filled);
}

void RateLimiter::ForgetFull(Clock::time_point now) {
  for (auto it = buckets_.begin(); it != buckets_.end();) {
    Fill(it->second, it->second.per_minute, now);
    const bool is_full = it->second.num_left >= static_cast<double>(it->second.per_minute);
    it = is_full ? buckets_.erase(it) : std::next(it);
  }
}

}  // namespace bitdial::server
