// The gRPC servers around the services: ports, TLS, limits, health, reflection, shutdown.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "kernels/core/status.h"
#include "server/config/config.h"
#include "server/metrics/metrics_server.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/health.h"
#include "server/rpc/inference_service.h"
#include "server/security/security.h"

namespace bitdial::server {

// Listens from Start on, so that a port clash is known before a model is loaded; health is
// NOT_SERVING and calls answer UNAVAILABLE until Serve. So does metrics_listen, where there is one.
class RpcServer {
 public:
  // Errors  RESOURCE_EXHAUSTED the address cannot be had (says why); INVALID_ARGUMENT a bad
  // address; those of Security::Open.
  // drain: what AdminService's Drain does; empty: nothing.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(const ServerConfig& config,
                                                          std::function<void()> drain = {});
  // Cancels what is left.
  ~RpcServer();

  int port() const { return port_; }
  std::string address() const { return address_; }  // ADDR:PORT with the real port
  std::string security() const { return security_->Describe(); }
  std::string admin_address() const { return admin_address_; }  // "": there is no admin service
  // Likewise of metrics_listen; "": there is none.
  std::string metrics_address() const {
    return metrics_server_ == nullptr ? "" : metrics_server_->address();
  }

  // Begins to answer for `model`, which outlives the server's shutdown; health turns SERVING.
  void Serve(const ServedModel& model);

  // Health turns NOT_SERVING and new requests get UNAVAILABLE; then waits for the running ones
  // until `timeout` has passed and cancels the rest with UNAVAILABLE. Returns how many were
  // cancelled. The port stays open meanwhile.
  int64_t Drain(std::chrono::seconds timeout);

 private:
  RpcServer(const ServerConfig& config, std::unique_ptr<Security> security,
            std::function<void()> drain);
  absl::Status StartAdmin(const ServerConfig& config);

  const std::shared_ptr<Metrics> metrics_ = std::make_shared<Metrics>();
  const std::unique_ptr<Security> security_;
  InferenceService service_;
  AdminService admin_service_;
  engine::Engine* engine_ = nullptr;
  std::string address_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::string admin_address_;
  std::unique_ptr<grpc::Server> admin_server_;  // nullptr: none
  std::unique_ptr<Health> health_;
  std::unique_ptr<MetricsServer> metrics_server_;  // nullptr: none
};

}  // namespace bitdial::server
