// The client of `bitdial bench serve` against the real service over a socket, with a scripted
// engine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "server/cli/load/driver.h"
#include "server/cli/load/summary.h"
#include "server/rpc/server.h"
#include "tests/server/fakes.h"

namespace bitdial::server {
namespace {

using testing::FakeEngine;

class LoadDriverTest : public ::testing::Test {
 protected:
  void StartServer(FakeEngine::Options options) {
    options.repeats = true;  // as long as the load asks for
    model_ = testing::MakeServedModel(std::move(options));
    ServerConfig config;
    config.listen = "127.0.0.1:0";
    server_ = RpcServer::Start(config).value();
    server_->Serve(model_);
  }

  LoadResult Run(WorkloadOptions options, DriverOptions driver_options = {}) {
    return Run(Workload::Make(options).value(), std::move(driver_options));
  }
  LoadResult Run(const Workload& workload, DriverOptions driver_options = {}) {
    driver_options.connection.server = server_->address();
    driver_options.connection.has_server = true;
    driver_options.connections = 2;
    LoadDriver driver(driver_options);
    const int64_t vocab_size = driver.Connect().value().vocab_size();
    return driver.Run(workload, vocab_size, [this, &driver](const LoadProgress& progress) {
      EXPECT_GE(progress.fraction, 0);
      EXPECT_LE(progress.fraction, 1);
      if (on_progress) on_progress(driver, progress);
    });
  }

  ServedModel model_;
  std::unique_ptr<RpcServer> server_;
  std::function<void(LoadDriver&, const LoadProgress&)> on_progress;
};

WorkloadOptions Options(ArrivalKind kind, int64_t num_requests) {
  WorkloadOptions options;
  options.arrivals = kind;
  options.rate = 500;
  options.burst = 10;
  options.concurrency = 4;
  options.num_requests = num_requests;
  options.prompt_tokens = {1, 16};
  options.output_tokens = {1, 12};
  return options;
}

int64_t Count(const LoadResult& result, Ending ending) {
  return std::count_if(result.outcomes.begin(), result.outcomes.end(),
                       [ending](const Outcome& outcome) { return outcome.ending == ending; });
}

TEST_F(LoadDriverTest, AnswersAreCompleteAndTimesInOrder) {
  StartServer({});
  for (const ArrivalKind kind :
       {ArrivalKind::kPoisson, ArrivalKind::kBurst, ArrivalKind::kConstant, ArrivalKind::kClosed}) {
    const LoadResult result = Run(Options(kind, 60));
    ASSERT_EQ(result.outcomes.size(), 60u);
    for (size_t i = 0; i < 60; ++i) {
      const Outcome& outcome = result.outcomes[i];
      EXPECT_EQ(outcome.request.index, static_cast<int64_t>(i));
      ASSERT_EQ(outcome.ending, Ending::kOk)
          << outcome.code << outcome.reason << outcome.explanation;
      EXPECT_EQ(outcome.NumTokens(), outcome.request.output_tokens);
      double last_s = outcome.sent_s;
      EXPECT_GE(outcome.sent_s, outcome.request.arrival_s);
      for (const TokenMessage& message : outcome.messages) {
        EXPECT_GE(message.at_s, last_s);
        last_s = message.at_s;
      }
      EXPECT_GE(outcome.end_s, last_s);
      EXPECT_LE(outcome.end_s, result.window_end_s);
    }
  }
}

TEST_F(LoadDriverTest, AClosedLoadKeepsToItsClients) {
  StartServer({});
  const LoadResult result = Run(Options(ArrivalKind::kClosed, 100));
  EXPECT_EQ(result.max_in_flight, 4);
}

TEST_F(LoadDriverTest, AClosedLoadEndsWithTheClock) {
  StartServer({});
  WorkloadOptions options = Options(ArrivalKind::kClosed, 0);
  options.num_requests.reset();
  options.duration_s = 0.3;
  options.warmup = 5;
  const LoadResult result = Run(options);
  ASSERT_GT(result.outcomes.size(), 5u);
  EXPECT_EQ(Count(result, Ending::kOk), static_cast<int64_t>(result.outcomes.size()));
  EXPECT_NEAR(result.window_end_s - result.window_begin_s, 0.3, 1e-9);
  EXPECT_LE(result.outcomes.back().sent_s, result.window_end_s);
}

TEST_F(LoadDriverTest, AnOpenLoadDoesNotWaitForSlowAnswers) {
  StartServer({.token_time = std::chrono::milliseconds(20)});
  WorkloadOptions options = Options(ArrivalKind::kConstant, 40);
  options.output_tokens = {12, 12};
  const LoadResult result = Run(options);  // sent in 80 ms, answered in over 200
  EXPECT_EQ(Count(result, Ending::kOk), 40);
  EXPECT_GT(result.max_in_flight, 4);
}

TEST_F(LoadDriverTest, RefusalsCarryTheirReason) {
  StartServer({.token_time = std::chrono::milliseconds(5), .max_requests = 2});
  WorkloadOptions options = Options(ArrivalKind::kBurst, 20);
  options.burst = 20;
  options.output_tokens = {12, 12};
  const LoadResult result = Run(options);
  const Summary summary = Summarize(result, {});
  EXPECT_GT(summary.count(Ending::kOk), 0);
  EXPECT_GT(summary.count(Ending::kRejected), 0);
  EXPECT_EQ(summary.count(Ending::kOk) + summary.count(Ending::kRejected), 20);
  ASSERT_EQ(summary.troubles.size(), 1u);
  EXPECT_EQ(summary.troubles[0].code, "RESOURCE_EXHAUSTED");
  EXPECT_EQ(summary.troubles[0].reason, "QUEUE_FULL");
}

TEST_F(LoadDriverTest, DeadlinesAreFailuresNotRefusals) {
  StartServer({.token_time = std::chrono::milliseconds(50)});
  WorkloadOptions options = Options(ArrivalKind::kBurst, 5);
  options.output_tokens = {1000, 1000};
  DriverOptions driver_options;
  driver_options.deadline_ms = 100;
  const LoadResult result = Run(options, driver_options);
  EXPECT_EQ(Count(result, Ending::kFailed), 5);
  for (const Outcome& outcome : result.outcomes) EXPECT_EQ(outcome.code, "DEADLINE_EXCEEDED");
}

TEST_F(LoadDriverTest, TheDrainTimeoutCancelsWhatStillRuns) {
  StartServer({.token_time = std::chrono::milliseconds(20)});
  WorkloadOptions options = Options(ArrivalKind::kBurst, 5);
  options.output_tokens = {4000, 4000};
  DriverOptions driver_options;
  driver_options.drain_timeout_s = 0.2;
  const LoadResult result = Run(options, driver_options);
  EXPECT_EQ(Count(result, Ending::kUnfinished), 5);
  EXPECT_FALSE(result.is_interrupted);
}

TEST_F(LoadDriverTest, StopEndsSendingAndRunning) {
  StartServer({.token_time = std::chrono::milliseconds(5)});
  WorkloadOptions options = Options(ArrivalKind::kConstant, 10'000);
  options.output_tokens = {4000, 4000};
  options.rate = 50;
  std::thread stopper;
  on_progress = [&stopper](LoadDriver& driver, const LoadProgress& progress) {
    if (progress.sent >= 5 && !stopper.joinable())
      stopper = std::thread([&driver] { driver.Stop(); });
  };
  const LoadResult result = Run(options);
  stopper.join();
  EXPECT_TRUE(result.is_interrupted);
  EXPECT_LT(result.outcomes.size(), 10'000u);
  EXPECT_EQ(Count(result, Ending::kUnfinished), static_cast<int64_t>(result.outcomes.size()));
}

TEST_F(LoadDriverTest, AServerThatGoesAwayFailsTheRest) {
  StartServer({.token_time = std::chrono::milliseconds(2)});
  WorkloadOptions options = Options(ArrivalKind::kClosed, 200);
  options.output_tokens = {5, 5};
  on_progress = [this](LoadDriver&, const LoadProgress& progress) {
    if (progress.sent > 20) server_.reset();
  };
  const LoadResult result = Run(options);
  ASSERT_EQ(result.outcomes.size(), 200u);
  EXPECT_GT(Count(result, Ending::kOk), 0);
  EXPECT_EQ(result.outcomes.back().ending, Ending::kFailed);
  EXPECT_EQ(result.outcomes.back().code, "UNAVAILABLE");
}

TEST_F(LoadDriverTest, NobodyThere) {
  DriverOptions options;
  options.connection.server = "127.0.0.1:1";
  options.connection.has_server = true;
  LoadDriver driver(options);
  EXPECT_EQ(driver.Connect().status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace bitdial::server
