#include "server/rpc/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/resource_quota.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include "server/config/address.h"
#include "server/rpc/byte_buffer.h"

namespace bitdial::server {
namespace {

// How long calls that the engine has already ended may take to reach their clients at shutdown.
constexpr std::chrono::seconds kFlushTimeout(2);

// Reflection's streams each hold a thread; this many at a time, more are refused. Everything else
// is callbacks.
constexpr int kMaxSyncThreads = 16;

// Plugins are process-wide in gRPC and must be set before the first server is built.
void EnablePlugins() {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

// Takes reflection out of one server; it is in every server of a process that links it.
class WithoutReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    const auto is_reflection = [](const std::unique_ptr<grpc::ServerBuilderPlugin>& plugin) {
      return dynamic_cast<grpc::reflection::ProtoServerReflectionPlugin*>(plugin.get()) != nullptr;
    };
    plugins->erase(std::remove_if(plugins->begin(), plugins->end(), is_reflection), plugins->end());
  }
};

bool HasReflection(const ServerConfig& config) {
  return config.reflection == "on" || (config.reflection == "auto" && config.keys_file.empty());
}

// 0 seconds: gRPC's default, which is never.
void SetMilliseconds(const char* argument, int64_t seconds, grpc::ServerBuilder& builder) {
  constexpr int64_t kMax = INT_MAX;
  if (seconds == 0) return;
  builder.AddChannelArgument(argument, static_cast<int>(std::min(seconds * 1000, kMax)));
}

// gRPC takes over a socket file that is there, also one that somebody listens on.
absl::Status CheckUnixSocket(const std::string& address) {
  const std::string path = address.substr(address.find(':') + 1);
  sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof(name.sun_path) - 1);
  const auto* const where = reinterpret_cast<const sockaddr*>(&name);
  struct stat there = {};
  if (lstat(path.c_str(), &there) == 0 && !S_ISSOCK(there.st_mode)) {
    return ResourceExhausted("cannot listen on {}: a file that is no socket is there", address);
  }
  const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool is_taken = connect(probe, where, sizeof(name)) == 0;
  const bool is_stale = !is_taken && errno == ECONNREFUSED;
  if (is_stale) unlink(path.c_str());
  const bool is_free = !is_taken && bind(probe, where, sizeof(name)) == 0;
  const int error = is_taken ? EADDRINUSE : errno;
  if (is_free) unlink(path.c_str());
  close(probe);
  if (is_free) return absl::OkStatus();
  return ResourceExhausted("cannot listen on {}: {}", address, std::strerror(error));
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
  SetMilliseconds(GRPC_ARG_MAX_CONNECTION_IDLE_MS, config.max_connection_idle_s, builder);
  SetMilliseconds(GRPC_ARG_MAX_CONNECTION_AGE_MS, config.max_connection_age_s, builder);
  SetMilliseconds(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, config.max_connection_age_grace_s, builder);
  grpc::ResourceQuota quota("bitdial");
  quota.Resize(static_cast<size_t>(config.max_rpc_memory_bytes));
  quota.SetMaxThreads(kMaxSyncThreads);
  builder.SetResourceQuota(quota);
}

// `address` is one of the configuration, with what the messages call it; the port taken goes into
// `port`.
absl::StatusOr<std::unique_ptr<grpc::Server>> Listen(
    const ServerConfig& config, const std::string& address,
    const std::shared_ptr<grpc::ServerCredentials>& credentials, grpc::Service& service,
    int& port) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, credentials, &port);
  builder.RegisterService(&service);
  SetLimits(config, builder);
  if (!HasReflection(config)) builder.SetOption(std::make_unique<WithoutReflection>());
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server != nullptr && port != 0) return server;
  const auto parsed = ParseAddress(address, "listen");
  return ResourceExhausted("cannot listen on {}: {}", address,
                           parsed.ok() ? ExplainBindFailure(*parsed) : "gRPC gives no reason");
}

std::string WithPort(const std::string& address, int port) {
  return address.substr(0, address.rfind(':') + 1) + std::to_string(port);
}

}  // namespace

RpcServer::RpcServer(const ServerConfig& config, std::unique_ptr<Security> security,
                     std::function<void()> drain)
    : security_(std::move(security)),
      service_(config, security_->keys(), *metrics_),
      admin_service_({.keys = security_->keys(),
                      .active = service_.active(),
                      .is_draining = [this] { return service_.is_draining(); },
                      .drain = drain ? std::move(drain) : [] {}}) {}

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(const ServerConfig& config,
                                                            std::function<void()> drain) {
  BITDIAL_RETURN_IF_ERROR(CheckConfig(config));
  setenv("GRPC_VERBOSITY", "NONE",
         /*overwrite=*/0);  // what it has to say, ExplainBindFailure says better
  SilenceProtobuf();
  EnablePlugins();
  BITDIAL_ASSIGN_OR_RETURN(std::unique_ptr<Security> security, Security::Open(config));
  std::unique_ptr<RpcServer> server(new RpcServer(config, std::move(security), std::move(drain)));
  if (!config.metrics_listen.empty()) {
    BITDIAL_ASSIGN_OR_RETURN(server->metrics_server_,
                             MetricsServer::Start(config.metrics_listen, server->metrics_));
  }
  BITDIAL_ASSIGN_OR_RETURN(server->server_,
                           Listen(config, config.listen, server->security_->credentials(),
                                  server->service_, server->port_));
  server->health_ =
      std::make_unique<Health>(*server->server_->GetHealthCheckService(), *server->metrics_,
                               std::chrono::seconds(config.stall_timeout_s));
  server->address_ = WithPort(config.listen, server->port_);
  if (!config.admin_listen.empty()) BITDIAL_RETURN_IF_ERROR(server->StartAdmin(config));
  return server;
}

absl::Status RpcServer::StartAdmin(const ServerConfig& config) {
  int port = 0;
  if (IsUnixAddress(config.admin_listen)) {
    BITDIAL_RETURN_IF_ERROR(CheckUnixSocket(config.admin_listen));
    // The socket is its owner's alone from its first moment on. No other thread of ours makes files
    // now.
    const mode_t mask = umask(0177);
    auto listening = Listen(config, config.admin_listen, grpc::InsecureServerCredentials(),
                            admin_service_, port);
    umask(mask);
    BITDIAL_ASSIGN_OR_RETURN(admin_server_, std::move(listening));
    admin_address_ = config.admin_listen;
    return absl::OkStatus();
  }
  BITDIAL_ASSIGN_OR_RETURN(admin_server_, Listen(config, config.admin_listen,
                                                 security_->credentials(), admin_service_, port));
  admin_address_ = WithPort(config.admin_listen, port);
  return absl::OkStatus();
}

RpcServer::~RpcServer() {
  metrics_server_.reset();  // its answers are made of the model
  if (server_ == nullptr) return;
  health_.reset();
  service_.BeginDrain();
  server_->Shutdown(std::chrono::system_clock::now() + kFlushTimeout);
  server_->Wait();
  if (admin_server_ == nullptr) return;
  admin_server_->Shutdown(std::chrono::system_clock::now() + kFlushTimeout);
  admin_server_->Wait();
}

void RpcServer::Serve(const ServedModel& model) {
  engine_ = model.engine.get();
  service_.Serve(model);
  admin_service_.Serve(model);
  metrics_->Serve(model);
  health_->Serve(*engine_);
}

int64_t RpcServer::Drain(std::chrono::seconds timeout) {
  health_->Drain();
  service_.BeginDrain();
  return engine_ == nullptr ? 0 : engine_->Drain(engine::Clock::now() + timeout);
}

}  // namespace bitdial::server
