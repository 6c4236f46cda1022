#include "server/rpc/health.h"

#include <algorithm>

#include "server/config/logging.h"

namespace bitdial::server {
namespace {

constexpr char kServiceName[] = "bitdial.v1.InferenceService";

}  // namespace

Health::Health(grpc::HealthCheckServiceInterface& service, Metrics& metrics,
               std::chrono::milliseconds stall_timeout)
    : service_(service), metrics_(metrics), stall_timeout_(stall_timeout) {
  Publish();
}

Health::~Health() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
  if (watchdog_.joinable()) watchdog_.join();
}

void Health::Serve(const engine::Engine& engine) {
  const std::lock_guard<std::mutex> lock(mutex_);
  is_ready_ = true;
  Publish();
  if (stall_timeout_.count() > 0) watchdog_ = std::thread([this, &engine] { Watch(engine); });
}

void Health::Drain() {
  const std::lock_guard<std::mutex> lock(mutex_);
  is_draining_ = true;
  Publish();
}

void Health::Watch(const engine::Engine& engine) {
  using std::chrono::milliseconds;
  const milliseconds interval = std::clamp(stall_timeout_ / 8, milliseconds(1), milliseconds(1000));
  const double timeout_s = std::chrono::duration<double>(stall_timeout_).count();
  std::unique_lock<std::mutex> lock(mutex_);
  while (!changed_.wait_for(lock, interval, [this] { return is_stopping_; })) {
    lock.unlock();
    const engine::EngineStats stats = engine.stats();
    lock.lock();
    const bool is_stalled = stats.seconds_without_progress > timeout_s;
    if (is_stalled == is_stalled_) continue;
    is_stalled_ = is_stalled;
    Publish();
    if (is_stalled) {
      spdlog::error(
          "the engine stalls: {} requests run and {} wait, and no step has ended for {:.1f} s "
          "(stall_timeout_s {:g}); health is NOT_SERVING until one ends",
          stats.num_running, stats.num_queued, stats.seconds_without_progress, timeout_s);
    } else {
      spdlog::warn("the engine makes progress again{}", is_draining_ ? "" : "; health is SERVING");
    }
  }
}

void Health::Publish() {
  const bool is_serving = is_ready_ && !is_stalled_ && !is_draining_;
  service_.SetServingStatus("", is_serving);
  service_.SetServingStatus(kServiceName, is_serving);
  metrics_.SetServing(is_serving);
}

}  // namespace bitdial::server
