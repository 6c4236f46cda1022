// What grpc.health.v1 answers: SERVING while a model is loaded, the engine makes progress and
// nobody has asked the server to end.
#pragma once

#include <grpcpp/health_check_service_interface.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "engine/engine.h"
#include "server/metrics/metrics.h"

namespace bitdial::server {

// A process can hang with its port open. So a thread asks the engine how long it has had work and
// ended no step; past the timeout health turns NOT_SERVING, with a log line, and back when a step
// ends. Names: "" (the process) and "bitdial.v1.InferenceService", always alike.
// Thread   Serve, Drain: any.
class Health {
 public:
  // NOT_SERVING from now on. stall_timeout 0: the engine is not watched. Both references outlive
  // this.
  Health(grpc::HealthCheckServiceInterface& service, Metrics& metrics,
         std::chrono::milliseconds stall_timeout);
  ~Health();

  // SERVING, and the watch begins. Called once; the engine outlives this.
  void Serve(const engine::Engine& engine);
  // NOT_SERVING for good.
  void Drain();

 private:
  void Watch(const engine::Engine& engine);
  void Publish();  // needs mutex_

  grpc::HealthCheckServiceInterface& service_;
  Metrics& metrics_;
  const std::chrono::milliseconds stall_timeout_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_ready_ = false;
  bool is_stalled_ = false;
  bool is_draining_ = false;
  bool is_stopping_ = false;
  std::thread watchdog_;  // last: it uses the members above
};

}  // namespace bitdial::server
