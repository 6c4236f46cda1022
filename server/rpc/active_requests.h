// The Generate and Chat requests that are open: who may have how many, by which names, and how one
// is cancelled.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/core/status.h"
#include "server/security/key_file.h"

namespace bitdial::server {

enum class Method { kGenerate, kChat };
const char* Name(Method method);  // "Generate", "Chat"

struct RequestFacts {
  std::string request_id;  // ours, unique in the process: what state is keyed by (CVE-2026-105755)
  std::string
      client_request_id;  // a label; empty: none. Unique among its principal's active requests
  std::string principal;  // empty: anonymous
  Method method = Method::kGenerate;
  int32_t num_prompt_tokens = 0;
  int weight_bits = 0;
};

class ActiveRequests;

// A place in ActiveRequests, held until destruction. Thread   any.
class ActiveRequest {
 public:
  ~ActiveRequest();
  ActiveRequest(const ActiveRequest&) = delete;
  ActiveRequest& operator=(const ActiveRequest&) = delete;

  void CountToken() { num_tokens_.fetch_add(1, std::memory_order_relaxed); }

 private:
  friend class ActiveRequests;
  ActiveRequest(ActiveRequests& owner, RequestFacts facts, std::function<void(absl::Status)> cancel)
      : owner_(owner), facts_(std::move(facts)), cancel_(std::move(cancel)) {}

  ActiveRequests& owner_;
  const RequestFacts facts_;
  const std::function<void(absl::Status)> cancel_;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  std::atomic<int64_t> num_tokens_{0};
};

// Thread   any. Outlives its requests.
class ActiveRequests {
 public:
  explicit ActiveRequests(int64_t max_requests)
      : max_requests_(static_cast<size_t>(max_requests)) {}

  // cancel: ends the request with the status, in any state; called on the canceller's thread,
  // without a lock of ours. It must do nothing once the request is over. Errors  ALREADY_EXISTS
  // principal has an active request of this client_request_id
  //         RESOURCE_EXHAUSTED max_requests are active, or max_concurrent_requests of this
  //         principal's
  absl::StatusOr<std::unique_ptr<ActiveRequest>> Add(RequestFacts facts, const Principal& principal,
                                                     std::function<void(absl::Status)> cancel);

  // Cancels what is called `id` by us or by its client. principal nullopt: anybody's. Returns how
  // many.
  int32_t Cancel(const std::string& id, const std::optional<std::string>& principal);

  struct Snapshot {
    RequestFacts facts;
    double age_s = 0;
    int64_t num_tokens = 0;
  };
  // At most `max_count`, in the order of our ids as text.
  std::vector<Snapshot> List(size_t max_count) const;
  int64_t size() const;

 private:
  friend class ActiveRequest;
  void Remove(const ActiveRequest& request);

  const size_t max_requests_;
  mutable std::mutex mutex_;
  std::map<std::string, ActiveRequest*> by_id_;
  // Of each principal with active requests: theirs by the client's names, and how many in all.
  std::map<std::pair<std::string, std::string>, ActiveRequest*> by_client_id_;
  std::map<std::string, int64_t> num_of_principal_;
};

}  // namespace bitdial::server
