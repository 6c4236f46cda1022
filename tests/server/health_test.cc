// Health from the engine's progress: an engine that hangs, and one that goes on again.
#include "server/rpc/health.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>

#include "tests/server/fakes.h"

namespace bitdial::server {
namespace {

using namespace std::chrono_literals;

// What a watcher of grpc.health.v1 would see.
class HealthService final : public grpc::HealthCheckServiceInterface {
 public:
  void SetServingStatus(const std::string& name, bool is_serving) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    serving_[name] = is_serving;
  }
  void SetServingStatus(bool) override {}
  void Shutdown() override {}
  bool IsServing(const std::string& name) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return serving_.at(name);
  }
  // Both names alike: waits until they are `is_serving`.
  bool Becomes(bool is_serving) {
    for (int i = 0; i < 4000; ++i) {
      if (IsServing("") == is_serving && IsServing("bitdial.v1.InferenceService") == is_serving)
        return true;
      std::this_thread::sleep_for(5ms);
    }
    return false;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, bool> serving_;
};

// Says of itself what a test tells it to.
class StallingEngine : public testing::FakeEngine {
 public:
  StallingEngine() : FakeEngine({}) {}
  engine::EngineStats stats() const override {
    engine::EngineStats stats;
    stats.num_running = 1;
    stats.seconds_without_progress = stalled_s;
    ++num_asked;
    return stats;
  }
  void WaitUntilAsked(int more) const {
    for (const int end = num_asked + more; num_asked < end;) std::this_thread::sleep_for(1ms);
  }
  std::atomic<double> stalled_s{0};
  mutable std::atomic<int> num_asked{0};
};

class HealthTest : public ::testing::Test {
 protected:
  double ServingMetric() const {
    for (const auto& family : metrics_.Collect()) {
      if (family.name == "bitdial_serving") return family.metric.at(0).gauge.value;
    }
    return -1;
  }
  HealthService service_;
  Metrics metrics_;
  StallingEngine engine_;
};

TEST_F(HealthTest, AStallTurnsItAndProgressTurnsItBack) {
  Health health(service_, metrics_, 100ms);
  EXPECT_FALSE(service_.IsServing(""));
  EXPECT_EQ(ServingMetric(), 0);
  health.Serve(engine_);
  EXPECT_TRUE(service_.Becomes(true));
  EXPECT_EQ(ServingMetric(), 1);
  for (int i = 0; i < 3; ++i) {
    engine_.stalled_s = 0.101;
    EXPECT_TRUE(service_.Becomes(false));
    EXPECT_EQ(ServingMetric(), 0);
    engine_.stalled_s = 0;
    EXPECT_TRUE(service_.Becomes(true));
  }
}

TEST_F(HealthTest, WaitingNoLongerThanTheTimeoutIsHealthy) {
  Health health(service_, metrics_, 100ms);
  health.Serve(engine_);
  engine_.stalled_s = 0.1;
  engine_.WaitUntilAsked(3);
  EXPECT_TRUE(service_.IsServing(""));
}

TEST_F(HealthTest, NothingTurnsADrainingServerBack) {
  Health health(service_, metrics_, 100ms);
  health.Serve(engine_);
  health.Drain();
  EXPECT_FALSE(service_.IsServing(""));
  engine_.stalled_s = 1;
  engine_.WaitUntilAsked(3);
  engine_.stalled_s = 0;
  engine_.WaitUntilAsked(3);
  EXPECT_FALSE(service_.IsServing("bitdial.v1.InferenceService"));
}

TEST_F(HealthTest, TimeoutZeroNeverAsks) {
  Health health(service_, metrics_, 0ms);
  health.Serve(engine_);
  engine_.stalled_s = 1e9;
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(engine_.num_asked, 0);
  EXPECT_TRUE(service_.IsServing(""));
}

}  // namespace
}  // namespace bitdial::server
