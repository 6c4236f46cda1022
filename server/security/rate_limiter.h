// Requests per minute of each caller: a bucket that holds a minute's worth and fills evenly.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace bitdial::server {

// Thread   any.
class RateLimiter {
 public:
  using Clock = std::chrono::steady_clock;

  // Takes one request of `name` at `now`. nullopt: taken; else how long until one can be.
  // per_minute: >= 1; when it changes, what the bucket holds stays, up to the new size.
  std::optional<std::chrono::milliseconds> Take(const std::string& name, int64_t per_minute,
                                                Clock::time_point now);

 private:
  struct Bucket {
    double num_left = 0;
    int64_t per_minute = 0;
    Clock::time_point filled;
  };
  static void Fill(Bucket& bucket, int64_t per_minute, Clock::time_point now);
  void ForgetFull(Clock::time_point now);  // needs mutex_

  // Names come from key files, of at most 4096; over the years of many files, full buckets are
  // dropped.
  static constexpr size_t kMaxBuckets = 8192;
  std::mutex mutex_;
  std::map<std::string, Bucket> buckets_;
};

}  // namespace bitdial::server
