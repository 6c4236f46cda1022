#include "server/metrics/metrics_server.h"

#include <netdb.h>
#include <prometheus/exposer.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "server/config/address.h"

namespace bitdial::server {
namespace {

// One scrape at a time is the rule; a second thread answers while a first client dawdles.
constexpr char kNumThreads[] = "2";
constexpr char kRequestTimeoutMs[] = "5000";

// Connects, and says nothing.
void Knock(const std::string& listen) {
  const absl::StatusOr<Address> address = ParseAddress(listen, "metrics_listen");
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (!address.ok() || getaddrinfo(address->host.c_str(), std::to_string(address->port).c_str(),
                                   &hints, &found) != 0) {
    return;
  }
  const int socket_fd =
      socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (socket_fd >= 0) {
    (void)connect(socket_fd, found->ai_addr, found->ai_addrlen);
    close(socket_fd);
  }
  freeaddrinfo(found);
}

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(
    const std::string& listen, std::shared_ptr<Metrics> metrics) {
  BITDIAL_ASSIGN_OR_RETURN(const Address address, ParseAddress(listen, "metrics_listen"));
  std::unique_ptr<MetricsServer> server(new MetricsServer);
  try {
    server->exposer_ = std::make_unique<prometheus::Exposer>(
        std::vector<std::string>{"listening_ports", listen, "num_threads", kNumThreads,
                                 "request_timeout_ms", kRequestTimeoutMs});
  } catch (const std::exception&) {  // its text names neither address nor reason
    return ResourceExhausted("metrics_listen {}: cannot listen there: {}", listen,
                             ExplainBindFailure(address));
  }
  server->metrics_ = std::move(metrics);
  server->exposer_->RegisterCollectable(server->metrics_);
  const std::vector<int> ports = server->exposer_->GetListeningPorts();
  server->address_ = listen.substr(0, listen.rfind(':') + 1) +
                     std::to_string(ports.empty() ? address.port : ports.front());
  return server;
}

// The library's accepting thread looks every 2 s whether it shall end, or when somebody comes:
// knock.
MetricsServer::~MetricsServer() {
  std::atomic<bool> is_closed{false};
  std::thread knocker([&] {
    while (!is_closed) {
      Knock(address_);
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  });
  exposer_.reset();
  is_closed = true;
  knocker.join();
}

}  // namespace bitdial::server
