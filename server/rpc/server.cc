#include "server/rpc/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/resource_quota.h>

#include <mutex>

#include "server/config/address.h"
#include "server/rpc/byte_buffer.h"

namespace bitdial::server {
namespace {

// How long calls that the engine has already ended may take to reach their clients at shutdown.
constexpr std::chrono::seconds kFlushTimeout(2);

// Plugins are process-wide in gRPC and must be set before the first server is built.
void EnablePlugins() {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

void SetLimits(const ServerConfig& config, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(config.max_message_bytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE,
                             static_cast<int>(config.max_metadata_bytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             static_cast<int>(config.max_concurrent_streams));
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT,
                             0);  // a second server on one port is an error, not a lottery
  // A peer that vanished is noticed within 80 s; a client may ping every 10 s, more often ends its
  // connection.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
  // A compressed message is bounded before it is inflated, not after: prompts gain little, so none
  // is taken.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  grpc::ResourceQuota quota("bitdial");
  quota.Resize(static_cast<size_t>(config.max_rpc_memory_bytes));
  builder.SetResourceQuota(quota);
}

}  // namespace

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(const ServerConfig& config) {
  BITDIAL_RETURN_IF_ERROR(CheckConfig(config));
  BITDIAL_ASSIGN_OR_RETURN(const Address address, ParseAddress(config.listen, "listen"));
  setenv("GRPC_VERBOSITY", "NONE",
         /*overwrite=*/0);  // what it has to say, ExplainBindFailure says better
  SilenceProtobuf();
  EnablePlugins();
  std::unique_ptr<RpcServer> server(new RpcServer(config));
  if (!config.metrics_listen.empty()) {
    BITDIAL_ASSIGN_OR_RETURN(server->metrics_server_,
                             MetricsServer::Start(config.metrics_listen, server->metrics_));
  }
  grpc::ServerBuilder builder;
  builder.AddListeningPort(config.listen, grpc::InsecureServerCredentials(), &server->port_);
  builder.RegisterService(&server->service_);
  SetLimits(config, builder);
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || server->port_ == 0) {
    return ResourceExhausted("cannot listen on {}: {}", config.listen, ExplainBindFailure(address));
  }
  server->health_ =
      std::make_unique<Health>(*server->server_->GetHealthCheckService(), *server->metrics_,
                               std::chrono::seconds(config.stall_timeout_s));
  server->address_ =
      config.listen.substr(0, config.listen.rfind(':') + 1) + std::to_string(server->port_);
  return server;
}

RpcServer::~RpcServer() {
  metrics_server_.reset();  // its answers are made of the model
  if (server_ == nullptr) return;
  health_.reset();
  service_.BeginDrain();
  server_->Shutdown(std::chrono::system_clock::now() + kFlushTimeout);
  server_->Wait();
}

void RpcServer::Serve(const ServedModel& model) {
  engine_ = model.engine.get();
  service_.Serve(model);
  metrics_->Serve(model);
  health_->Serve(*engine_);
}

int64_t RpcServer::Drain(std::chrono::seconds timeout) {
  health_->Drain();
  service_.BeginDrain();
  return engine_ == nullptr ? 0 : engine_->Drain(engine::Clock::now() + timeout);
}

}  // namespace bitdial::server
