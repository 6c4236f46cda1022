#include "server/rpc/active_requests.h"

#include "server/rpc/rpc_status.h"

namespace bitdial::server {

const char* Name(Method method) { return method == Method::kGenerate ? "Generate" : "Chat"; }

ActiveRequest::~ActiveRequest() { owner_.Remove(*this); }

absl::StatusOr<std::unique_ptr<ActiveRequest>> ActiveRequests::Add(
    RequestFacts facts, const Principal& principal, std::function<void(absl::Status)> cancel) {
  std::unique_ptr<ActiveRequest> request(
      new ActiveRequest(*this, std::move(facts), std::move(cancel)));
  const RequestFacts& named = request->facts_;
  absl::Status refused;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto counted = num_of_principal_.find(named.principal);
    const int64_t num_theirs = counted == num_of_principal_.end() ? 0 : counted->second;
    const int64_t max_theirs = principal.max_concurrent_requests;
    if (by_client_id_.count({named.principal, named.client_request_id}) > 0) {
      refused =
          WithReason(AlreadyExists("request_id \"{}\" is running already; wait for it, cancel "
                                   "it, or give another",
                                   named.client_request_id),
                     kReasonDuplicateId);
    } else if (max_theirs > 0 && num_theirs >= max_theirs) {
      refused = WithQuota(
          WithReason(
              ResourceExhausted("this API key has {} requests open, as many as it may", num_theirs),
              kReasonConcurrencyLimit),
          "key:" + named.principal, fmt::format("max_concurrent_requests {}", max_theirs));
    } else if (by_id_.size() >= max_requests_) {
      refused = WithQuota(
          WithReason(ResourceExhausted("the server has {} requests open, as many as it takes "
                                       "(max_active_requests)",
                                       max_requests_),
                     kReasonQueueFull),
          "server", fmt::format("max_active_requests {}", max_requests_));
    } else {
      by_id_.emplace(named.request_id, request.get());
      ++num_of_principal_[named.principal];
      if (!named.client_request_id.empty())
        by_client_id_.emplace(std::pair(named.principal, named.client_request_id), request.get());
    }
  }
  if (!refused.ok())
    return refused;  // after the lock: what goes takes it, and finds nothing to remove
  return request;
}

void ActiveRequests::Remove(const ActiveRequest& request) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const RequestFacts& facts = request.facts_;
  const auto found = by_id_.find(facts.request_id);
  if (found == by_id_.end() || found->second != &request) return;  // was refused
  by_id_.erase(found);
  if (!facts.client_request_id.empty())
    by_client_id_.erase({facts.principal, facts.client_request_id});
  const auto counted = num_of_principal_.find(facts.principal);
  if (--counted->second == 0) num_of_principal_.erase(counted);
}

int32_t ActiveRequests::Cancel(const std::string& id, const std::optional<std::string>& principal) {
  std::vector<std::function<void(absl::Status)>> cancels;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [request_id, request] : by_id_) {
      const RequestFacts& facts = request->facts_;
      if (principal.has_value() && facts.principal != *principal) continue;
      if (request_id == id || (!id.empty() && facts.client_request_id == id))
        cancels.push_back(request->cancel_);
    }
  }
  for (const auto& cancel : cancels)
    cancel(WithReason(absl::CancelledError("cancelled by a call of Cancel"), kReasonCancelCalled));
  return static_cast<int32_t>(cancels.size());
}

std::vector<ActiveRequests::Snapshot> ActiveRequests::List(size_t max_count) const {
  const auto now = std::chrono::steady_clock::now();
  std::vector<Snapshot> list;
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [id, request] : by_id_) {
    if (list.size() == max_count) break;
    list.push_back({.facts = request->facts_,
                    .age_s = std::chrono::duration<double>(now - request->began_).count(),
                    .num_tokens = request->num_tokens_.load(std::memory_order_relaxed)});
  }
  return list;
}

int64_t ActiveRequests::size() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return static_cast<int64_t>(by_id_.size());
}

}  // namespace bitdial::server
