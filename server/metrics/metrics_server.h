// GET /metrics, as Prometheus asks.
#pragma once

#include <memory>
#include <string>

#include "kernels/core/status.h"
#include "server/metrics/metrics.h"

namespace prometheus {
class Exposer;
}

namespace bitdial::server {

// Plain HTTP on an address of its own, answered by two threads of its own. Beside ours the page has
// the exporter's own figures (exposer_*).
class MetricsServer {
 public:
  // Errors  RESOURCE_EXHAUSTED the address cannot be had (says why); INVALID_ARGUMENT a bad
  // address.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const std::string& listen,
                                                              std::shared_ptr<Metrics> metrics);
  ~MetricsServer();  // waits for a scrape in progress, at most its timeout of 5 s

  const std::string& address() const { return address_; }  // ADDR:PORT with the real port

 private:
  MetricsServer() = default;

  std::string address_;
  std::shared_ptr<Metrics> metrics_;
  std::unique_ptr<prometheus::Exposer> exposer_;
};

}  // namespace bitdial::server
