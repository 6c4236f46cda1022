// What one request adds to the metrics.
#pragma once

#include <string>
#include <vector>

#include "engine/request.h"
#include "server/metrics/metrics.h"

namespace bitdial::server {

// Made when the request is accepted: its times begin there.
// Thread   OnToken and OnFinish: the engine thread, which they never hold up; OnEnd: any, once,
// last.
class RequestMetrics {
 public:
  RequestMetrics(Metrics& metrics, const engine::Request& request);

  void OnToken(const engine::TokenEvent& token);
  void OnFinish(const engine::FinishEvent& finish);
  // status and reason: as Metrics::CountEnd has them.
  void OnEnd(const std::string& status, const std::string& reason);

 private:
  Metrics& metrics_;
  const int bits_;  // asked for
  const engine::Clock::time_point accepted_ = engine::Clock::now();
  bool has_token_ = false;
  std::vector<engine::Clock::time_point> last_token_;  // [choice]; the epoch: none yet
};

}  // namespace bitdial::server
