// One request of a load on its way.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <vector>

#include "bitdial/v1/inference.grpc.pb.h"
#include "server/cli/connection.h"
#include "server/cli/load/outcome.h"

namespace bitdial::server {

// Must outlive its call: from Start to the end of on_done. Callbacks come on gRPC's threads, one at
// a time.
class LoadStream final : public grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  using SteadyTime = std::chrono::steady_clock::time_point;
  using OnDoneFunction = std::function<void(const LoadStream*, Outcome)>;

  // load_start: where the seconds of outcomes begin. on_done: called once, on a thread of gRPC; it
  // may destroy the stream.
  LoadStream(const LoadRequest& request, const std::vector<int32_t>& prompt_ids,
             SteadyTime load_start, OnDoneFunction on_done);

  const LoadRequest& request() const { return outcome_.request; }
  // For a closed load, before Start.
  void SetDue(double arrival_s) { outcome_.request.arrival_s = arrival_s; }
  // on_done may run before Start returns.
  void Start(const Connection& connection, v1::InferenceService::Stub& stub,
             std::optional<int64_t> deadline_ms);
  // After Start; any thread. The outcome is kUnfinished, unless the end was on its way.
  void Cancel();

 private:
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;
  double NowS() const;
  Ending EndingOf(const grpc::Status& status);

  const SteadyTime load_start_;
  OnDoneFunction on_done_;
  grpc::ClientContext context_;
  v1::GenerateRequest message_;
  v1::GenerateResponse response_;
  Outcome outcome_;
  bool has_finish_ = false;
  std::atomic<bool> is_cancelled_{false};
};

}  // namespace bitdial::server
