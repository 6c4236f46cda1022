// A real engine whose thread hangs: health turns, the metrics say so, and both turn back when it
// goes on.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "bitdial/v1/inference.grpc.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "server/rpc/server.h"

namespace bitdial::server {
namespace {

using namespace std::chrono_literals;

// Holds whoever passes while it is closed.
class Gate {
 public:
  void Set(bool is_open) {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_open_ = is_open;
    changed_.notify_all();
  }
  void Pass() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return is_open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_open_ = true;
};

class StallTest : public ::testing::Test {
 protected:
  void SetUp() override {
    engine::EngineOptions options;
    options.num_threads = 1;
    options.before_step = [this] { gate_.Pass(); };
    auto model =
        LoadServedModel(BITDIAL_SOURCE_DIR "/demo/llama", options, kernels::Numerics::kExact);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    ServerConfig config;
    config.listen = "127.0.0.1:0";
    config.stall_timeout_s = 1;
    auto server = RpcServer::Start(config);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    server_->Serve(model_);
    channel_ = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
  }
  void TearDown() override { gate_.Set(true); }

  bool IsServing(const std::string& name) {
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(name);
    grpc::health::v1::HealthCheckResponse response;
    EXPECT_TRUE(
        grpc::health::v1::Health::NewStub(channel_)->Check(&context, request, &response).ok());
    return response.status() == grpc::health::v1::HealthCheckResponse::SERVING;
  }
  bool Becomes(bool is_serving) {
    for (int i = 0; i < 3000; ++i) {
      if (IsServing("") == is_serving && IsServing("bitdial.v1.InferenceService") == is_serving)
        return true;
      std::this_thread::sleep_for(20ms);
    }
    return false;
  }
  grpc::Status Generate() {
    grpc::ClientContext context;
    v1::GenerateRequest request;
    request.set_text("Once upon a time");
    request.mutable_params()->mutable_stopping()->set_max_tokens(8);
    auto reader = v1::InferenceService::NewStub(channel_)->Generate(&context, request);
    for (v1::GenerateResponse message; reader->Read(&message);) continue;
    return reader->Finish();
  }

  Gate gate_;  // first: the engine passes it to its end
  ServedModel model_;
  std::unique_ptr<RpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(StallTest, HealthTurnsWithTheEngineAndBackAndNoRequestIsLost) {
  EXPECT_TRUE(Becomes(true));
  gate_.Set(false);
  grpc::Status status(grpc::StatusCode::UNKNOWN, "not ended");
  std::thread client([&] { status = Generate(); });
  EXPECT_TRUE(Becomes(false));
  gate_.Set(true);
  client.join();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(Becomes(true));
  EXPECT_TRUE(Generate().ok());
}

TEST_F(StallTest, AnIdleEngineIsHealthy) {
  gate_.Set(false);  // nobody passes it
  std::this_thread::sleep_for(1500ms);
  EXPECT_TRUE(IsServing(""));
}

}  // namespace
}  // namespace bitdial::server
