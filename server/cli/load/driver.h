// Sends a workload to a server over gRPC and collects what became of it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "bitdial/v1/inference.grpc.pb.h"
#include "kernels/core/status.h"
#include "server/cli/connection.h"
#include "server/cli/load/load_stream.h"
#include "server/cli/load/outcome.h"

namespace bitdial::server {

// Beyond it a request is not sent and counts as failed: a client without a limit would run out of
// memory and file handles before it learnt anything.
inline constexpr size_t kMaxInFlight = 16384;

struct DriverOptions {
  ConnectionOptions connection = {};
  int connections = 8;                      // a server takes a limited number of streams on each
  std::optional<int64_t> deadline_ms = {};  // of each request
  double drain_timeout_s = 60;  // how long answers are waited for after the last request
};

// How far a run is, for whoever watches.
struct LoadProgress {
  double fraction = 0;  // of the sending, in [0, 1]
  int64_t sent = 0, in_flight = 0;
  std::map<Ending, int64_t> endings;
};

// Streams are driven by gRPC's own few threads, whatever their number. An open load is sent at its
// own times, however slow the answers are; a closed one as answers come. Thread  one; Stop: any.
class LoadDriver {
 public:
  explicit LoadDriver(DriverOptions options) : options_(std::move(options)) {}

  // Opens every connection and asks what is served.
  // Errors  UNAVAILABLE no server there; those of Connect (connection.h); else the server's own,
  //         INVALID_ARGUMENT where it refuses the key.
  absl::StatusOr<v1::GetModelResponse> Connect();

  // ADDR:PORT of the server, once it is asked.
  const std::string& address() const { return options_.connection.server; }

  // After Connect, once. on_progress is called some ten times a second on the calling thread.
  LoadResult Run(const Workload& workload, int64_t vocab_size,
                 std::function<void(const LoadProgress&)> on_progress);

  // Ends Run early: it sends no more and cancels what is in flight.
  void Stop();

 private:
  using Lock = std::unique_lock<std::mutex>;

  void SendAll(const Workload& workload, int64_t vocab_size);
  // False: the load is over.
  bool WaitForTurn(const Workload& workload, const LoadRequest& request);
  void Send(const std::shared_ptr<LoadStream>& stream);
  void Drain();
  LoadResult Collect(const Workload& workload);
  // Until is_done() or until_s, reporting progress. is_done is called under the lock.
  void WaitUntil(Lock& lock, double until_s, const std::function<bool()>& is_done);
  LoadProgress ProgressNow() const;  // under the lock
  void Finished(const LoadStream* stream, Outcome outcome);
  double NowS() const;

  DriverOptions options_;
  std::vector<Connection> connections_;
  std::vector<std::unique_ptr<v1::InferenceService::Stub>> stubs_;  // one a connection
  std::chrono::steady_clock::time_point start_;
  std::function<void(const LoadProgress&)> on_progress_;
  std::function<double(int64_t sent)> fraction_;
  double next_progress_s_ = 0;
  std::optional<double> first_counted_s_;  // when the first request that counts was due

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  bool is_stopped_ = false;
  std::map<const LoadStream*, std::shared_ptr<LoadStream>> in_flight_;
  std::vector<Outcome> outcomes_;
  LoadProgress progress_;
  int64_t max_in_flight_ = 0;
};

}  // namespace bitdial::server
